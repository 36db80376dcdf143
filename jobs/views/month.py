"""Lays out a month's money of the projects a person may see: what was spent on what, and what is held."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from jobs.models import Budget, BudgetPeriod, DailySpend, LedgerEntry, Project, User
from jobs.models.money import SUMS

ZERO = Decimal(0)
OLDEST_HOLDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of a table: USD, jobs that were charged, and tokens."""

    name: str
    cost: Decimal = ZERO
    jobs: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    project: Project | None = None


@dataclass(frozen=True, slots=True)
class Capped:
    """A project with its cap in one month; None where none was set."""

    project: Project
    period: BudgetPeriod | None


@dataclass(frozen=True, slots=True)
class Side:
    """A month of either the real projects or the practice ones, never of both.

    Its totals are summed from the rows that are shown, so that no table's foot can differ from them.
    """

    by_project: list[Line]
    by_model: list[Line]
    caps: list[Capped]

    @property
    def spent(self) -> Decimal:
        return sum((line.cost for line in self.by_project), ZERO)

    @property
    def jobs(self) -> int:
        return sum(line.jobs for line in self.by_project)

    @property
    def held(self) -> Decimal:
        return sum((capped.period.held for capped in self.caps if capped.period), ZERO)


def capped_projects(projects: Sequence[Project], month: dt.date) -> list[Capped]:
    """Return the projects, each with its own period of a month."""
    periods = Budget.objects.of_projects(projects).periods_in(month)
    found = {period.budget.project_id: period for period in periods}
    return [Capped(project, found.get(project.pk)) for project in projects]


def sides_of(user: User, projects: Sequence[Project], month: dt.date) -> tuple[Side, Side]:
    """Return a month's money as (real, practice), from the rollups and the periods of these projects."""
    rows = DailySpend.objects.visible_to(user).in_month(month)
    spent = {row["project"]: row for row in rows.by_project()}
    models = list(rows.by_model())
    capped = capped_projects(projects, month)
    real, practice = (
        _side([one for one in capped if one.project.is_practice == is_practice], spent, models, is_practice)
        for is_practice in (False, True)
    )
    return real, practice


def workspace_period(month: dt.date) -> BudgetPeriod | None:
    """Return the workspace's own period of a month, None where no cap was set; it tells of every project."""
    return next(iter(Budget.objects.of_workspace().periods_in(month)), None)


def oldest_holds(user: User, month: dt.date) -> list[dict[str, Any]]:
    """Return the oldest money in flight of a month: job, USD and since when."""
    rows = LedgerEntry.objects.visible_to(user).real().in_month(month)
    return list(rows.still_held()[:OLDEST_HOLDS])


def daily_rows(user: User, month: dt.date) -> Iterable[DailySpend]:
    """Return the rollups of a month for a spreadsheet: real money only."""
    return DailySpend.objects.visible_to(user).real().in_month(month).by_day()


def _side(
    capped: Sequence[Capped],
    spent: Mapping[int, dict[str, Any]],
    models: Sequence[dict[str, Any]],
    is_practice: bool,
) -> Side:
    lines = [
        _line(one.project.name, spent.get(one.project.pk, {}), one.project)
        for one in capped
        if one.project.pk in spent or one.project.archived_at is None
    ]
    return Side(
        by_project=sorted(lines, key=lambda line: line.cost, reverse=True),
        by_model=[_line(row["model"], row) for row in models if row["is_practice"] == is_practice],
        caps=[one for one in capped if one.period is not None],
    )


def _line(name: str, row: Mapping[str, Any], project: Project | None = None) -> Line:
    return Line(name=name, project=project, **{key: row[key] for key in row.keys() & SUMS.keys()})
