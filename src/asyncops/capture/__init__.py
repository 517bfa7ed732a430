"""
LLM calls, seen at the HTTP layer: below every vendor's client, whatever its version.

What `asyncops.instrument` puts into every client is here for one client (`transport`), and here a
program registers a dialect of its own (`register`).

General layout; a module imports only from those above it:

    _dialects                 what a dialect is
    _bodies _fragments        what dialects read bodies and put streams together with
    openai_chat ...           the dialects, one a file
    _registry _providers      which one a request speaks; who serves it
    _streams                  SSE, NDJSON and the frames of Bedrock, piece by piece
    _calls                    one attempt of one call, from its request to its end
    _transports               between a client of httpx and its transport
"""

from ._dialects import Answered, Asked, Assembly, Dialect
from ._registry import register, unregister
from ._transports import transport

__all__ = ["Answered", "Asked", "Assembly", "Dialect", "register", "transport", "unregister"]
