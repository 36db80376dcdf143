"""Works out a month's money of some projects: what was spent on what, by whom, and what is held."""

import datetime as dt
from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any

from jobs import clock
from jobs.models import Budget, BudgetPeriod, MonthlySpend, MonthlyTagSpend, Project, Scope
from jobs.models.money import period_of
from jobs.models.questions import Asked, Asking, Blank, Question, Statement, array_of
from jobs.models.rollups import ModelSum, Spender, TagSum
from jobs.views.frame import SWATCHES, SeenProject, swatch_of
from jobs.views.month_costs import Costs, buckets_of_model, costs_of

ZERO = Decimal(0)
NAMED = 4  # projects with a colour of their own beside one for all others
LISTED = 12  # projects with their caps; the page of projects has them all
SPENDERS = 10
MONTHS = 6  # at most so many stand beside each other: a year of fifty projects takes 5 ms more
NEARLY = 80  # percent of a cap from which it is named above the figures


@dataclass(frozen=True, slots=True)
class Capped:
    """A project with its cap in one month; None where none was set."""

    project: Project
    period: BudgetPeriod | None


def capped_projects(projects: Sequence[Project], month: dt.date) -> list[Capped]:
    """Return the projects, each with its own period of a month."""
    periods = Budget.objects.of_projects([project.pk for project in projects]).periods_in(month)
    found = {period.budget.project_id: period for period in periods}
    return [Capped(project, found.get(project.pk)) for project in projects]


@dataclass(frozen=True, slots=True)
class Line:
    """A project in a month: USD spent, and its cap if it has one; `swatch` is its colour on this page."""

    project: SeenProject
    period: BudgetPeriod | None
    spent: Decimal
    swatch: int

    @property
    def fill(self) -> str:
        """The class of its meter."""
        return "fwarn" if self.is_near else f"f{self.swatch}"

    @property
    def is_near(self) -> bool:
        """Whether little is left of a cap that holds."""
        period = self.period
        return (
            period is not None
            and period.budget.is_hard
            and period.percent_of_room(period.committed) >= NEARLY
        )


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of the days: a project with its slug, or all those that have none of their own."""

    name: str
    swatch: int
    values: list[Decimal]
    slug: str = ""


@dataclass(frozen=True, slots=True)
class Day:
    """A day's USD, in the order of the series, together, and of the month until then."""

    on: dt.date
    parts: list[Decimal]
    spent: Decimal
    so_far: Decimal


@dataclass(frozen=True, slots=True)
class Share:
    """A model's or an effort's part of the month; `depth` (1 to 3) is a model's colour, `before` USD."""

    name: str
    cost: Decimal
    jobs: int
    percent: Decimal
    depth: int = 0
    before: Decimal = ZERO


class Month:
    """One month of some projects, all of them real or all of them practice.

    Every figure is summed from the rows that the page shows, so that no table can differ from a total.
    """

    def __init__(
        self,
        first: dt.date,
        today: dt.date,
        projects: Sequence[SeenProject],
        *,
        with_workspace: bool,
        person: int | None = None,
    ) -> None:
        """Look at the month that begins on `first`; the workspace's cap shows what all projects spend.

        With it comes the cap of a `person`, by their id, if they have one.
        """
        self.first, self.today, self.projects = first, today, projects
        self.with_workspace, self._person = with_workspace, person
        self.before = clock.month_of(first - dt.timedelta(days=1))
        self.length = monthrange(first.year, first.month)[1]
        self.is_now = first == clock.month_of(today)
        self.ids = array_of(project.pk for project in projects)
        self.by_day: list[tuple[dt.date, int, Decimal, int]] = []  # day, project, USD and charges
        self.tags: list[TagSum] = []
        self.spenders: list[Spender] = []
        self.costs: Costs | None = None  # of one job on the model that cost most
        self._budgets: list[Budget] = []
        self._sums: list[ModelSum] = []  # and of the month before

    def asking(self) -> Asking:
        """Read what the month was spent on."""
        months = [self.first, self.before]
        values = {"projects": self.ids, "month": self.first, "before": self.before, "months": months}
        values |= {"person": self._person}
        questions = _questions(with_workspace=self.with_workspace, with_person=self._person is not None)
        self.by_day, self._budgets, models, tags, spenders = yield [Asked(one, values) for one in questions]
        self._sums = [ModelSum._make(row) for row in models]
        self.tags = [one for one in map(TagSum._make, tags) if one.cost or one.jobs]
        self.spenders = [one for one in map(Spender._make, spenders) if one.cost or one.jobs]
        if self.models:
            model = max(self.models, key=lambda share: share.cost).name
            (buckets,) = yield [Asked(buckets_of_model(), values | {"model": model})]
            self.costs = costs_of(model, buckets, self.first, self.before)

    @property
    def last(self) -> dt.date:
        return self.first.replace(day=self.length)

    @property
    def gone(self) -> int:
        """Days of the month that have begun."""
        return self.today.day if self.is_now else self.length

    @property
    def gone_percent(self) -> Decimal:
        return Decimal(self.gone * 100) / self.length

    @cached_property
    def _periods(self) -> dict[int | None, BudgetPeriod]:
        shared = (budget for budget in self._budgets if budget.scope != Scope.MEMBER)
        return {budget.project_id: period_of(budget, self.first) for budget in shared}

    @cached_property
    def own(self) -> BudgetPeriod | None:
        """The person's own cap, in all projects together."""
        own = (budget for budget in self._budgets if budget.scope == Scope.MEMBER)
        return next((period_of(budget, self.first) for budget in own), None)

    @cached_property
    def _by_model(self) -> list[ModelSum]:
        return [row for row in self._sums if row.month == self.first]

    @cached_property
    def _before(self) -> dict[str, Decimal]:
        """USD of the month before by model."""
        found: dict[str, Decimal] = defaultdict(Decimal)
        for row in self._sums:
            if row.month == self.before:
                found[row.model] += row.cost
        return found

    @cached_property
    def spent(self) -> Decimal:
        return sum(self._spent_of.values(), ZERO)

    @cached_property
    def jobs(self) -> int:
        """Charges that rest on something."""
        return sum(jobs for *_, jobs in self.by_day)

    @cached_property
    def held(self) -> Decimal:
        return sum((period.held for pk, period in self._periods.items() if pk is not None), ZERO)

    @property
    def holding(self) -> list[int]:
        """The projects that hold money of the month, those in the archive too."""
        return [pk for pk, period in self._periods.items() if pk is not None and period.held]

    @cached_property
    def workspace(self) -> BudgetPeriod | None:
        return self._periods.get(None)

    @cached_property
    def cap(self) -> Decimal | None:
        """The most to spend, USD: the workspace's cap or the projects' together; None where there is none."""
        if self.workspace is not None:
            return self.workspace.room
        return sum((period.room for period in self._shown), ZERO) if self._shown else None

    @property
    def cap_name(self) -> str:
        if self.workspace is not None:
            return "Budget"
        return "Cap" if len(self._shown) == 1 else "All caps"

    @property
    def cap_percent(self) -> Decimal:
        return self.spent * 100 / self.cap if self.cap else ZERO

    @property
    def even(self) -> Decimal | None:
        """USD a day that spend the cap exactly."""
        return self.cap / self.length if self.cap else None

    @cached_property
    def lines(self) -> list[Line]:
        """The projects, dearest first; an archived one only if it cost something."""
        found = [
            Line(
                project,
                self._periods.get(project.pk),
                self._spent_of.get(project.pk, ZERO),
                self._swatches[project.pk],
            )
            for project in self._in_order
        ]
        return [
            line for line in found if line.project.pk in self._spent_of or line.project.archived_at is None
        ]

    @cached_property
    def _shown(self) -> list[BudgetPeriod]:
        """The projects' caps that the page is about: of one in the archive only if it cost something."""
        return [line.period for line in self.lines if line.period is not None]

    @property
    def listed(self) -> list[Line]:
        return self.lines[:LISTED]

    @property
    def unlisted(self) -> list[Line]:
        return self.lines[LISTED:]

    @property
    def unlisted_spent(self) -> Decimal:
        return sum((line.spent for line in self.unlisted), ZERO)

    @cached_property
    def tight(self) -> Line | None:
        """The project with the least left of a cap that is nearly used up."""
        near = [line for line in self.lines if line.is_near] if self.is_now else []
        return min(near, key=lambda line: line.period.left if line.period else ZERO, default=None)

    @cached_property
    def series(self) -> list[Series]:
        """The dearest projects' days, and those of all others together where there are more."""
        named = [project for project in self._in_order if self._spent_of.get(project.pk)]
        others = named[NAMED:] if self._has_others else []
        named = named[:NAMED] if others else named
        days: dict[int, list[Decimal]] = defaultdict(lambda: [ZERO] * self.gone)
        known = {project.pk for project in named}
        for on, project, cost, _ in self.by_day:
            days[project if project in known else 0][on.day - 1] += cost
        found = [
            Series(project.name, self._swatches[project.pk], days[project.pk], project.slug)
            for project in named
        ]
        return [*found, Series(f"{len(others)} others", SWATCHES, days[0])] if others else found

    @cached_property
    def days(self) -> list[Day]:
        """The days that have begun."""
        found, so_far = [], ZERO
        for number in range(self.gone):
            parts = [series.values[number] for series in self.series]
            so_far += sum(parts, ZERO)
            found.append(Day(self.first + dt.timedelta(days=number), parts, sum(parts, ZERO), so_far))
        return found

    @cached_property
    def models(self) -> list[Share]:
        """The models by what they cost; the deepest colour is the highest rung's."""
        rungs = sorted({row.model: row.rung for row in self._by_model}.items(), key=lambda pair: -pair[1])
        depths = {model: max(3 - place, 1) for place, (model, _) in enumerate(rungs)}
        found = self._shares((row.model, row) for row in self._by_model)
        return [replace(one, depth=depths[one.name], before=self._before[one.name]) for one in found]

    @cached_property
    def efforts(self) -> list[Share]:
        """The efforts by what they cost."""
        return self._shares((row.effort, row) for row in self._by_model)

    @cached_property
    def hidden(self) -> Decimal | None:
        """Reasoning among the output tokens, percent; None where none are known."""
        out = sum(row.tokens_out for row in self._by_model)
        return Decimal(sum(row.tokens_thought for row in self._by_model) * 100) / out if out else None

    @cached_property
    def _spent_of(self) -> dict[int, Decimal]:
        found: dict[int, Decimal] = {}
        for _, project, cost, _ in self.by_day:
            found[project] = found.get(project, ZERO) + cost
        return found

    @cached_property
    def _has_others(self) -> bool:
        """Whether more projects cost something than there are colours."""
        return sum(map(bool, self._spent_of.values())) > SWATCHES

    @cached_property
    def _in_order(self) -> list[SeenProject]:
        return sorted(
            self.projects, key=lambda project: (-self._spent_of.get(project.pk, ZERO), project.name)
        )

    @cached_property
    def _swatches(self) -> dict[int, int]:
        """Their own colours; of two with the same the cheaper takes another that is free, or the last."""
        free = list(range(1, (NAMED if self._has_others else SWATCHES) + 1))
        found: dict[int, int] = {}
        for project in self._in_order:
            own = swatch_of(project.pk)
            if own not in free:
                own = free[0] if free else SWATCHES
            found[project.pk] = own
            free = [swatch for swatch in free if swatch != own]
        return found

    def _shares(self, named: Iterable[tuple[str, ModelSum]]) -> list[Share]:
        cost: dict[str, Decimal] = defaultdict(Decimal)
        jobs: dict[str, int] = defaultdict(int)
        for name, row in named:
            cost[name] += row.cost
            jobs[name] += row.jobs
        names = sorted(cost, key=lambda name: (-cost[name], name))
        return [
            Share(name, cost[name], jobs[name], cost[name] * 100 / self.spent if self.spent else ZERO)
            for name in names
        ]


def months_back(month: dt.date, number: int) -> dt.date:
    """Return the month so many before another, each named by its first day."""
    for _ in range(number):
        month = clock.month_of(month - dt.timedelta(days=1))
    return month


@lru_cache
def _questions(*, with_workspace: bool, with_person: bool) -> list[Statement | Question[Any]]:
    """Ask for days, budgets, models, tags and people."""
    sums = MonthlySpend.objects.of_projects(Blank("projects"))
    person = Blank("person") if with_person else None
    budgets = Budget.objects.in_sight(Blank("projects"), with_workspace=with_workspace, person=person)
    tags = MonthlyTagSpend.objects.by_tag(Blank("projects"), Blank("month"), Blank("before"))
    people = sums.by_person(Blank("month"), Blank("before"))
    # Thousands of rows, which the ORM would look at one by one.
    return [
        Statement("{}", sums.by_day(Blank("month"))),
        Question(budgets.with_period(Blank("month"))),
        Statement("{}", sums.by_model(Blank("months"))),
        Statement("{}", tags[:SPENDERS]),
        Statement("{}", people[:SPENDERS]),
    ]
