"""
A believable past: days of sessions of several programs, for looking at and for timing.

Nobody waits for these agents: their time is simulated, so a month of them takes a minute. What they
leave are records as the wire has them, and the collector takes them in as it takes in any.

    texts models failures    what is said, who answers and for how much, what goes wrong
    work                     what one task does, one thing after the other, in simulated time
    programs                 what each kind of program does, built from that
    processes                one process of a program as the lines of its journals
    plan                     which processes there were: when, how large, how they ended
    filling                  all of it into a collector
    __main__                 the process that makes the lines, beside the one that sends them

The same seed gives the same past, only that its times end when it is made.
"""
