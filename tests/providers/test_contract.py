"""
With each vendor's own client: capture changes nothing that its application or its vendor could
see, and what is recorded is what the client itself reports.
"""

from __future__ import annotations

import asyncio
import datetime
import http
import json
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import genai_prices
import httpx
import pytest
from clients import Driver, Told
from formats import REFUSALS, format_of
from processes import SECONDS
from scenarios import Leave, Outcome, Scenario, run
from vendor_server import Behaviour, Case, Received, VendorServer

import asyncops
from asyncops.collector.server import EmbeddedCollector

VOLATILE = frozenset({"x-stainless-retry-uuid", "idempotency-key"})
"""Headers that say something else each time, whatever is sent."""

CLOCKS_NS = 1_000_000
"""By how much the clocks that a time is told by may differ: the wall's, and the steady one's."""

STATUS = {
    Behaviour.REFUSED: 400,
    Behaviour.UNAUTHORIZED: 401,
    Behaviour.BUSY_ONCE: 429,
    Behaviour.BROKEN: 500,
}


def test_it_is_as_if_we_were_not_there(
    driver: Driver,
    scenario: Scenario,
    vendor: VendorServer,
    vendors_collector: EmbeddedCollector,
    record_property: Callable[[str, object], None],
) -> None:
    """
    The same requests, results, chunks and exceptions with and without capture; and the events say
    what the client says.
    """
    bare = run(driver, scenario, vendor.case(scenario.behaviour))
    case = vendor.case(scenario.behaviour)
    with asyncops.session(
        f"{driver} {scenario.name}", config=asyncops.Configuration(endpoint=vendors_collector.url)
    ) as session:
        with asyncops.agent("planner") as agent:
            watched = run(driver, scenario, case)
    assert asyncio.run(session.flush(timeout=SECONDS))
    events = [each for each in _events(vendors_collector, session.id) if each["kind"] == "llm"]
    differing = [*_differences(bare, watched), *_misses(driver, scenario, case, watched, events)]
    differing += [f"parent: {each['name']}" for each in events if each["parent_id"] != agent.id]
    record_property("cell", _row(driver, scenario, events, differing))
    assert not differing, "\n".join(differing)


def _events(collector: EmbeddedCollector, session_id: str) -> list[dict[str, Any]]:
    url = f"{collector.url}/api/sessions/{session_id}/events"
    answer = httpx.get(url, timeout=SECONDS, trust_env=False, verify=False).raise_for_status()
    found: list[dict[str, Any]] = answer.json()["events"]
    return found


# -- what the application and the vendor see ------------------------------------------------------


def _differences(bare: Outcome, watched: Outcome) -> Iterator[str]:
    """
    What differs between two runs, of which one was watched.
    """
    for field in ("items", "chunks_before", "raised"):
        before, after = getattr(bare, field), getattr(watched, field)
        if before != after:
            yield f"{field}: {before} became {after}"
    before, after = [[_steady(each) for each in run.requests] for run in (bare, watched)]
    if before != after:
        yield f"requests: {before} became {after}"


def _steady(received: Received) -> Received:
    headers = tuple(pair for pair in received.headers if pair[0].lower() not in VOLATILE)
    return attrs.evolve(received, headers=headers)


# -- what is recorded -----------------------------------------------------------------------------


def _misses(
    driver: Driver, scenario: Scenario, case: Case, seen: Outcome, events: list[dict[str, Any]]
) -> Iterator[str]:
    """
    What the events say otherwise than the client, or not at all.
    """
    if not seen.requests:
        yield f"the vendor was not asked: {seen.raised}"
    if scenario.succeeds and (seen.raised is not None or not seen.items):
        yield f"the client failed: {seen.raised}"
    if len(events) != len(seen.requests):
        yield f"events: {len(events)} of {len(seen.requests)} requests"
        return
    for number, event in enumerate(events):
        attributes = event["attributes"]
        last = number == len(events) - 1
        expected: dict[str, Any] = {
            "agent": "planner",
            "provider": driver.provider,
            "name": driver.asked_model(),
            "dialect": driver.dialect,
            "server": case.url.removeprefix("http://").partition("/")[0],
        }
        found = {name: event.get(name, attributes.get(name)) for name in expected}
        for name, value in expected.items():
            if found[name] != value:
                yield f"{name}: {found[name]!r}, not {value!r}"
        prompt = event["prompt"]
        if prompt != driver.prompt() and driver.prompt() not in list(_values(prompt)):
            yield f"prompt: {prompt}"
        status = _status(scenario, number)
        if attributes.get("http_status") != status:
            yield f"http_status: {attributes.get('http_status')}, not {status}"
        header = format_of(seen.requests[number].target.partition("?")[0], driver.model)
        if status and header.request_id_header and attributes.get("request_id") != "req_0123":
            yield f"request_id: {attributes.get('request_id')}"
        attempt = number + 1 if scenario.behaviour is Behaviour.BUSY_ONCE and number else None
        if attributes.get("attempt") != attempt:
            yield f"attempt: {attributes.get('attempt')}, not {attempt}"
        yield from _state(driver, scenario, event, status)
        refused = status is not None and status >= 400
        # of a stream that is asked for again, some clients do not even read why
        if refused and (last or not scenario.stream):
            said = REFUSALS[status][1]
            if said not in event["failure"]["message"]:
                yield f"failure: {event['failure']['message']!r} does not say {said!r}"
        if last and not scenario.twice:
            yield from _content(driver, scenario, case, seen, event)


def _values(prompt: Any) -> Iterator[Any]:
    if isinstance(prompt, dict):
        yield from prompt.values()


def _status(scenario: Scenario, number: int) -> int | None:
    if scenario.behaviour is Behaviour.SILENT:
        return None
    if scenario.behaviour is Behaviour.BUSY_ONCE and number:
        return 200
    return STATUS.get(scenario.behaviour, 200)


def _state(
    driver: Driver, scenario: Scenario, event: dict[str, Any], status: int | None
) -> Iterator[str]:
    """
    How the attempt ended.
    """
    failure = event["failure"] or {"type": None, "message": ""}
    state, kind, words = "Success", None, ""
    if status is not None and status >= 400:
        state, kind = "Fail", "HTTPStatusError"
        words = f"{status} {http.HTTPStatus(status).phrase}"
    elif scenario.leave is not Leave.AT_THE_END:
        state = "Cancelled"
    elif scenario.behaviour is Behaviour.CUT:
        state, kind = "Fail", driver.broken_off
    elif scenario.behaviour is Behaviour.SILENT:
        state, kind = "Fail", "ReadTimeout"
    elif scenario.behaviour is Behaviour.ERROR_IN_STREAM:
        state = "Fail"
    elif scenario.behaviour is Behaviour.MALFORMED and scenario.stream:
        # some clients read on, some stop there
        state = event["state"] if event["state"] != "Fail" else "Success"
        if event["attributes"].get("malformed_events") != 1:
            yield "malformed_events: not told"
    if event["state"] != state:
        yield f"state: {event['state']}, not {state}: {failure['message']}"
    elif kind is not None and failure["type"].rpartition(".")[2] != kind:
        yield f"failure: {failure['type']}, not {kind}"
    elif not failure["message"].startswith(words):
        yield f"failure: {failure['message']!r}"


def _content(
    driver: Driver, scenario: Scenario, case: Case, seen: Outcome, event: dict[str, Any]
) -> Iterator[str]:
    """
    What the answer said, as far as it came.
    """
    if not seen.items:
        if event["completion"] is not None and scenario.behaviour is not Behaviour.MALFORMED:
            yield f"completion: {event['completion']}"
        return
    told = driver.told_by_stream(seen.items) if scenario.stream else driver.told(seen.items[-1])
    found = _recorded(driver, event)
    for name, value in attrs.asdict(told, recurse=False).items():
        if value is not None and getattr(found, name) != value:
            yield f"{name}: {getattr(found, name)!r}, not {value!r}: {event['attributes']}"
    expected = _cost(driver, told)
    reported = told.prompt_tokens is not None or found.prompt_tokens is None
    if reported and event["cost_usd"] != (None if expected is None else pytest.approx(expected)):
        yield f"cost: {event['cost_usd']}, not {expected}"
    if scenario.stream != event["attributes"].get("stream", False):
        yield f"stream: {event['attributes'].get('stream')}"
    first = event["time_to_first_token_ms"]
    if (first is not None) != (scenario.stream and bool(found.text or found.calls)):
        yield f"time to first token: {first}"
    elif first is not None and scenario.behaviour in (Behaviour.SLOW, Behaviour.STEPS):
        yield from _first_token(driver, case, seen, event, int(1e6 * first))


def _cost(driver: Driver, told: Told) -> float | None:
    """
    What the tokens that a client reports cost, by the table that the collector has. Of a stream
    that was cut off, those that went in.
    """
    if told.prompt_tokens is None:
        return None
    usage = genai_prices.Usage(
        input_tokens=told.prompt_tokens,
        cache_read_tokens=told.cached_tokens,
        cache_write_tokens=told.cache_write_tokens,
        output_tokens=told.completion_tokens,
    )
    model = told.model or driver.asked_model()
    try:
        price = genai_prices.calc_price(usage, model, provider_id=driver.provider)
    except LookupError:
        return None
    return float(price.total_price)


def _recorded(driver: Driver, event: dict[str, Any]) -> Told:
    """
    What an event says, as a client would report it.
    """
    completion = event["completion"]
    text, calls = ("", ()) if completion is None else driver.said(completion)
    attributes = event["attributes"]
    tokens = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens",
              "reasoning_tokens")  # fmt: skip
    return Told(
        model=event["model"],
        text=text,
        calls=calls,
        finish_reasons=tuple(attributes.get("finish_reasons") or ()),
        response_id=attributes.get("response_id"),
        **{name: event.get(name) for name in tokens},
    )


def _first_token(
    driver: Driver, case: Case, seen: Outcome, event: dict[str, Any], after_ns: int
) -> Iterator[str]:
    """
    It was there after the vendor had sent it, and before the application had it.
    """
    path = case.received[0].target.partition("?")[0]
    sent = case.sent[format_of(path, driver.model).first_token]
    had = next(at for at in seen.items_at if at >= sent)
    began = datetime.datetime.fromisoformat(event["started_at"])
    at = int(began.timestamp() * 1e6) * 1000 + after_ns
    if not sent - CLOCKS_NS <= at <= had + CLOCKS_NS:
        yield f"time to first token: {at}, not from {sent} to {had}"


# -- the table --------------------------------------------------------------------------------


def _row(
    driver: Driver, scenario: Scenario, events: list[dict[str, Any]], differing: list[str]
) -> dict[str, Any]:
    event = events[-1] if events else {}
    text = ""
    if event.get("completion") is not None:
        said, calls = driver.said(event["completion"])
        text = said or ", ".join(name for _, name, _ in calls)
    return {
        "client": driver.name,
        "version": driver.version,
        "mode": "async" if driver.is_async else "sync",
        "scenario": scenario.name,
        "attempts": len(events),
        "state": event.get("state"),
        "model": event.get("model"),
        "prompt": len(json.dumps(event.get("prompt"), ensure_ascii=False)),
        "completion": text,
        "prompt_tokens": event.get("prompt_tokens"),
        "completion_tokens": event.get("completion_tokens"),
        "time_to_first_token_ms": event.get("time_to_first_token_ms"),
        "cost_usd": event.get("cost_usd"),
        "differing": differing,
    }
