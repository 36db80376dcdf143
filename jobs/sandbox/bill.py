"""The sandbox's own arithmetic: what a response costs, line by line, independent of the dashboard's."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from jobs.sandbox.life import Usage
from jobs.sandbox.prices import LONG_CONTEXT_ABOVE, WINDOW_FACTORS, price_of, tier_factor

MILLION = Decimal(1_000_000)
DAY = 86_400
WEB_SEARCH = Decimal("0.01")  # USD a call


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a bill: tokens and USD."""

    line_item: str
    quantity: int
    amount: Decimal


def lines(model: str, usage: Usage, *, tier: str, window: str, day: date, searches: int = 0) -> list[Line]:
    """Price a usage and web searches on that day, for an alias, in USD; lines of nothing are left out."""
    price = price_of(model, day)
    is_long = usage.input > LONG_CONTEXT_ABOVE
    factor = tier_factor(price, tier) * WINDOW_FACTORS[window] / MILLION
    input_factor = factor * (price.long_input if is_long else 1)
    output_factor = factor * (price.long_output if is_long else 1)
    cached = price.input if price.cached_input is None else price.cached_input
    parts = (
        ("input_tokens", usage.input - usage.cached, price.input * input_factor),
        ("cached_input_tokens", usage.cached, cached * input_factor),
        ("output_tokens", usage.output, price.output * output_factor),
    )
    found = [Line(f"{model}, {name}", count, count * rate) for name, count, rate in parts if count]
    if searches:
        found.append(Line("web search calls", searches, searches * WEB_SEARCH))
    return found


def total(of: Iterable[Line]) -> Decimal:
    """Add up lines, in USD."""
    return sum((line.amount for line in of), Decimal(0))


def buckets(
    rows: Iterable[dict[str, Any]], *, start: int, end: int, group_by: frozenset[str]
) -> list[dict[str, Any]]:
    """Group billed rows into the daily buckets of /v1/organization/costs.

    A row has `at` (Unix seconds), project_id, api_key_id and lines; `start` and `end` are multiples of
    a day. Days without cost have an empty bucket.
    """
    sums: dict[int, dict[tuple[str | None, ...], list[Decimal]]] = defaultdict(dict)
    for row in rows:
        day = int(row["at"]) // DAY * DAY
        for line in row["lines"]:
            key = tuple(
                value if name in group_by else None
                for name, value in (
                    ("line_item", line["line_item"]),
                    ("project_id", row["project_id"]),
                    ("api_key_id", row["api_key_id"]),
                )
            )
            total_of = sums[day].setdefault(key, [Decimal(0), Decimal(0)])
            total_of[0] += Decimal(line["amount"])
            total_of[1] += line["quantity"]
    return [
        {
            "object": "bucket",
            "start_time": day,
            "end_time": day + DAY,
            "results": [
                {
                    "object": "organization.costs.result",
                    "amount": {"value": float(amount), "currency": "usd"},
                    "line_item": line_item,
                    "project_id": project_id,
                    "api_key_id": api_key_id,
                    "quantity": float(quantity) if line_item else None,
                    "quantity_unit": "tokens" if line_item else None,
                }
                for (line_item, project_id, api_key_id), (amount, quantity) in sorted(
                    sums.get(day, {}).items(), key=lambda pair: tuple(map(str, pair[0]))
                )
            ],
        }
        for day in range(start, end, DAY)
    ]
