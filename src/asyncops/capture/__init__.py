"""
LLM calls, seen at the HTTP layer: below every vendor's client, whatever its version.

General layout; a module imports only from those above it:

    _dialects                 what a dialect is
    _bodies _fragments        what they read with
    openai_chat ...           the dialects, one a file
    _registry _providers      which one a request speaks, and who serves it
    _streams                  SSE and NDJSON, piece by piece
    _calls                    one attempt of one call, from its request to its end
    _transports               puts itself between a client of httpx and its transport
    _hooks                    does so in every client there is: `instrument`, `uninstrument`
"""
