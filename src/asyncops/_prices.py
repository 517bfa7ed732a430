"""
What a call of a model costs where nobody said: prices by provider, model and time.

Prices come from a file of the user's own and from the maintained table `genai-prices`, which the
extras `prices` and `server` install; a price of the user's own goes first. Where neither knows a
call its cost is unknown, never 0.
"""

from __future__ import annotations

import datetime
import fnmatch
import hashlib
import importlib.metadata
import logging
import os
import threading
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ._events import Cost
from ._exceptions import ConfigurationError

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

__all__ = ["NO_PRICES", "PriceTable", "own_prices"]

NO_PRICES = (
    'prices are not known here: pip install "asyncops[prices]", or name a file of your own in'
    " ASYNCOPS_PRICES"
)
"""What to tell somebody who asks for them where there are none."""

MAX_KNOWN = 10_000
"""How many pairs of provider and model are remembered to spare looking them up."""

MAX_MODEL_CHARS = 200
"""How long the name of a model is at most that is looked up: each is matched with many patterns."""

MAX_PRICE = 1_000_000
"""The highest price in a file, dollars for a million tokens."""

_ALIASES = {
    "amazon": "aws",
    "amazon-bedrock": "aws",
    "aws.bedrock": "aws",
    "bedrock": "aws",
    "azure-openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure_ai": "azure",
    "azure_openai": "azure",
    "fireworks_ai": "fireworks",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "google-vertex": "google",
    "google_genai": "google",
    "vertex_ai": "google",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "together_ai": "together",
    "x_ai": "x-ai",
    "xai": "x-ai",
}
"""
Providers under the names that we, OpenTelemetry and others give them, and what genai-prices calls
them. Its own way of finding a provider takes every name in which "openai" occurs for OpenAI: a
server on one's own machine that calls itself "openai-compatible" would be charged for.
"""

_logger = logging.getLogger("asyncops")


def own_prices() -> Path | None:
    """
    The file of prices that `$ASYNCOPS_PRICES` names.
    """
    named = os.environ.get("ASYNCOPS_PRICES")
    return Path(named) if named else None


@attrs.frozen
class _Rates:
    """
    Dollars for a million tokens of each sort; None where there is no price.

    Attributes:
        request: Dollars for the call itself.
    """

    input: Decimal | None
    output: Decimal | None
    cached: Decimal | None
    cache_write: Decimal | None
    reasoning: Decimal | None = None
    request: Decimal | None = None

    def amount(
        self, prompt: int, completion: int, cached: int, cache_write: int, reasoning: int
    ) -> Decimal | None:
        """
        What so many tokens cost; None where that cannot be told.
        """
        if self.input is None:  # it is sold by the hour, by the page ...
            return None
        parts = []
        # what has no price of its own is charged like the rest of the prompt, or of the completion
        for tokens, rate in ((cached, self.cached), (cache_write, self.cache_write)):
            if rate is not None:
                prompt -= tokens
                parts.append((tokens, rate))
        if self.reasoning is not None:
            completion -= reasoning
            parts.append((reasoning, self.reasoning))
        if prompt < 0 or completion < 0:
            return None  # a part is larger than the whole: nobody knows what was meant
        total = self.input * prompt
        if completion:
            if self.output is None:
                return None
            total += self.output * completion
        for tokens, rate in parts:
            total += rate * tokens
        return total / 1_000_000 if self.request is None else total / 1_000_000 + self.request


_Tiers = tuple[tuple[int, _Rates], ...]
"""The rates for prompts of more than so many tokens, in rising order, the first from -1 on."""


@attrs.frozen(kw_only=True)
class _OwnPrice:
    """
    An entry of a file of prices.

    Attributes:
        provider: Whose models; anybody's if None.
        model: A pattern as in a shell.
        since: From when it is right, nanoseconds since the epoch.
    """

    provider: str | None
    model: str
    since: int
    tiers: _Tiers


class PriceTable:
    """
    All prices that are known here. May be used from any thread.

    Args:
        own: A file of prices that go first; docs/costs.md says how one looks.

    Raises:
        ConfigurationError: *own* cannot be read, or has an entry that makes no sense.
    """

    def __init__(self, own: Path | None = None) -> None:
        self._own: Sequence[_OwnPrice] = ()
        self._own_version: str | None = None
        if own is not None:
            self._own, self._own_version = _read(own)
        self._lock = threading.Lock()
        self._loaded = False
        self._version: str | None = None
        self._providers: Sequence[Provider] = ()
        self._known: dict[
            tuple[str | None, str], tuple[tuple[_OwnPrice, ...], ModelInfo | None]
        ] = {}
        # by identity; the providers, which are kept, hold the keys
        self._tiers: dict[int, _Tiers] = {}

    def load(self) -> None:
        """
        Load `genai-prices`, which takes a fifth of a second; the first question does it otherwise.
        """
        with self._lock:
            if self._loaded:
                return
            try:
                from genai_prices.data_snapshot import get_snapshot

                self._providers = get_snapshot().providers
                self._version = f"genai-prices {importlib.metadata.version('genai-prices')}"
            except ModuleNotFoundError as error:
                if (error.name or "").partition(".")[0] != "genai_prices":
                    _logger.warning("genai-prices cannot be loaded: %r", error)
            except Exception as error:
                _logger.warning("genai-prices cannot be loaded: %r", error)
            self._loaded = True

    @property
    def versions(self) -> tuple[str, ...]:
        """
        The tables that prices come from, such as "genai-prices 0.2.3"; none where no price is
        known.
        """
        self.load()
        return tuple(filter(None, (self._own_version, self._version)))

    def price(
        self,
        *,
        provider: str | None,
        model: str | None,
        prompt_tokens: int | None,
        completion_tokens: int | None,
        cached_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        at_ns: int,
    ) -> Cost | None:
        """
        What a call at that time cost, or None where that is unknown. Never raises `Exception`.

        The numbers of tokens are those of an `LLMEvent`; without `prompt_tokens` nothing is known.
        """
        if model is None or prompt_tokens is None:
            return None
        try:
            if not self._loaded:
                self.load()
            own, info = self._find(provider, model)
            table = self._own_version
            tiers = next((entry.tiers for entry in own if entry.since <= at_ns), None)
            if tiers is None:
                if info is None:
                    return None
                table = self._version
                tiers = self._tiers_of(info, at_ns)
            rates = tiers[0][1]
            for start, higher in tiers[1:]:
                if prompt_tokens > start:
                    rates = higher
            amount = rates.amount(
                prompt_tokens,
                completion_tokens or 0,
                cached_tokens or 0,
                cache_write_tokens or 0,
                reasoning_tokens or 0,
            )
            return None if amount is None else Cost(amount, source="computed", table=table)
        except Exception as error:  # a table of another shape, an amount beyond all bounds
            _logger.debug("no price for %r of %r: %r", model, provider, error)
            return None

    def _find(
        self, provider: str | None, model: str
    ) -> tuple[tuple[_OwnPrice, ...], ModelInfo | None]:
        """
        The own prices for a model, the first to try first, and what genai-prices knows of it.
        """
        found = self._known.get((provider, model))
        if found is None:
            if len(self._known) >= MAX_KNOWN:  # somebody makes up names
                self._known.clear()
            found = self._known[provider, model] = (
                _matching(self._own, provider, model),
                self._model(provider, model),
            )
        return found

    def _model(self, provider: str | None, model: str) -> ModelInfo | None:
        if len(model) > MAX_MODEL_CHARS:
            return None
        seller = self._seller(provider, model)
        if seller is None:
            return None
        if seller.id == "google":  # "models/gemini-2.5-pro", "publishers/google/models/..."
            model = model.rpartition("models/")[2]
        return seller.find_model(model, all_providers=list(self._providers))

    def _seller(self, provider: str | None, model: str) -> Provider | None:
        """
        Who sells *model*: *provider*, where it is known. Only where nobody said who, the name of
        the model tells ("gpt-", "claude", "gemini" ...), because hardly anybody but its maker sells
        it at another price. A provider that is named and not known may be a server of one's own.
        """
        if provider is None:
            return next(
                (
                    seller
                    for seller in self._providers
                    if seller.model_match is not None and seller.model_match.is_match(model)
                ),
                None,
            )
        name = provider.strip().lower()
        name = _ALIASES.get(name, name)
        return next((seller for seller in self._providers if seller.id == name), None)

    def _tiers_of(self, model: ModelInfo, at_ns: int) -> _Tiers:
        prices = model.prices
        if isinstance(prices, list):  # which of them depends on the day, or the time of day
            moment = datetime.datetime.fromtimestamp(at_ns // 1_000_000_000, datetime.UTC)
            prices = model.get_prices(moment)
        tiers = self._tiers.get(id(prices))
        if tiers is None:
            tiers = self._tiers[id(prices)] = _tiers(prices)
        return tiers


def _tiers(prices: ModelPrice) -> _Tiers:
    """
    What genai-prices says, for text. Its own arithmetic takes 70 microseconds a call, more than all
    else about storing one.
    """
    found = [getattr(prices, name) for name in _GENAI_PRICES]
    starts = {tier.start for price in found for tier in getattr(price, "tiers", ())}
    return tuple((start, _rates(found, start)) for start in (-1, *sorted(starts)))


_GENAI_PRICES = (
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "output_reasoning_mtok",
    "requests_kcount",
)


def _rates(prices: Sequence[Decimal | TieredPrices | None], start: int) -> _Rates:
    """
    *prices* for a prompt of more than *start* tokens: those of the last tier that has begun then.
    """
    found = []
    for price in prices:
        if price is None or isinstance(price, Decimal):
            found.append(price)
        else:
            begun = [tier.price for tier in price.tiers if tier.start <= start]
            found.append([price.base, *begun][-1])
    prompt, completion, cached, cache_write, reasoning, requests = found
    request = None if requests is None else requests / 1_000
    return _Rates(prompt, completion, cached, cache_write, reasoning, request)


# -- a file of prices -------------------------------------------------------------------------


def _matching(
    prices: Iterable[_OwnPrice], provider: str | None, model: str
) -> tuple[_OwnPrice, ...]:
    """
    Those for a model, the last in the file first: what is said later is more special, or newer.
    """
    whose = None if provider is None else provider.lower()
    found = [
        price
        for price in prices
        if price.provider in (None, whose) and fnmatch.fnmatchcase(model.lower(), price.model)
    ]
    return tuple(reversed(found))


def _read(path: Path) -> tuple[Sequence[_OwnPrice], str]:
    """
    The prices in the file *path*, and what their version is called.
    """
    try:
        data = path.read_bytes()
        said = tomllib.loads(data.decode(), parse_float=Decimal)
    except OSError as error:
        raise ConfigurationError(f"the prices in {path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # no UTF-8, no TOML
        raise ConfigurationError(f"the prices in {path} are not TOML: {error}") from None
    entries = said.pop("price", [])
    if said or not isinstance(entries, list) or not entries:
        raise ConfigurationError(f"{path} must have one [[price]] or more, and nothing else")
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            found.append(_own_price(entry))
        except ValueError as error:
            raise ConfigurationError(f"price {number} in {path}: {error}") from None
    return tuple(found), f"{path.name} sha256:{hashlib.sha256(data).hexdigest()[:8]}"


_PRICES = ("input", "output", "cached", "cache_write")
_ENTRY = ("provider", "model", *_PRICES, "since")


def _own_price(entry: Any) -> _OwnPrice:
    """
    Raises:
        ValueError: It makes no sense; the message says what would.
    """
    if not isinstance(entry, dict):
        raise ValueError("must be a table: [[price]]")
    for name in entry:
        if name not in _ENTRY:
            raise ValueError(f"knows no {name!r}, but {', '.join(_ENTRY)}")
    provider = _text(entry, "provider")
    model = _text(entry, "model")
    if model is None:
        raise ValueError('needs a model, such as "my-model*"')
    rates = _Rates(*[_price(entry, name) for name in _PRICES])
    if rates.input is None or rates.output is None:
        raise ValueError("needs input and output, in dollars for a million tokens")
    return _OwnPrice(
        provider=None if provider is None else provider.lower(),
        model=model.lower(),
        since=_since(entry.get("since")),
        tiers=((-1, rates),),
    )


def _text(entry: Mapping[str, Any], name: str) -> str | None:
    value = entry.get(name)
    if value is not None and not (isinstance(value, str) and value):
        raise ValueError(f"{name} must be a text, not {value!r}")
    return value


def _price(entry: Mapping[str, Any], name: str) -> Decimal | None:
    value = entry.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError(f"{name} must be a number of dollars for a million tokens, not {value!r}")
    price = Decimal(value)
    if not (price.is_finite() and 0 <= price <= MAX_PRICE):
        raise ValueError(f"{name} must be from 0 to {MAX_PRICE:,} dollars, not {value}")
    return price


def _since(value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, datetime.date):  # as a datetime is, too
        raise ValueError(f"since must be a day such as 2026-01-01, without quotes, not {value!r}")
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)  # noqa: DTZ001 - UTC below
    if value.tzinfo is None:
        value = value.replace(tzinfo=datetime.UTC)
    return max(int(value.timestamp()), 0) * 1_000_000_000
