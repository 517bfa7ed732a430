"""
An event among those around it: how long it worked itself, which attempt it was.
"""

from __future__ import annotations

from programs import SECOND, Get, Programs, failure_of, now
from stories import answer, begin

from asyncops._events import Failure


def refuse() -> Failure:
    def fail() -> None:
        raise TimeoutError("no answer")

    return failure_of(fail)


def test_an_event_tells_how_long_it_worked_itself(get: Get, program: Programs) -> None:
    """
    What ran below it does not count, at the same time or after it ended, as often as it did; in a
    long session, too.
    """
    one = program()
    start = now() - 60 * SECOND
    begin(one, "self time", at=start)
    parent = one.new_id()
    # 2 to 6, 4 to 7, and from 9 on beyond its end: alone from 0 to 2 and 7 to 9
    for at, lasts in ((2, 4), (4, 3), (9, 5)):
        one.event("tool", "below", at=start + at * SECOND, lasts=lasts * SECOND, parent_id=parent)
    one.event("agent", "above", at=start, lasts=10 * SECOND, id=parent)
    for _ in range(6_000):
        one.event("tool", "beside", at=start)
    one.send()
    path = f"/sessions/{one.session}/events"
    assert "of which 4.00 s itself" in get(f"{path}/{parent}").text
    story = answer(program(), at=now())
    assert "itself" not in get(f"{story.path}/events/{story.events['ask']}").text


def test_attempts_of_one_call_lead_to_each_other(get: Get, program: Programs) -> None:
    """
    Calls of one model in one place that said the same, each after one that failed.
    """
    one = program()
    begin(one, "attempts", at=now())

    def call(place: int, prompt: str, state: str, model: str = "m") -> str:
        failure = refuse() if state == "Fail" else None
        return one.event(
            "llm", "ask", at=now() + place * SECOND, model=model, prompt=prompt, state=state,
            failure=failure,
        )  # fmt: skip

    call(0, "again", "Success")  # ended well: what follows is another call
    first = call(1, "again", "Fail")
    call(2, "again", "Fail", model="other")
    second = call(3, "again", "Fail")
    third = call(4, "again", "Success")
    call(5, "again", "Success")
    other = call(6, "something else", "Fail")
    one.send()
    path = f"/sessions/{one.session}/events"
    for place, attempt in enumerate((first, second, third), 1):
        text = get(f"{path}/{attempt}").text
        assert "<dt>Attempts</dt>" in text
        for linked in {first, second, third} - {attempt}:
            assert f'data-event="{linked}"' in text
        assert f"<strong>{place}</strong>" in text
    assert "<dt>Attempts</dt>" not in get(f"{path}/{other}").text


def test_a_call_leads_to_the_one_before_and_shows_what_is_new(get: Get, program: Programs) -> None:
    """
    What was said or answered before is folded, as far as it is the beginning; what is all there is
    is shown.
    """
    one = program()
    start = now()
    begin(one, "turns", at=start)
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which one?"}]
    answered = {"role": "assistant", "content": "The second."}
    said_then = [*said, answered, {"role": "user", "content": "Sure?"}]
    calls = [
        one.event("llm", "ask", at=start + place * SECOND, model="m", prompt=prompt, completion=it)
        for place, (prompt, it) in enumerate(
            [(said, answered), (said_then, None), (said_then, None), ("Sure?", None)]
        )
    ]
    one.send()
    first, second, third, fourth = (
        get(f"/sessions/{one.session}/events/{call}").text for call in calls
    )
    assert "Call before" not in first
    for text, before in ((second, calls[0]), (third, calls[1]), (fourth, calls[2])):
        assert f'data-event="{before}">1.00 s earlier</a>' in text
    folded, _, shown = second.partition("</details>")
    assert "3 earlier messages sent again" in folded
    assert [told in folded for told in ("Be brief.", "Which one?", "The second.", "Sure?")] == [
        True, True, True, False,
    ]  # fmt: skip
    assert "Sure?" in shown
    for text in (first, third, fourth):
        assert "sent again" not in text
