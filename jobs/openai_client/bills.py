"""Read an organization's bill from the Costs API, day by day in UTC."""

import asyncio
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from . import sdk
from .endpoint import READ_LIMIT, Endpoint, connect, parse, time_limit, tls_context
from .errors import Rejected, Retryable, classify

_GROUPS = ["project_id", "api_key_id", "line_item"]
_MOST_DAYS = 180  # buckets of one answer (SDK 3.54, admin.organization.usage.costs)
_MOST_PAGES = 50
_NAME_LIMIT = 200  # characters


@dataclass(frozen=True, slots=True)
class Cost:
    """A line of a bill on a UTC day: USD and, where it says so, tokens or calls.

    `places` are the decimal places that its amount is given with. A project, key or item that the bill does
    not name is ''.
    """

    day: dt.date
    project: str
    key: str
    item: str
    amount: Decimal
    places: int
    quantity: int | None


def costs(endpoint: Endpoint, *, since: dt.date, until: dt.date) -> list[Cost]:
    """Return what an organization was billed from the day `since` to the day `until`, both included.

    The endpoint's key is an admin key, which is sent to this one route only. Takes at most 10 s a page;
    raises BorderError. Not for a thread that runs an event loop.
    """
    sdk.load()
    try:
        return asyncio.run(_costs(endpoint, since, until))
    except Exception as exc:
        error = classify(exc, sending=False)
    # Outside the except block: the SDK's exception, which holds the key, must not become its context.
    error.__context__ = None
    raise error


async def _costs(endpoint: Endpoint, since: dt.date, until: dt.date) -> list[Cost]:
    found: list[Cost] = []
    asked: dict[str, Any] = {
        "start_time": _moment(since),
        "end_time": _moment(until + dt.timedelta(days=1)),
        "bucket_width": "1d",
        "group_by": _GROUPS,
        "limit": min((until - since).days + 1, _MOST_DAYS),
    }
    async with connect(endpoint, tls_context()) as client:
        for _ in range(_MOST_PAGES):
            async with asyncio.timeout(READ_LIMIT):
                answer = await client.get(
                    "/organization/costs",
                    cast_to=sdk.httpx2.Response,
                    options={"params": asked, "timeout": time_limit(READ_LIMIT)},
                )
            page = parse(answer.content) or {}
            buckets = page.get("data")
            if not isinstance(buckets, list):
                raise Retryable("The answer is no list of costs.", code="garbage")
            found += [line for bucket in buckets for line in _lines(bucket)]
            if not page.get("has_more"):
                return found
            asked["page"] = page.get("next_page")
    raise Retryable("The bill has no last page.", code="garbage")


def _lines(bucket: Any) -> list[Cost]:
    """Read a day's lines; raises Retryable for what is none."""
    try:
        day = dt.datetime.fromtimestamp(bucket["start_time"], dt.UTC).date()
        return [_line(day, result) for result in bucket["results"]]
    except (TypeError, KeyError, ValueError, OverflowError, InvalidOperation):
        raise Retryable("A day of the bill cannot be read.", code="garbage") from None


def _line(day: dt.date, result: Mapping[str, Any]) -> Cost:
    amount = result["amount"]
    if str(amount["currency"]).lower() != "usd":
        raise Rejected("The bill is not in US dollars.", code="currency")
    # A float's shortest text is what was written; of a binary fraction it has all the digits.
    value = Decimal(str(amount["value"]))
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or abs(value) >= 10**9:
        raise ValueError("no amount")
    quantity = result.get("quantity")
    return Cost(
        day=day,
        project=_name(result.get("project_id")),
        key=_name(result.get("api_key_id")),
        item=_name(result.get("line_item")),
        amount=value,
        places=max(-exponent, 0),
        quantity=round(quantity) if isinstance(quantity, int | float) and 0 <= quantity < 10**15 else None,
    )


def _name(value: Any) -> str:
    return value[:_NAME_LIMIT] if isinstance(value, str) else ""


def _moment(day: dt.date) -> int:
    return int(dt.datetime.combine(day, dt.time(), dt.UTC).timestamp())
