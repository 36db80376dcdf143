"""Says in one sentence what each chart of a month shows, and gives the browser what it draws them from."""

import datetime as dt
from decimal import Decimal
from typing import Any

from jobs.forecast import Outlook
from jobs.templatetags import ui
from jobs.views.month import Month
from jobs.views.month_costs import Bar

SATURDAY = 5  # as dt.date.weekday() counts


def cumulative_said(month: Month, end: Outlook | None) -> str:
    """Compare what was spent with the cap, and with an even pace while the month lasts; say how it ends."""
    said = _so_far_said(month)
    if end is None:
        return said
    span = f"{ui.dollars(end.low)} to {ui.dollars(end.high)}"
    return f"{said} Likely {ui.dollars(end.likely)} by the end; 8 in 10 months like this end from {span}."


def _so_far_said(month: Month) -> str:
    spent = ui.money(month.spent)
    if not month.is_now:
        return f"{spent} of {ui.money(month.cap)}." if month.cap else f"{spent} in all."
    after = f"after {month.gone} of {month.length} days"
    if not month.cap:
        return f"{spent} {after}."
    pace = ui.money(month.cap * month.gone / month.length)
    return f"{spent} of {ui.money(month.cap)} {after}; an even pace would be at {pace}."


def daily_said(month: Month) -> str:
    """Name the dearest day, and the day's spend that the cap allows."""
    dearest = max(month.days, key=lambda day: day.spent)
    if not dearest.spent:
        return "Nothing was spent."
    said = f"The dearest day was {_day(dearest.on)} with {ui.money(dearest.spent)}."
    return f"{said} Dashed line: {ui.money(month.even)} a day spends the cap exactly." if month.even else said


def models_said(month: Month) -> str:
    """Name the model that took most of the month."""
    if not month.spent:
        return "Nothing was spent."
    first = month.models[0]
    if len(month.models) == 1:
        return f"All of it on {first.name}."
    return f"{first.name} took {first.percent:.0f}% of {ui.money(month.spent)}."


def costs_said(month: Month) -> str:
    """Say what half of the jobs cost at most, and one in twenty at least."""
    costs = month.costs
    if costs is None:
        return ""
    jobs = f"{costs.jobs:,} job{'s' if costs.jobs != 1 else ''}"
    half, tail = ui.money(costs.median), ui.money(costs.tail)
    return f"{jobs} charged: half cost up to about {half}, one in twenty more than about {tail}."


def drawn(month: Month, end: Outlook | None) -> dict[str, Any]:
    """Return what the charts are drawn from: USD as numbers, words as they are shown."""
    return {
        "days": [_day(month.first + dt.timedelta(days=number)) for number in range(month.length)],
        "weekends": [
            number
            for number in range(month.length)
            if (month.first + dt.timedelta(days=number)).weekday() >= SATURDAY
        ],
        "cumulative": {
            "values": [float(day.so_far) for day in month.days],
            "cap": _number(month.cap),
            "capLabel": f"{month.cap_name} {ui.dollars(month.cap)}",
            "nowLabel": f"{ui.dollars(month.spent)} today" if month.is_now else "",
        },
        "daily": {
            "series": [
                {"name": one.name, "swatch": one.swatch, "values": [float(value) for value in one.values]}
                for one in month.series
            ],
            "even": _number(month.even),
        },
        "ahead": _ahead(end) if end else None,
        "models": [
            {"name": share.name, "depth": share.depth, "value": float(share.cost)} for share in month.models
        ],
        "costs": _costs(month),
    }


def span(bar: Bar) -> str:
    """Return a bar's range of cost: $1.00–$1.33."""
    return f"{_fine(bar.low)} and more" if bar.high is None else f"{_fine(bar.low)}–{_fine(bar.high)}"


def _ahead(end: Outlook) -> dict[str, Any]:
    return {
        "cumulative": [
            [float(day.so_far_low), float(day.so_far), float(day.so_far_high)] for day in end.ahead
        ],
        "daily": [[float(day.low), float(day.likely), float(day.high)] for day in end.ahead],
        "labels": [
            f"{ui.dollars(end.low)} low",
            f"{ui.dollars(end.likely)} likely",
            f"{ui.dollars(end.high)} high",
        ],
    }


def _costs(month: Month) -> dict[str, Any] | None:
    costs = month.costs
    if costs is None:
        return None
    return {
        "from": [_fine(bar.low) for bar in costs.bars],
        "spans": [span(bar) for bar in costs.bars],
        "jobs": [bar.jobs for bar in costs.bars],
        "medianAt": costs.median_at,
        "median": f"Median about {ui.money(costs.median)}",
        "tailAt": costs.tail_at,
        "tail": f"95th percentile about {ui.money(costs.tail)}",
    }


def _day(day: dt.date) -> str:
    return f"{day.day} {day:%b}"


def _fine(amount: Decimal) -> str:
    """Return USD with as many digits as tell two cheap bars apart."""
    return ui.money(amount) if amount >= 1 or not amount else f"${amount:.2g}"


def _number(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)
