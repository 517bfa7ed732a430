"""
`asyncops run` on programs that never heard of asyncops: their calls of models are there, with what
they took and what they cost.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import attrs
import pytest
from formats import TEXT
from processes import SECONDS, collector
from vendor_server import VendorServer

OPENAI = """
import asyncio

from openai import AsyncOpenAI

client = AsyncOpenAI()


async def ask(question: str) -> str:
    answer = await client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": question}]
    )
    return answer.choices[0].message.content


async def main() -> None:
    print(await asyncio.gather(ask("How high is the Tokyo Tower?"), ask("And the Fernsehturm?")))
    stream = await client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "In one word?"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in stream:
        print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="")


asyncio.run(main())
"""

ANTHROPIC = """
import anthropic

client = anthropic.Anthropic()
question = {"role": "user", "content": "How high is the Tokyo Tower?"}

answer = client.messages.create(
    model="claude-haiku-4-5-20251001",
    max_tokens=1024,
    system="You are terse.",
    messages=[question],
)
print(answer.content[0].text, answer.usage.output_tokens)

with client.messages.stream(
    model="claude-haiku-4-5-20251001", max_tokens=1024, messages=[question]
) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
    print(stream.get_final_message().usage.output_tokens)
"""


@attrs.frozen
class Unmodified:
    """
    A program, and what its calls come to.

    Attributes:
        source: It.
        package: What it imports.
        calls: How many calls it makes; the last is streamed.
        model: The model that answers.
        prompt_tokens: Of one call.
        completion_tokens: Of one call.
        dollars: What one call costs, by the vendor's price list.
    """

    source: str
    package: str
    calls: int
    model: str
    prompt_tokens: int
    completion_tokens: int
    dollars: float


PROGRAMS = (
    Unmodified(
        OPENAI, "openai", 3, "gpt-4o-mini-2024-07-18", 2006, 300,
        # 86 tokens, 1,920 out of a cache, 300 that came out
        (86 * 0.15 + 1920 * 0.075 + 300 * 0.60) / 1e6,
    ),
    Unmodified(
        ANTHROPIC, "anthropic", 2, "claude-haiku-4-5-20251001", 2125, 150,
        # 25 tokens, 2,000 out of a cache, 100 into it, 150 that came out
        (25 * 1.0 + 2000 * 0.10 + 100 * 1.25 + 150 * 5.0) / 1e6,
    ),
)  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.package)
def test_its_calls_are_recorded(program: Unmodified, vendor: VendorServer, tmp_path: Path) -> None:
    """
    It prints what it prints without us; the session has its calls with tokens and cost.
    """
    pytest.importorskip(program.package)
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(program.source))
    case = vendor.case()
    environment = {
        "OPENAI_BASE_URL": f"{case.url}/v1",
        "OPENAI_API_KEY": "sk-x",
        "ANTHROPIC_BASE_URL": case.url,
        "ANTHROPIC_API_KEY": "sk-ant-x",
    }

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments, str(path)],
            env={**os.environ, **environment, **more},
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        )

    plain = run()
    with collector() as collecting:
        recorded = run("-m", "asyncops", "run", ASYNCOPS_ENDPOINT=collecting.url)
        (session,) = collecting.sessions()
        ended = collecting.ended(session["id"])
        events = collecting.events(session["id"])
    assert recorded.stdout == plain.stdout
    assert TEXT in plain.stdout
    asked = sorted(each.body for each in case.received[: program.calls])
    assert asked == sorted(each.body for each in case.received[program.calls :])
    _check(program, ended, events)


def _check(program: Unmodified, session: dict[str, Any], events: list[dict[str, Any]]) -> None:
    assert (session["state"], session["llms"]) == ("Success", program.calls)
    assert session["prompt_tokens"] == program.calls * program.prompt_tokens
    assert session["completion_tokens"] == program.calls * program.completion_tokens
    assert session["cost_usd"] == pytest.approx(program.calls * program.dollars)
    assert {"llm"} == {event["kind"] for event in events}
    for event in events:
        assert (event["state"], event["model"]) == ("Success", program.model)
        assert event["cost_usd"] == pytest.approx(program.dollars)
        assert event["cost_source"] == "computed"
        assert event["prompt"]
        assert event["completion"]
    streamed = [event for event in events if event["time_to_first_token_ms"] is not None]
    assert 1 == len(streamed)
