"""Compares our price rows with those that genai-prices records, and says what a successor would change."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from genai_prices import data
from genai_prices.types import ModelInfo, ModelPrice, StartDateConstraint, TieredPrices

from jobs.models import ModelSpec, Price

# Their names by ours, and how much of ours one of theirs is: they price tools for a thousand calls.
_RATES = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write_30m": "cache_write_mtok",
    "output": "output_mtok",
}
_TOOLS = {"web_search": "web_searches_kcount", "file_search": "storage_searches_kcount"}
_LONG = ("long_context_over", "long_context_input", "long_context_output")
_THOUSAND = Decimal(1_000)
# Service tiers that both know; theirs has the alias of one of them as well.
_TIERS = ("flex", "priority")
_TIMES = Decimal("1E-10")  # to which a tier's multiplier is kept
# Fields with a value for each of several names, of which a successor changes only some.
BY_NAME = ("tool_fees", "tiers")


@dataclass(frozen=True, slots=True)
class Successor:
    """What differs from a day on: the row in force then, and by field what theirs says instead."""

    row: Price
    valid_from: dt.date
    changes: Mapping[str, Any]

    def price(self) -> Price:
        """Return the row that succeeds; what they do not record is taken over from the one before."""
        columns = {field.attname: getattr(self.row, field.attname) for field in Price._meta.concrete_fields}
        whole = {name: getattr(self.row, name) | self.changes.get(name, {}) for name in BY_NAME}
        told = {**columns, **self.changes, **whole, "valid_from": self.valid_from, "id": None}
        return Price(**told | {"source": f"OpenAI pricing page as recorded by {SOURCE}"})


SOURCE = f"genai-prices {version('genai-prices')}"


def known() -> dict[str, ModelInfo]:
    """Return the models that they have of OpenAI, by id."""
    openai = next(provider for provider in data.providers if provider.id == "openai")
    return {model.id: model for model in openai.models}


def successors(spec: ModelSpec, theirs: ModelInfo, day: dt.date) -> Iterator[Successor]:
    """Yield what theirs says otherwise of a model, on `day` and on each later one on which a price begins."""
    row = spec.price_on(day)
    for begins in [day, *_starts_after(theirs, day)]:
        row = spec.price_on(begins) or row
        if row is None:
            return
        changes = dict(_changes(row, theirs, begins))
        if changes:
            found = Successor(row, begins, changes)
            yield found
            row = found.price()


def _starts_after(theirs: ModelInfo, day: dt.date) -> list[dt.date]:
    if not isinstance(theirs.prices, list):
        return []
    limits = (price.constraint for price in theirs.prices)
    starts = {limit.start_date for limit in limits if isinstance(limit, StartDateConstraint)}
    return sorted(start for start in starts if start > day)


def _changes(row: Price, theirs: ModelInfo, day: dt.date) -> Iterator[tuple[str, Any]]:
    """Yield the fields that theirs has and says otherwise; a rate that it does not record is no change."""
    noon = dt.datetime.combine(day, dt.time(12), dt.UTC)
    prices = theirs.get_prices(noon)
    for ours, name in _RATES.items():
        found = getattr(prices, name)
        if found is not None and _base(found) != getattr(row, ours):
            yield ours, _base(found)
    over, *factors = _long_context(prices.input_mtok, prices.output_mtok)
    if over is not None:
        told_long = zip(_LONG, (over, *factors), strict=True)
        yield from ((field, found) for field, found in told_long if found != getattr(row, field))
    fees = {tool: getattr(prices, name) for tool, name in _TOOLS.items()}
    told = {tool: _base(fee) / _THOUSAND for tool, fee in fees.items() if fee is not None}
    charged = {tool: Decimal(str(fee)) for tool, fee in row.tool_fees.items()}
    if other := {tool: str(fee.normalize()) for tool, fee in told.items() if fee != charged.get(tool)}:
        yield "tool_fees", other
    times = {tier: _times(prices, theirs.get_prices(noon, {"service_tier": tier})) for tier in _TIERS}
    own = {tier: Decimal(str(factor)) for tier, factor in row.tiers.items()}
    if other := {tier: str(found) for tier, found in times.items() if found not in (None, own.get(tier))}:
        yield "tiers", other


def _times(prices: ModelPrice, at_tier: ModelPrice) -> Decimal | None:
    """Return how many times the default's rates those of a tier are, at most.

    A rate that they do not record of a tier is the default's, so it is one time that. None where none is
    recorded, or where something costs nothing by default and no number of times bounds it.
    """
    recorded = [(getattr(at_tier, name), getattr(prices, name)) for name in _RATES.values()]
    pairs = [(_base(tier), _base(base)) for tier, base in recorded if base is not None]
    if all(tier == base for tier, base in recorded) or any(tier and not base for tier, base in pairs):
        return None
    factors = [tier / base for tier, base in pairs if base]
    return max(factors).quantize(_TIMES).normalize() if factors else None


def _base(price: Decimal | TieredPrices) -> Decimal:
    return price.base if isinstance(price, TieredPrices) else price


def _long_context(
    read: Decimal | TieredPrices | None, written: Decimal | TieredPrices | None
) -> tuple[int | None, Decimal, Decimal]:
    """Return above how many input tokens a request costs more, and how many times: input, then output.

    None where theirs records no such surcharge: a ceiling must not fall because of what is left out.
    """
    if not isinstance(read, TieredPrices):
        return None, Decimal(1), Decimal(1)
    first, second = (
        price.tiers[0].price / price.base if isinstance(price, TieredPrices) else Decimal(1)
        for price in (read, written)
    )
    return read.tiers[0].start, first, second
