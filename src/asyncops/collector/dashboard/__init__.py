"""
The pages people look at: server-rendered, without a build step and without anything foreign.

routes.py         which address shows what; `routes()` is what the collector calls
sessions_page.py  session_page.py  compare_page.py  overview_page.py      what each page shows
sign_in_page.py   keys_page.py         who may look, and the keys that open it
rendering.py      templates, answers for people and for scripts
shared.py         what is made once for all who look at it at the same time
forms.py          what forms bring
filters.py        the list's filters as they stand in an address
timeline.py       a session's events as a tree, and as columns for the page's own module
outline.py        the same, compact: equal steps in a row as one line
chat.py           the conversation of a session as it went, everything once
spending.py       who spent what: sums by agent, model and tool
faults.py         what went wrong, failures that say the same together
relations.py      an event among those around it: self time, attempts
video.py          which videos can be played
alignment.py      events of several sessions, place by place
word_diff.py      what differs between two texts
conversations.py  what was said to a model and by it, as messages
markdown.py       what models write, as HTML made safe
payloads.py       any JSON as HTML: folded, bounded, escaped
hosts.py          the machines a session ran on
charts.py         the overview's bars, laid out
format.py         times, money and counts in words
assets.py         the files beside this one that browsers fetch
"""
