"""Says what jobs that were answered as soon as possible would have cost less if they had waited."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from jobs.models import Job, MonthlySpend, Price
from jobs.models.catalogue import SOONEST, WINDOWS

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Waiting:
    """At most so many USD that `jobs` would have cost less within `hours`; fees of tools are no less then."""

    saved: Decimal
    jobs: int
    hours: int


def waiting_would_have_saved(projects: Sequence[int], month: dt.date, day: dt.date) -> Waiting | None:
    """Return what waiting would have saved in a month (its first day) of some projects; None for nothing.

    By the price rows of a day, each model at its longest completion window. Three queries, over sums of the
    month and the jobs that did wait.
    """
    rates = {
        price.model_id: (1 - price.rates.multiplier(None, longest), WINDOWS[longest])
        for price in Price.objects.in_force(day)
        if (longest := price.windows_offered[-1]) != SOONEST
    }
    sums = MonthlySpend.objects.of_projects(projects).by_model([month])
    spent: dict[str, tuple[Decimal, int]] = {}
    for row in sums:
        cost, jobs = spent.get(row["model"], (ZERO, 0))
        spent[row["model"]] = cost + row["cost"], jobs + row["jobs"]
    waited = {name: (cost, jobs) for name, cost, jobs in Job.objects.that_waited(projects, month)}
    saved, counted, hours = ZERO, 0, 0
    for name, (cost, jobs) in spent.items():
        if name not in rates:
            continue
        part, length = rates[name]
        cost_waited, jobs_waited = waited.get(name, (ZERO, 0))
        if (left := cost - cost_waited) > 0:
            saved += left * part
            counted += max(jobs - jobs_waited, 1)
            hours = max(hours, int(length.total_seconds() // 3600))
    return Waiting(saved, counted, hours) if saved else None
