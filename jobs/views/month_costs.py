"""Reads from a month's rollups what one job on a model costs: how many in each bucket, half, and the tail."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from jobs import pricing
from jobs.models import MonthlySpend
from jobs.models.questions import Blank, Statement

ZERO = Decimal(0)
TAIL = Decimal("0.95")


@dataclass(frozen=True, slots=True)
class Bar:
    """Charges that cost from `low` to below `high` USD; None where there is no such end."""

    low: Decimal
    high: Decimal | None
    jobs: int


@dataclass(frozen=True, slots=True)
class Costs:
    """What one job on a model costs, USD, read from the rollups' cost buckets."""

    model: str
    bars: list[Bar]
    median_at: int  # number of the bar
    tail_at: int
    median: Decimal
    tail: Decimal
    median_before: Decimal | None

    @property
    def jobs(self) -> int:
        return sum(bar.jobs for bar in self.bars)


def costs_of(
    model: str, rows: Sequence[tuple[dt.date, list[int]]], month: dt.date, before: dt.date
) -> Costs | None:
    """Return what a job on a model cost in a month, and half of them the month before, by months and buckets.

    None where nothing that rests on something was charged.
    """
    now, then = ([buckets for on, buckets in rows if on == one] for one in (month, before))
    return _costs(model, _together(now), _together(then))


@lru_cache
def buckets_of_model() -> Statement:
    """Ask for what `costs_of` takes: of `projects`, a `model` and `months`."""
    sums = MonthlySpend.objects.of_projects(Blank("projects"))
    return Statement("{}", sums.buckets_of(Blank("model"), Blank("months")))


def _together(buckets: Sequence[Sequence[int]]) -> list[int]:
    return [sum(counts) for counts in zip(*buckets, strict=True)]


def _costs(model: str, buckets: Sequence[int], before: Sequence[int]) -> Costs | None:
    half, tail = (pricing.quantile_bucket(buckets, part) for part in (Decimal("0.5"), TAIL))
    middles = [pricing.middle(half), pricing.middle(tail)]
    if half is None or tail is None or middles[0] is None or middles[1] is None:
        return None
    used = [number for number, jobs in enumerate(buckets) if jobs]
    # A neighbour on each side shows that nothing lies there.
    shown = range(max(used[0] - 1, 0), min(used[-1] + 2, pricing.BUCKETS))
    edges = (ZERO, *pricing.BUCKET_EDGES)
    bars = [
        Bar(
            edges[number],
            edges[number + 1] if number + 1 < len(edges) else None,
            buckets[number],
        )
        for number in shown
    ]
    return Costs(
        model, bars, half - shown.start, tail - shown.start, middles[0], middles[1], pricing.median(before)
    )
