"""
The program that `asyncops demo` records: agents that answer questions about the standard library.

A planner searches the library and shares the modules out, a researcher per module reads docstrings
and source, a writer puts an answer together. They talk over HTTP, in the format of OpenAI's chat
completions, with a small language model that computes its answers on this machine.

    text.py         words, tokens and sentences; ranking by BM25 and by centrality
    library.py      the standard library as text: search, outline, source
    model.py        the model: what to say next, given a conversation
    model_server.py the model behind HTTP
    chat.py         a conversation with it, recorded
    agents.py       tools, planner, researcher, writer
    scenarios.py    five runs of it, which end in five ways

`asyncops demo` runs each scenario as a process: `python -m asyncops.cli.demo_program SCENARIO`.
"""
