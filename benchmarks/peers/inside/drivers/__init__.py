"""
One file per way of recording, with the same interface, so that one program can drive them all:

    setup(endpoint)    once, as the peer's first page says, but sending to *endpoint*
    recorded(work)     the coroutine function *work*, decorated
    start(), end(s)    a session, or what comes nearest to it, around the calls
    flush()            wait until everything recorded is delivered
    shutdown()         the end of the program

What a file imports at its top is what a program of its users imports.
"""
