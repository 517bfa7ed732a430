"""
Full-text search: the words of what events were given and what they returned.

FTS5 takes about as long for an event as all else that is done to store it. So nobody waits for it:
events are stored and acknowledged first, and their words follow in transactions of their own while
the writer has nothing else to do. How far they have come stands in the session's row and moves with
them; whatever ends the collector, the next one goes on there. Only events that are closed have
their words here, and those never change.

A word's entries are the keys of events, and those of a transaction are in order: that is what FTS5
appends without looking at what it has. Keeping positions (for phrases) costs a tenth of the
database and no time; keeping the texts themselves again is not needed, events have them.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

import msgspec

from .sqlite_schema import SEQ_BITS

__all__ = ["STEP_CHARS", "STEP_EVENTS", "event_text", "index_texts", "match", "sessions_with"]

MAX_PART_BYTES = 16_384
"""How much of each part of an event is searched: so much in all of its beginning and its end."""

STEP_EVENTS = 500
"""How many events one transaction takes."""

STEP_CHARS = 500_000
"""How much text one transaction takes, give or take an event: some 20 ms."""

MAX_TERMS = 32
"""How many words and phrases are looked for at once."""

MIN_PREFIX_CHARS = 3
"""How much of a word must be there before `*`: shorter ones begin too many words."""

SCANNED_EVENTS = 50_000
"""How many events are looked at, one by one, for which sessions they are of."""

MAX_SESSIONS = 1_000
"""How many sessions are looked for, one by one, if there are more events than that."""

NUMBERS = (1 << SEQ_BITS) - 1

_TERM = re.compile(r'"([^"]*)"|([^"\s]+)')
_ESCAPE = re.compile(r"\\[^u]")
_CODE = re.compile(r"\\u([0-9a-fA-F]{4})")


# -- words in -------------------------------------------------------------------------------------


class _Parts(msgspec.Struct):
    """
    Those of a payload that are searched.
    """

    params: msgspec.Raw = msgspec.Raw()
    returns: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    completion: msgspec.Raw = msgspec.Raw()
    attributes: msgspec.Raw = msgspec.Raw()
    failure: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(_Parts)


def index_texts(connection: sqlite3.Connection) -> bool:
    """
    Make some more events searchable, in one transaction.

    Returns:
        Whether there may be others.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        texts: list[tuple[int, str]] = []
        searched: list[tuple[int, int]] = []
        room = STEP_CHARS
        more = False
        for session, first, last in connection.execute(
            "SELECT key, searched_seq, last_seq FROM sessions INDEXED BY sessions_unsearched"
            " WHERE searched_seq < last_seq ORDER BY key LIMIT ?",
            (STEP_EVENTS,),
        ).fetchall():
            base = session << SEQ_BITS
            done = last
            for key, name, payload in connection.execute(
                "SELECT key, name, payload FROM events"
                " WHERE key > ? AND key <= ? AND state IS NOT NULL ORDER BY key",
                (base | first, base | last),
            ):
                text = event_text(name, payload)
                texts.append((key, text))
                room -= len(text)
                if len(texts) >= STEP_EVENTS or room <= 0:
                    done = key & NUMBERS
                    more = True
                    break
            searched.append((done, session))
            if more:
                break
        connection.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", texts)
        connection.executemany("UPDATE sessions SET searched_seq = ? WHERE key = ?", searched)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return more or len(searched) == STEP_EVENTS


def event_text(name: str, payload: bytes | None) -> str:
    """
    What is searched of an event: JSON as it is, since FTS5 takes what is not a letter or a digit
    for the end of a word, but for its escapes.
    """
    parts = [name.encode()]
    if payload is not None:
        parts += _parts(payload)
    text = b" ".join(parts).decode(errors="replace")
    if "\\" not in text:
        return text
    text = _ESCAPE.sub(" ", text)
    if "\\u" in text:  # not of our encoder, but of other senders'
        text = _CODE.sub(lambda code: chr(int(code[1], 16)), text)
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _parts(payload: bytes) -> Iterator[bytes]:
    parts = _decoder.decode(payload)
    for name in _Parts.__struct_fields__:
        part = bytes(getattr(parts, name))
        if len(part) > MAX_PART_BYTES:
            half = MAX_PART_BYTES // 2
            yield part[:half]
            yield part[-half:]
        elif part:
            yield part


# -- questions ------------------------------------------------------------------------------------


def match(text: str) -> str | None:
    """
    *text* as people write it, in FTS5's language: all the words and "phrases in quotes", and `be*`
    for what begins so; None where there is none in it.
    """
    if "\0" in text:  # SQLite would read only up to there
        return None
    terms = []
    for phrase, word in _TERM.findall(text):
        term = phrase or word
        if any(map(str.isalnum, term)):
            prefix = word.endswith("*") and len(word) > MIN_PREFIX_CHARS
            terms.append(f'"{term}"{"*" if prefix else ""}')
    return " ".join(terms[:MAX_TERMS]) or None


def sessions_with(connection: sqlite3.Connection, match: str) -> list[int] | None:
    """
    The keys of the sessions with an event that meets *match*; None where they are many.
    """
    events, last_event, told = connection.execute(
        f"SELECT COUNT(*), MAX(rowid), json_group_array(DISTINCT rowid >> {SEQ_BITS})"  # noqa: S608
        " FROM (SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rowid LIMIT ?)",
        (match, SCANNED_EVENTS + 1),
    ).fetchone()
    sessions: set[int] = set(msgspec.json.decode(told))
    if events <= SCANNED_EVENTS:
        return list(sessions)
    # there may be few all the same, with many events each: from one to the next
    last = last_event >> SEQ_BITS
    while len(sessions) <= MAX_SESSIONS:
        row = connection.execute(
            "SELECT rowid FROM texts WHERE texts MATCH ? AND rowid > ? ORDER BY rowid LIMIT 1",
            (match, last << SEQ_BITS | NUMBERS),
        ).fetchone()
        if row is None:
            return list(sessions)
        last = row[0] >> SEQ_BITS
        sessions.add(last)
    return None
