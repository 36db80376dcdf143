"""Says how a month will likely end, which cap it reaches first, and how months before it ended."""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any

from jobs import clock
from jobs.forecast import WINDOW, Kept, Outlook, charged_of_held, kept, outlook, shares_in
from jobs.models import BudgetPeriod, MonthlySpend
from jobs.models.questions import BY_INDEX, Asked, Asking, Blank, Statement, array_of
from jobs.views.frame import SeenProject
from jobs.views.month import MONTHS, Line, Month, months_back

NEAREST = 3  # projects whose end is told though they are not listed, for their caps may be reached first
FASTER = 2  # times the pace so far, at which a cap that is not even reached then is out of danger


@dataclass(frozen=True, slots=True)
class Ended:
    """A month that is over: USD, the change on the one before in percent, and what was forecast for it."""

    month: dt.date
    spent: Decimal
    change: Decimal | None
    told: Kept | None


@dataclass(frozen=True)
class Projected:
    """A line with how its month will likely end, None while it is too early to tell."""

    line: Line
    end: Outlook | None
    before: Decimal  # USD of the month before

    @cached_property
    def reached_on(self) -> dt.date | None:
        """The day on which a cap that was not overrun yet is likely used up."""
        period = self.line.period
        return self.end.reaches(period.room) if self.end and period and not period.is_over else None

    @cached_property
    def spare_percent(self) -> Decimal | None:
        """What is likely left of the cap at the end, in percent of it."""
        period = self.line.period
        if self.end is None or period is None or not period.room:
            return None
        return (period.room - self.end.likely) * 100 / period.room


@dataclass(frozen=True, slots=True)
class Alarm:
    """A cap that is likely reached in this month: whose it is, its period, and the day."""

    project: SeenProject | None  # None: the workspace
    period: BudgetPeriod
    on: dt.date


class Ending:
    """How a month of some projects ends: told of this month, known of others."""

    def __init__(self, month: Month, gone: float) -> None:
        """Look at a month; `gone` is the part of today that is over."""
        self.month, self._gone = month, gone
        # USD by day of all together, of the months before, and of what the first was told from.
        self._totals: Mapping[dt.date, Decimal] = {}
        # USD by project and day of those looked at: of this month, and before as far as tells how it ends.
        self._days: dict[int, dict[dt.date, Decimal]] = defaultdict(dict)
        self._before: dict[int, Decimal] = defaultdict(Decimal)  # USD of the month before by project
        self._shares: Mapping[int | None, Decimal] = {}

    def asking(self) -> Asking:
        """Read what was spent before; the month itself is read in the same step."""
        month = self.month
        since = clock.month_of(months_back(month.first, MONTHS) - WINDOW)
        values: dict[str, Any] = {"projects": month.ids, "first": since, "last": month.before}
        (totals,) = yield [Asked(_totals(), values)]
        self._totals = dict(totals)
        since = clock.month_of(month.today - WINDOW) if month.is_now else month.before
        looked_at = {line.project.pk for line in (*month.listed, *self._nearest)}
        holding = [line.project.pk for line in month.lines if line.period and line.period.held]
        asked = [Asked(_days(), {"projects": array_of(looked_at), "first": since, "last": month.before})]
        days, *charged = yield asked + [charged_of_held(holding)] * (month.is_now and bool(holding))
        for on, project, cost, _ in month.by_day:
            if project in looked_at:
                self._days[project][on] = cost
        for project, on, cost in days:
            self._days[project][on] = cost
            if on >= month.before:
                self._before[project] += cost
        self._shares = shares_in(charged[0] if charged else [])

    @cached_property
    def all(self) -> Outlook | None:
        """The end of this month of all projects together; None of other months, and too early to tell."""
        this = {day.on: day.spent for day in self.month.days}
        return self._outlook({**self._totals, **this}, self.month.held, None)

    @cached_property
    def listed(self) -> list[Projected]:
        """The projects that are listed, each with its own end."""
        return [self._projected(line) for line in self.month.listed]

    @cached_property
    def _looked_at(self) -> list[Projected]:
        """Those, and the few others whose caps may be reached first."""
        return [*self.listed, *map(self._projected, self._nearest)]

    @cached_property
    def alarm(self) -> Alarm | None:
        """What is reached first; a cap that is overrun already is named elsewhere."""
        found = [
            Alarm(one.line.project, one.line.period, one.reached_on)
            for one in self._looked_at
            if one.reached_on and one.line.period and one.line.period.budget.is_hard
        ]
        whole = self.month.workspace
        can_be_reached = whole is not None and whole.budget.is_hard and not whole.is_over
        on = self.all.reaches(whole.room) if self.all and whole and can_be_reached else None
        if whole and on:
            found.append(Alarm(None, whole, on))
        return min(found, key=lambda alarm: alarm.on, default=None)

    @property
    def tight(self) -> Line | None:
        """The project with the least left, where no forecast says that it will do."""
        line = self.month.tight
        if line is None or line.period is None or line.period.is_over:
            return line
        found = next((one for one in self._looked_at if one.line.project.pk == line.project.pk), None)
        return None if found and found.end else line

    @cached_property
    def months(self) -> list[Ended]:
        """The months before this one, newest first, back to the first that cost something."""
        first = months_back(self.month.first, MONTHS)
        sums: dict[dt.date, Decimal] = defaultdict(Decimal)
        for day, cost in self._totals.items():
            sums[clock.month_of(day)] += cost
        over = [month for month in sorted(sums) if month >= first]
        told = {one.month: one for one in kept(self._totals, over)}
        return [
            Ended(month, sums[month], _change(sums[month], sums.get(months_back(month, 1))), told.get(month))
            for month in reversed(over)
        ]

    @property
    def told(self) -> list[Ended]:
        """The months for which something was forecast."""
        return [ended for ended in self.months if ended.told]

    @property
    def within(self) -> int:
        """How many of them ended where it was forecast."""
        return sum(ended.told.is_within for ended in self.months if ended.told)

    @cached_property
    def change(self) -> Decimal | None:
        """A month that is over against the one before, percent."""
        before = self.months[0] if self.months else None
        is_next = before is not None and before.month == self.month.before
        return _change(self.month.spent, before.spent) if before and is_next else None

    @cached_property
    def _nearest(self) -> list[Line]:
        """Of the projects that are not listed, those whose room is used up first at their pace so far."""
        month = self.month
        ahead = FASTER * Decimal(month.length - month.gone + 1) / month.gone
        near: list[tuple[Decimal, Line]] = []
        for line in month.unlisted if month.is_now else ():
            period = line.period
            if period is None or not period.budget.is_hard or not line.spent or period.is_over:
                continue
            if period.left <= line.spent * ahead:
                near.append((period.left / line.spent, line))
        return [line for _, line in sorted(near, key=lambda one: one[0])[:NEAREST]]

    def _projected(self, line: Line) -> Projected:
        pk, period = line.project.pk, line.period
        end = self._outlook(self._days[pk], period.held, pk) if period else None
        return Projected(line, end, self._before[pk])

    def _outlook(self, spent: Mapping[dt.date, Decimal], held: Decimal, pk: int | None) -> Outlook | None:
        if not self.month.is_now:
            return None
        share = self._shares.get(pk, self._shares[None])
        return outlook(spent, self.month.today, held=held, share=share, gone=self._gone)


def _change(now: Decimal, before: Decimal | None) -> Decimal | None:
    return (now - before) * 100 / before if before else None


@lru_cache
def _totals() -> Statement:
    sums = MonthlySpend.objects.of_projects(Blank("projects"))
    # In its first year these months are most of the table, and are quicker read by index all the same.
    return Statement("{}", sums.total_by_day(Blank("first"), Blank("last")), hint=BY_INDEX)


@lru_cache
def _days() -> Statement:
    sums = MonthlySpend.objects.of_projects(Blank("projects"))
    return Statement("{}", sums.days_in(Blank("first"), Blank("last")))
