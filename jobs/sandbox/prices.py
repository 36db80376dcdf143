"""The sandbox's own dated price list, in USD per million tokens."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

LONG_CONTEXT_ABOVE = 272_000  # input tokens; above it the whole request costs more

# Shares of the token rates, from the background guide of autumn 2026.
WINDOW_FACTORS = {"soonest": Decimal(1), "2h": Decimal("0.7"), "8h": Decimal("0.6")}


@dataclass(frozen=True, slots=True)
class Price:
    """Hold one price row; `cached_input` None means the full input price is charged."""

    model: str
    valid_from: date
    input: Decimal
    cached_input: Decimal | None
    output: Decimal
    long_input: Decimal = Decimal(1)
    long_output: Decimal = Decimal(1)
    priority: Decimal | None = None
    flex: Decimal | None = None


_START = date(2025, 1, 1)
_HALF = Decimal("0.5")


def _row(
    model: str,
    input_: str,
    cached: str | None,
    output: str,
    *,
    since: date = _START,
    is_long: bool = False,
    priority: str | None = None,
    flex: Decimal | None = None,
) -> Price:
    return Price(
        model=model,
        valid_from=since,
        input=Decimal(input_),
        cached_input=Decimal(cached) if cached else None,
        output=Decimal(output),
        long_input=Decimal(2) if is_long else Decimal(1),
        long_output=Decimal("1.5") if is_long else Decimal(1),
        priority=Decimal(priority) if priority else None,
        flex=flex,
    )


def _long(model: str, input_: str, cached: str, output: str, *, since: date = _START) -> Price:
    """Return a row of the families that reprice long contexts and sell every tier."""
    return _row(model, input_, cached, output, since=since, is_long=True, priority="2", flex=_HALF)


# OpenAI's pricing page as read on 2026-11-22.
PRICES: tuple[Price, ...] = (
    _row("o1-pro", "150", None, "600"),
    _row("o3", "10", "0.50", "40"),
    _row("o3", "2", "0.50", "8", since=date(2025, 6, 10), priority="1.75", flex=_HALF),
    _row("o3-pro", "20", None, "80"),
    _row("o4-mini", "1.10", "0.275", "4.40", flex=_HALF),
    _row("o3-deep-research", "10", "2.50", "40"),
    _row("o4-mini-deep-research", "2", "0.50", "8"),
    _row("gpt-5", "1.25", "0.125", "10", priority="2", flex=_HALF),
    _row("gpt-5-mini", "0.25", "0.025", "2", flex=_HALF),
    _row("gpt-5-nano", "0.05", "0.005", "0.40", flex=_HALF),
    _row("gpt-5-pro", "15", None, "120"),
    _row("gpt-5.1", "1.25", "0.125", "10", priority="2", flex=_HALF),
    _row("gpt-5.2", "1.75", "0.175", "14", priority="2", flex=_HALF),
    _row("gpt-5.2-pro", "21", None, "168"),
    _long("gpt-5.4", "2.50", "0.25", "15"),
    _row("gpt-5.4-mini", "0.75", "0.075", "4.50", flex=_HALF),
    _row("gpt-5.4-nano", "0.20", "0.02", "1.25", flex=_HALF),
    _row("gpt-5.4-pro", "30", None, "180", is_long=True, flex=_HALF),
    _long("gpt-5.5", "5", "0.50", "30"),
    _row("gpt-5.5-pro", "30", None, "180", is_long=True, flex=_HALF),
    _long("gpt-5.6-sol", "5", "0.50", "30"),
    _long("gpt-5.6-sol", "4", "0.40", "20", since=date(2026, 8, 21)),
    _long("gpt-5.6-terra", "2.50", "0.25", "15"),
    _long("gpt-5.6-terra", "2", "0.20", "12", since=date(2026, 7, 30)),
    _long("gpt-5.6-luna", "1", "0.10", "6"),
    _long("gpt-5.6-luna", "0.20", "0.02", "1.20", since=date(2026, 7, 30)),
    _long("gpt-6-astra", "10", "1", "50"),
    _long("gpt-6-sol", "2", "0.20", "10"),
    _long("gpt-6-luna", "0.10", "0.01", "0.50"),
    _long("gpt-6.1-sol", "2", "0.10", "10"),
    _long("gpt-6.1-terra", "1", "0.05", "5"),
)


def price_of(model: str, day: date) -> Price:
    """Return the row of an alias (not a snapshot) that is valid on that day.

    Raises:
        LookupError: nothing is priced under that name on that day.
    """
    rows = [row for row in PRICES if row.model == model and row.valid_from <= day]
    if not rows:
        raise LookupError(f"no price for {model}")
    return max(rows, key=lambda row: row.valid_from)


def tier_factor(price: Price, tier: str) -> Decimal:
    """Return what a service tier multiplies the token rates by.

    A directive may report a tier the model does not sell; the family's usual factor then counts.
    """
    if tier == "priority":
        return price.priority or Decimal(2)
    if tier == "flex":
        return price.flex or _HALF
    return Decimal(1)
