"""Says what jobs that were answered as soon as possible would have cost less if they had waited."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from jobs import clock
from jobs.models import Job, MonthlySpend, Price
from jobs.models.catalogue import SOONEST, WINDOWS, offered
from jobs.models.questions import Asked, Asking, Blank, Question, Statement

ZERO = Decimal(0)
A_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Waiting:
    """At most so many USD that `jobs` would have cost less within `hours`; fees of tools are no less then."""

    saved: Decimal
    jobs: int
    hours: int


class Waited:
    """What a month spent on answers that could wait, and what waiting would have saved on the others."""

    def __init__(self, projects: str, month: dt.date, day: dt.date) -> None:
        """Look at a month (its first day) of some projects, an array of ids, by the price rows of a day."""
        self._projects, self._month, self._day = projects, month, day
        # Of each model: the windows that it takes, and the factors of those with a price.
        self._windows: Sequence[tuple[str, list[str], dict[str, Any]]] = []
        # USD and jobs by model that waited, or could not have: some connections take no windows.
        self._settled: Mapping[str, tuple[Decimal, int]] = {}

    def asking(self) -> Asking:
        """Read the prices, the jobs that did wait, and what was spent where none could."""
        after = (self._month + dt.timedelta(days=32)).replace(day=1)
        # In every zone; the month that a job counts in is its hold's.
        begin, end = (
            dt.datetime.combine(on, dt.time(), dt.UTC) - clock.shift() for on in (self._month, after)
        )
        about = {
            "projects": self._projects,
            "month": self._month,
            "since": begin - A_DAY,
            "until": end + A_DAY,
        }
        self._windows, waited, unable = yield [
            Asked(_windows(), {"day": self._day}),
            Asked(_waited(), about),
            Asked(_unable(), about),
        ]
        elsewhere = {project for project, *_ in unable}
        settled: dict[str, tuple[Decimal, int]] = {}
        # What waited where nothing can any more is among what could not.
        for _, model, cost, jobs in [*unable, *(row for row in waited if row[0] not in elsewhere)]:
            before, number = settled.get(model, (ZERO, 0))
            settled[model] = before + cost, number + jobs
        self._settled = settled

    def would_have_saved(self, spent: Mapping[str, tuple[Decimal, int]]) -> Waiting | None:
        """Return what waiting would have saved, each model at its longest window; None for nothing.

        `spent` is what the projects spent in the month by model: USD and charges.
        """
        rates = {
            model: (1 - Decimal(str(priced[longest])), WINDOWS[longest])
            for model, taken, priced in self._windows
            if model in spent and (longest := offered(taken, priced)[-1]) != SOONEST
        }
        saved, counted, hours = ZERO, 0, 0
        for name, (part, length) in rates.items():
            cost, jobs = spent[name]
            cost_settled, jobs_settled = self._settled.get(name, (ZERO, 0))
            if (left := cost - cost_settled) > 0:
                saved += left * part
                counted += max(jobs - jobs_settled, 1)
                hours = max(hours, int(length.total_seconds() // 3600))
        return Waiting(saved, counted, hours) if saved else None


@lru_cache
def _windows() -> Question[Any]:
    return Question(Price.objects.windows_on(Blank("day")))


@lru_cache
def _waited() -> Statement:
    blanks = {name: Blank(name) for name in ("since", "until")}
    return Statement("{}", Job.objects.that_waited(Blank("projects"), Blank("month"), **blanks))


@lru_cache
def _unable() -> Statement:
    return Statement("{}", MonthlySpend.objects.without_windows(Blank("projects"), Blank("month")))
