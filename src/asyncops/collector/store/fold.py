"""
What the statements about a session come to, in whatever order they arrived.

A statement is a record that says something about the session as a whole: that it began or was
joined, its tags, its video, how it ended, what people think of it. They are few, so a store keeps
them all and folds them anew when one arrives. Their order is their position (time, source, number),
never their arrival.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from ..._events import (
    AnnotationRecord,
    SaidBy,
    SessionEndedRecord,
    SessionRecord,
    TagsRecord,
    VideoRecord,
)
from .base import Note, Score

__all__ = ["Facts", "Statement", "StatementRecord", "fold"]

StatementRecord = SessionRecord | TagsRecord | VideoRecord | SessionEndedRecord | AnnotationRecord
"""What a statement may be."""

MAX_TAGS = 1_000
"""How many different tags one session keeps."""

MAX_TEXT_CHARS = 8_192
"""How much of a reason or of a video's address is kept."""

_RANKS: dict[SaidBy, int] = {"user": 0, "process": 1, "adopter": 2}


@attrs.frozen
class Statement:
    """
    A record about a whole session and the source that wrote it.
    """

    source: str
    record: StatementRecord

    @property
    def position(self) -> tuple[int, str, int]:
        """
        Where it stands among the statements of all sources.
        """
        return self.record.at, self.source, self.record.seq


@attrs.frozen(kw_only=True)
class Facts:
    """
    What is known of a session from its statements.

    Attributes:
        started_at: When its owner started it; None until that is known.
        end: How it ended; None while nobody said a state.
        stars: What is starred: events, and None for the session itself.
    """

    name: str | None = None
    started_at: int | None = None
    tags: tuple[str, ...] = ()
    video: str | None = None
    end: SessionEndedRecord | None = None
    stars: tuple[str | None, ...] = ()
    notes: tuple[Note, ...] = ()
    scores: tuple[Score, ...] = ()

    @property
    def score(self) -> float | None:
        """
        How good the session as a whole was found, by whoever said so last; None while nobody did.
        """
        said = [score for score in self.scores if score.event is None]
        return max(said, key=lambda score: score.at).value if said else None


def fold(statements: Iterable[Statement]) -> Facts:
    """
    The facts that *statements* come to, the same for any order of them.

    The owner's name and start win over those who joined. The latest video wins. Of those who say
    how it ended, the user wins over the process and the process over whoever adopted its journal;
    among equals the first. An end without a state says only that its source left.
    """
    owner: SessionRecord | None = None
    joined_name: str | None = None
    owner_name: str | None = None
    tags: dict[str, None] = {}
    video: str | None = None
    end: SessionEndedRecord | None = None
    stars: dict[str | None, bool] = {}
    notes: dict[str | None, Note] = {}
    scores: dict[tuple[str | None, str | None], Score] = {}
    for statement in sorted(statements, key=lambda statement: statement.position):
        record = statement.record
        if isinstance(record, SessionRecord):
            if record.inherited:
                joined_name = joined_name or record.name
            else:
                owner = owner or record
                owner_name = owner_name or record.name
            tags |= dict.fromkeys(record.tags)
        elif isinstance(record, TagsRecord):
            tags = ({} if record.replace else tags) | dict.fromkeys(record.tags)
        elif isinstance(record, VideoRecord):
            video = record.video[:MAX_TEXT_CHARS]
        elif isinstance(record, AnnotationRecord):
            if record.star is not None:
                stars[record.event] = record.star
            if record.note is not None:
                notes[record.note_id] = Note(
                    id=record.note_id,
                    event=record.event,
                    by=record.by,
                    at=record.at,
                    text=record.note,
                )
            if record.score is not None:
                scores[record.event, record.score_name] = Score(
                    name=record.score_name,
                    event=record.event,
                    by=record.by,
                    at=record.at,
                    value=record.score,
                )
            if record.tags is not None:
                tags = dict.fromkeys(record.tags)
        elif record.state is not None and (
            end is None or _RANKS[record.said_by] < _RANKS[end.said_by]
        ):
            end = record
    return Facts(
        name=owner_name or joined_name,
        started_at=None if owner is None else _started_at(owner),
        tags=tuple(tags)[:MAX_TAGS],
        video=video,
        end=end,
        stars=tuple(thing for thing, starred in stars.items() if starred),
        notes=tuple(note for note in notes.values() if note.text),
        scores=tuple(scores.values()),
    )


def _started_at(record: SessionRecord) -> int:
    return record.at if record.started_at is None else record.started_at
