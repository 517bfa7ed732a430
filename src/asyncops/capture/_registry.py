"""
The dialects there are, and which of them a request speaks.
"""

from __future__ import annotations

from typing import Any

from ._dialects import Dialect
from .anthropic_messages import AnthropicMessages
from .cohere_chat import CohereChat, CohereEmbed
from .embeddings import OpenAIEmbeddings
from .google_generate import GoogleEmbed, GoogleGenerate
from .mistral import MistralAgents, MistralFIM, MistralVertex
from .ollama import OllamaChat, OllamaEmbed, OllamaGenerate
from .openai_chat import OpenAIChat, OpenAICompletions
from .openai_responses import OpenAIResponses

__all__ = ["find", "may_match", "register", "unregister"]

_OURS: tuple[Dialect, ...] = (
    OpenAIChat(),
    OpenAIResponses(),
    AnthropicMessages(),
    GoogleGenerate(),
    CohereChat(),
    OllamaChat(),
    OllamaGenerate(),
    MistralFIM(),
    MistralAgents(),
    MistralVertex(),
    OpenAIEmbeddings(),
    GoogleEmbed(),
    CohereEmbed(),
    OllamaEmbed(),
    OpenAICompletions(),
)

_registered: tuple[Dialect, ...] = ()
_ends: tuple[str, ...] = ()


def register(dialect: Dialect) -> None:
    """
    Add a dialect: it is asked before those there are, and stands in place of one of the same name
    that was added before.

    From any thread: a request that is being looked at sees either all of it or nothing.
    """
    _set((dialect, *(other for other in _registered if other.name != dialect.name)))


def unregister(name: str) -> None:
    """
    Take back the dialect of that name that was added, if there is one.
    """
    _set(tuple(other for other in _registered if other.name != name))


def _set(registered: tuple[Dialect, ...]) -> None:
    global _registered, _ends
    _registered = registered
    _ends = tuple({end for dialect in (*registered, *_OURS) for end in dialect.ends})


_set(())


def may_match(path: str) -> bool:
    """
    Whether `find` could find one: False for nearly all that is no call of a model, in a fraction of
    a microsecond and without a look at the body.
    """
    return path.endswith(_ends)


def find(path: str, body: Any) -> Dialect | None:
    """
    The dialect that a request speaks. A dialect that raises does not know it.

    Args:
        path: The path of its address, without the query.
        body: Its JSON, decoded; None where it could not be read.
    """
    for dialect in (*_registered, *_OURS):
        try:
            if path.endswith(dialect.ends) and dialect.matches(path, body):
                return dialect
        except Exception:  # noqa: S112 (a user's dialect may be of any quality)
            continue
    return None
