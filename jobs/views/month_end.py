"""Says how a month will likely end, which cap it reaches first, and how months before it ended."""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any

from django.urls import reverse

from jobs import clock
from jobs.forecast import WINDOW, Kept, Outlook, charged_of_held, kept, outlook, shares_in
from jobs.models import BudgetPeriod, DailySpend, MonthlySpend, Scope
from jobs.models.questions import BY_INDEX, Asked, Asking, Blank, Statement, array_of
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
    """A cap's period with how its month will likely end, None while it is too early to tell."""

    period: BudgetPeriod | None
    end: Outlook | None

    @cached_property
    def reached_on(self) -> dt.date | None:
        """The day on which a cap that was not overrun yet is likely used up."""
        period = self.period
        return self.end.reaches(period.room) if self.end and period and not period.is_over else None

    @cached_property
    def spare_percent(self) -> Decimal | None:
        """What is likely left of the cap at the end, in percent of it."""
        period = self.period
        if self.end is None or period is None or not period.room:
            return None
        return (period.room - self.end.likely) * 100 / period.room


@dataclass(frozen=True)
class ProjectedLine(Projected):
    """The same of a project that is shown, with USD of the month before."""

    line: Line
    before: Decimal


@dataclass(frozen=True, slots=True)
class Alarm:
    """A cap that is likely reached in this month: whose it is, its period, and the day."""

    name: str  # '' for the reader's own
    url: str
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
        self._own_days: Mapping[dt.date, Decimal] = {}  # USD by day of the person with a cap of their own

    def asking(self) -> Asking:
        """Read what was spent before; the month itself is read in the same step."""
        month = self.month
        since = clock.month_of(months_back(month.first, MONTHS) - WINDOW)
        values: dict[str, Any] = {"projects": month.ids, "first": since, "last": month.before}
        (totals,) = yield [Asked(_totals(), values)]
        self._totals = dict(totals)
        since = clock.month_of(month.today - WINDOW) if month.is_now else month.before
        looked_at = {line.project.pk for line in (*month.listed, *self._nearest)}
        holding = month.holding
        asked = [Asked(_days(), {"projects": array_of(looked_at), "first": since, "last": month.before})]
        own = []
        if month.own and month.is_now:
            own = [Asked(_own_days(), {"person": month.own.budget.user_id, "first": since})]
        charged = [charged_of_held(holding)] if month.is_now and holding else []
        days, *more = yield asked + own + charged
        self._own_days = {day: cost for _, day, cost in more.pop(0)} if own else {}
        for on, project, cost, _ in month.by_day:
            if project in looked_at:
                self._days[project][on] = cost
        for project, on, cost in days:
            self._days[project][on] = cost
            if on >= month.before:
                self._before[project] += cost
        self._shares = shares_in(more.pop(0) if charged else [])

    @cached_property
    def all(self) -> Outlook | None:
        """The end of this month of all projects together; None of other months, and too early to tell."""
        this = {day.on: day.spent for day in self.month.days}
        return self._outlook({**self._totals, **this}, self.month.held, None)

    @cached_property
    def listed(self) -> list[ProjectedLine]:
        """The projects that are listed, each with its own end."""
        return [self._projected(line) for line in self.month.listed]

    @cached_property
    def own(self) -> Projected | None:
        """The person's own cap, where they have one."""
        period = self.month.own
        return Projected(period, self._outlook(self._own_days, period.held, None)) if period else None

    @cached_property
    def _looked_at(self) -> list[ProjectedLine]:
        """Those, and the few others whose caps may be reached first."""
        return [*self.listed, *map(self._projected, self._nearest)]

    @cached_property
    def alarm(self) -> Alarm | None:
        """What is reached first; a cap that is overrun already is named elsewhere."""
        named: list[tuple[str, str, Projected]] = [
            (one.line.project.name, one.line.project.get_absolute_url(), one) for one in self._looked_at
        ]
        rules = reverse("rules")
        if self.month.workspace:
            named.append(("The workspace", rules, Projected(self.month.workspace, self.all)))
        if self.own:
            named.append(("", rules, self.own))
        found = [
            Alarm(name, url, one.period, one.reached_on)
            for name, url, one in named
            if one.period and one.reached_on and one.period.budget.is_hard
        ]
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

    def _projected(self, line: Line) -> ProjectedLine:
        pk, period = line.project.pk, line.period
        end = self._outlook(self._days[pk], period.held, pk) if period else None
        return ProjectedLine(period, end, line, self._before[pk])

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
def _own_days() -> Statement:
    rows = DailySpend.objects.filter(user=Blank("person"))
    return Statement("{}", rows.days_of(Scope.MEMBER, Blank("first")))


@lru_cache
def _days() -> Statement:
    sums = MonthlySpend.objects.of_projects(Blank("projects"))
    return Statement("{}", sums.days_in(Blank("first"), Blank("last")))
