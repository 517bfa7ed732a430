"""
Prices: what a call costs where nobody said.
"""

from __future__ import annotations

import datetime
import logging
import re
import subprocess
import sys
import types
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot

from asyncops._events import Cost
from asyncops._exceptions import ConfigurationError
from asyncops._prices import MAX_KNOWN, PriceTable, own_prices

TABLE = PriceTable()
VERSION = f"genai-prices {genai_prices.__version__}"


def at(text: str) -> int:
    """
    A time in nanoseconds since the epoch.
    """
    moment = datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)
    return int(moment.timestamp()) * 1_000_000_000


NOW = at("2026-11-01T12:00")


def price(
    provider: str | None,
    model: str | None,
    prompt: int | None = 1_000,
    completion: int | None = 100,
    *,
    table: PriceTable = TABLE,
    when: int = NOW,
    **tokens: int,
) -> Cost | None:
    return table.price(
        provider=provider,
        model=model,
        prompt_tokens=prompt,
        completion_tokens=completion,
        at_ns=when,
        **tokens,
    )


def amount(*args: Any, **kwargs: Any) -> Decimal | None:
    cost = price(*args, **kwargs)
    return None if cost is None else cost.amount


# -- what vendors ask -------------------------------------------------------------------------


def test_cached_tokens_cost_what_the_vendor_asks_for_them() -> None:
    """
    gpt-4o: $2.50 in, $1.25 cached, $10 out for a million; the cached ones are part of the prompt.
    """
    cost = price("openai", "gpt-4o-2024-08-06", 1_000, 100, cached_tokens=400)
    assert cost == Cost(
        (Decimal("2.5") * 600 + Decimal("1.25") * 400 + 10 * 100) / 1_000_000,
        source="computed",
        table=VERSION,
    )
    assert cost.amount == Decimal("0.003")


def test_tokens_written_to_a_cache_cost_more() -> None:
    """
    Claude Sonnet 4.5: $3 in, $0.30 read from a cache, $3.75 written to one, $15 out.
    """
    found = amount(
        "anthropic",
        "claude-sonnet-4-5-20250929",
        1_000,
        100,
        cached_tokens=400,
        cache_write_tokens=200,
    )
    assert found == (3 * 400 + Decimal("0.3") * 400 + Decimal("3.75") * 200 + 15 * 100) / 1_000_000


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (200_000, (Decimal("1.25") * 200_000 + 10 * 100) / 1_000_000),
        (200_001, (Decimal("2.5") * 200_001 + 15 * 100) / 1_000_000),
    ],
)
def test_a_long_prompt_makes_all_of_the_call_dearer(prompt: int, expected: Decimal) -> None:
    """
    Gemini 2.5 Pro: beyond 200,000 tokens every token of the call costs more.
    """
    assert amount("google", "gemini-2.5-pro", prompt, 100) == expected


def test_a_price_is_that_of_the_day_of_the_call() -> None:
    """
    o3 became five times cheaper on 2025-06-10; a call of the day before costs what it did.
    """
    before = amount("openai", "o3", when=at("2025-06-09T23:59:59"))
    after = amount("openai", "o3", when=at("2025-06-10T00:00"))
    assert (before, after) == (Decimal("0.014"), Decimal("0.0028"))


def test_a_price_is_that_of_the_time_of_day() -> None:
    """
    deepseek-chat was cheaper from 16:30 to 00:30 UTC.
    """
    by_day = amount("deepseek", "deepseek-chat", when=at("2025-05-01T16:29:59"))
    by_night = amount("deepseek", "deepseek-chat", when=at("2025-05-01T16:30"))
    assert (by_day, by_night) == (Decimal("0.00038"), Decimal("0.00019"))


def test_a_call_may_have_a_price_of_its_own() -> None:
    """
    Perplexity's sonar: $1 for a million tokens either way, and $12 for a thousand calls.
    """
    assert amount("perplexity", "sonar") == Decimal("0.0011") + Decimal("0.012")


def test_it_agrees_with_the_arithmetic_of_genai_prices() -> None:
    """
    For every model of the table, at several times, whatever the numbers: the same amount, or none
    where theirs would leave out tokens that it has no price for.
    """
    compared = 0
    usages: list[dict[str, int]] = [
        {"prompt_tokens": 1_000, "completion_tokens": 100},
        {"prompt_tokens": 300_000, "completion_tokens": 7, "cached_tokens": 299_000},
        {"prompt_tokens": 40_001, "completion_tokens": 0, "cache_write_tokens": 40_000},
        {"prompt_tokens": 5, "completion_tokens": 50, "reasoning_tokens": 49},
        {"prompt_tokens": 3_000_000, "completion_tokens": 0},
    ]
    names = {
        "prompt_tokens": "input_tokens",
        "completion_tokens": "output_tokens",
        "cached_tokens": "cache_read_tokens",
        "cache_write_tokens": "cache_write_tokens",
        "reasoning_tokens": "output_reasoning_tokens",
    }
    for provider in get_snapshot().providers:
        for model in provider.models:
            if provider.find_model(model.id) is not model:
                continue  # another one's pattern has its name
            for when in ("2024-01-01T00:00", "2025-08-20T03:00", "2026-11-20T17:00"):
                for usage in usages:
                    cost = TABLE.price(
                        provider=provider.id, model=model.id, at_ns=at(when), **usage
                    )
                    if cost is None:
                        continue
                    compared += 1
                    theirs = genai_prices.calc_price(
                        genai_prices.Usage(**{names[name]: n for name, n in usage.items()}),
                        model.id,
                        provider_id=provider.id,
                        genai_request_timestamp=datetime.datetime.fromisoformat(when).replace(
                            tzinfo=datetime.UTC
                        ),
                    )
                    assert cost.amount == theirs.total_price, (provider.id, model.id, usage)
    assert compared > 20_000


# -- what nobody knows ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "my-deployment"),
        ("openai", None),
        ("ollama", "llama3"),
        ("openai-compatible", "gpt-4o"),
        ("127.0.0.1:8000", "gpt-4o"),
        ("", "gpt-4o"),
        (None, "llama3"),
        (None, "x" * 1_000),
        ("openai", "gpt-4o" * 100),
        ("groq", "whisper-large-v3"),
    ],
)
def test_what_has_no_price_here_is_unknown(provider: str | None, model: str | None) -> None:
    """
    Another provider's price, or none at all, is never taken for it.
    """
    assert price(provider, model) is None


def test_without_a_provider_the_name_of_the_model_tells() -> None:
    """
    Where nobody said who serves a model, its maker's price is taken.
    """
    assert amount(None, "gpt-4o") == amount("openai", "gpt-4o")
    assert amount(None, "claude-sonnet-4-5") == amount("anthropic", "claude-sonnet-4-5")


@pytest.mark.parametrize(
    ("said", "means", "model"),
    [
        ("google-vertex", "google", "gemini-2.5-pro"),
        ("gcp.vertex_ai", "google", "claude-sonnet-4-5@20250929"),
        ("azure.ai.openai", "azure", "gpt-4o"),
        ("aws.bedrock", "aws", "amazon.nova-pro-v1:0"),
        ("OpenAI", "openai", "gpt-4o"),
        ("xai", "x-ai", "grok-3"),
        ("mistral_ai", "mistral", "mistral-large-latest"),
    ],
)
def test_providers_have_several_names(said: str, means: str, model: str) -> None:
    """
    The names that vendors' clients, OpenTelemetry and we give a provider mean the same.
    """
    found = amount(said, model)
    assert found is not None
    assert found == amount(means, model)


def test_the_path_of_a_google_model_is_no_part_of_its_name() -> None:
    """
    Google's requests name models with the path that they have there.
    """
    expected = amount("google", "gemini-2.5-pro")
    assert amount("google", "models/gemini-2.5-pro") == expected
    assert amount("google", "publishers/google/models/gemini-2.5-pro") == expected


@pytest.mark.parametrize(
    "tokens",
    [
        {"prompt": None},
        {"prompt": None, "completion": None},
        {"prompt": 10, "cached_tokens": 11},
        {"prompt": 10, "cached_tokens": 6, "cache_write_tokens": 6},
        {"prompt": 2**63 - 1},
        {"prompt": 10, "completion": 2**63 - 1},
    ],
)
def test_numbers_that_cannot_be_have_no_price(tokens: dict[str, Any]) -> None:
    """
    Without the tokens of the prompt, with a part larger than the whole or a cost beyond all bounds
    the cost is unknown; nothing raises.
    """
    assert price("anthropic", "claude-sonnet-4-5", **tokens) is None


def test_a_call_without_an_answer_costs_its_prompt() -> None:
    """
    Embeddings have no completion.
    """
    assert amount("openai", "text-embedding-3-small", 1_000_000, None) == Decimal("0.02")


def test_names_that_somebody_makes_up_do_not_fill_the_memory() -> None:
    """
    What is remembered of models is bounded.
    """
    table = PriceTable()
    for number in range(MAX_KNOWN + 10):
        assert price("nobody", f"m{number}", table=table) is None
    assert len(table._known) <= MAX_KNOWN


# -- without the table ------------------------------------------------------------------------


def alone(program: str) -> str:
    """
    What *program* prints where genai-prices is not installed.
    """
    hidden = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'genai_prices':\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", hidden + program], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.strip()


PROGRAM = """
from pathlib import Path
from asyncops._prices import PriceTable
table = PriceTable({own})
cost = table.price(
    provider="openai", model="gpt-4o", prompt_tokens=1, completion_tokens=1, at_ns=0
)
print(table.versions, cost and cost.amount)
"""


def test_without_the_table_costs_are_unknown() -> None:
    """
    The base install has no genai-prices: nothing is loaded, nothing complains.
    """
    assert alone(PROGRAM.format(own=None)) == "() None"


def test_own_prices_need_no_table(tmp_path: Path) -> None:
    """
    A file of prices works without genai-prices.
    """
    own = tmp_path / "p.toml"
    own.write_text('[[price]]\nmodel = "gpt-*"\ninput = 1\noutput = 2\n')
    told = alone(PROGRAM.format(own=f"Path({str(own)!r})"))
    assert told.endswith(" 0.000003")
    assert told.startswith("('p.toml sha256:")


def test_the_table_is_loaded_when_it_is_asked() -> None:
    """
    Importing asyncops, or making a table, loads nothing of genai-prices.
    """
    program = (
        "import sys, asyncops; from asyncops._prices import PriceTable; table = PriceTable();"
        "print('genai_prices' in sys.modules, table.versions, 'genai_prices' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"False ('{VERSION}',) True"


def test_a_table_that_cannot_be_loaded_is_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A genai-prices that is broken costs a warning, not the program.
    """
    name = "genai_prices.data_snapshot"
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    table = PriceTable()
    with caplog.at_level(logging.WARNING, "asyncops"):
        assert price("openai", "gpt-4o", table=table) is None
        assert table.versions == ()
    (told,) = caplog.messages
    assert told.startswith("genai-prices cannot be loaded: ImportError")


# -- prices of one's own ----------------------------------------------------------------------


def own(directory: Path, text: str) -> PriceTable:
    path = directory / "prices.toml"
    path.write_text(text)
    return PriceTable(path)


def test_own_prices_go_first(tmp_path: Path) -> None:
    """
    A price in the file is taken before the table's, and the cost says where it is from.
    """
    table = own(
        tmp_path,
        '[[price]]\nprovider = "OpenAI"\nmodel = "GPT-4o*"\ninput = 1\noutput = 2.5\n'
        "cached = 0.1\ncache_write = 3\n",
    )
    cost = price("openai", "gpt-4o", table=table, cached_tokens=100, cache_write_tokens=10)
    assert cost is not None
    assert cost.amount == (890 + 10 + 30 + Decimal("2.5") * 100) / 1_000_000
    assert cost.table is not None
    assert cost.table.startswith("prices.toml sha256:")
    assert table.versions == (cost.table, VERSION)
    assert price("azure", "gpt-4o", table=table) == price("azure", "gpt-4o")
    assert price("openai", "o3", table=table) == price("openai", "o3")


def test_the_last_price_that_has_begun_is_taken(tmp_path: Path) -> None:
    """
    Later entries are more special or newer; one that has not begun yet does not count.
    """
    table = own(
        tmp_path,
        '[[price]]\nmodel = "*"\ninput = 1\noutput = 0\n'
        '[[price]]\nmodel = "mine-*"\ninput = 2\noutput = 0\n'
        '[[price]]\nmodel = "mine-*"\ninput = 3\noutput = 0\nsince = 2026-01-01\n'
        '[[price]]\nmodel = "mine-*"\ninput = 4\noutput = 0\nsince = 2026-06-01T12:00:00Z\n',
    )

    def millions(model: str, when: str) -> Decimal | None:
        return amount("ollama", model, 1_000_000, 5, table=table, when=at(when))

    assert millions("other", "2026-07-01T00:00") == 1
    assert millions("mine-1", "2025-12-31T23:59:59") == 2
    assert millions("mine-1", "2026-01-01T00:00") == 3
    assert millions("mine-1", "2026-06-01T11:59:59") == 3
    assert millions("mine-1", "2026-06-01T12:00") == 4


def test_a_price_of_nothing_is_a_price(tmp_path: Path) -> None:
    """
    Whoever says that a model costs nothing is believed.
    """
    table = own(tmp_path, '[[price]]\nprovider = "ollama"\nmodel = "*"\ninput = 0\noutput = 0\n')
    assert amount("ollama", "llama3", table=table) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[price", "not TOML"),
        ("", r"one \[\[price\]\] or more"),
        ("price = 3", r"one \[\[price\]\] or more"),
        ('[[prices]]\nmodel = "m"', r"one \[\[price\]\] or more"),
        ("price = [3]", "price 1 in .*must be a table"),
        ("[[price]]\ninput = 1\noutput = 1", 'price 1 in .*needs a model, such as "my-model'),
        ('[[price]]\nmodel = "m"\noutput = 1', "needs input and output"),
        (
            2 * '[[price]]\nmodel = "m"\ninput = 1\noutput = 1\n' + 'cached = "1"',
            "price 2 in .*cached must be a number of dollars",
        ),
        ('[[price]]\nmodel = "m"\ninput = true\noutput = 1', "input must be a number of dollars"),
        ('[[price]]\nmodel = "m"\ninput = -1\noutput = 1', "input must be from 0 to 1,000,000"),
        ('[[price]]\nmodel = "m"\ninput = nan\noutput = 1', "input must be from 0"),
        ("[[price]]\nmodel = 3\ninput = 1\noutput = 1", "model must be a text"),
        ('[[price]]\nmodel = "m"\ninput = 1\noutput = 1\nsince = "2026"', "since must be a day"),
        ('[[price]]\nmodel = "m"\ninputs = 1', "knows no 'inputs', but provider, model, input"),
    ],
)
def test_a_file_that_makes_no_sense_says_where(tmp_path: Path, text: str, said: str) -> None:
    """
    The error names the file, the entry and what would fit.
    """
    with pytest.raises(ConfigurationError, match=said) as caught:
        own(tmp_path, text)
    assert "prices.toml" in str(caught.value)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    """
    A misspelt name must not mean that there are no own prices.
    """
    with pytest.raises(ConfigurationError, match=r"none\.toml cannot be read: No such file"):
        PriceTable(tmp_path / "none.toml")


def test_the_example_of_the_docs_is_understood(tmp_path: Path) -> None:
    """
    The file that docs/costs.md shows works, and says what stands beside it.
    """
    page = (Path(__file__).parents[1] / "docs" / "costs.md").read_text()
    (example,) = re.findall(r"^```toml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    table = own(tmp_path, example)
    mine = amount(None, "My-Model-7", 1_000_000, 0, table=table, cached_tokens=1_000_000)
    assert mine == Decimal("2.5")
    assert amount("openai", "gpt-4o", 1_000_000, 1_000_000, table=table) == 10
    before = at("2025-12-31T23:59")
    assert amount("openai", "gpt-4o", 1_000_000, 0, table=table, when=before) == Decimal("2.5")
    assert price("azure", "gpt-4o", table=table) == price("azure", "gpt-4o")


def test_the_environment_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    ASYNCOPS_PRICES; an empty one says nothing.
    """
    monkeypatch.setenv("ASYNCOPS_PRICES", "")
    assert own_prices() is None
    monkeypatch.setenv("ASYNCOPS_PRICES", "p.toml")
    assert own_prices() == Path("p.toml")
