"""Reads a month's money of the projects a person may see: what was spent on what, and what is still held."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db.models import Min, Sum

from jobs.models import (
    AttemptState,
    Budget,
    BudgetPeriod,
    DailySpend,
    EntryKind,
    LedgerEntry,
    Project,
    Scope,
    User,
)
from jobs.views.frame import swatch_of

ZERO = Decimal(0)
OLDEST_HOLDS = 10


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table: USD, jobs that were charged, and tokens."""

    name: str
    cost: Decimal
    jobs: int
    tokens_in: int
    tokens_out: int
    project: Project | None = None

    @property
    def swatch(self) -> int:
        return swatch_of(self.project.pk) if self.project else 0


@dataclass(frozen=True, slots=True)
class Capped:
    """A project or the workspace with its cap in one month; percentages of the cap are for the meter."""

    name: str
    period: BudgetPeriod | None
    project: Project | None = None

    @property
    def swatch(self) -> int:
        return swatch_of(self.project.pk) if self.project else 0

    @property
    def room(self) -> Decimal:
        """What the cap and its grants allow, USD."""
        return self.period.cap + self.period.granted if self.period else ZERO

    @property
    def spent_percent(self) -> Decimal:
        return _percent(self.period.spent, self.room) if self.period else ZERO

    @property
    def held_percent(self) -> Decimal:
        return _percent(self.period.held, self.room) if self.period else ZERO

    @property
    def is_over(self) -> bool:
        return self.period is not None and self.period.left < 0


@dataclass(slots=True)
class Side:
    """A month of either the real projects or the practice ones, never of both."""

    by_project: list[Line] = field(default_factory=list)
    by_model: list[Line] = field(default_factory=list)
    caps: list[Capped] = field(default_factory=list)

    @property
    def spent(self) -> Decimal:
        return sum((line.cost for line in self.by_project), ZERO)

    @property
    def jobs(self) -> int:
        return sum(line.jobs for line in self.by_project)

    @property
    def held(self) -> Decimal:
        return sum((capped.period.held for capped in self.caps if capped.period), ZERO)


def periods_of(projects: Iterable[Project], month: dt.date) -> dict[int, BudgetPeriod]:
    """Return each project's own period in a month; one without money stands at its cap."""
    budgets = list(Budget.objects.filter(scope=Scope.PROJECT, project__in=projects))
    opened = {p.budget_id: p for p in BudgetPeriod.objects.filter(budget__in=budgets, month=month)}
    return {
        budget.project_id: opened.get(budget.pk) or BudgetPeriod(budget=budget, month=month, cap=budget.cap)
        for budget in budgets
        if budget.project_id is not None
    }


def sides_of(user: User, projects: Sequence[Project], month: dt.date) -> tuple[Side, Side]:
    """Return a month's money as (real, practice), from the rollups and the periods of these projects."""
    summed = (
        DailySpend.objects.visible_to(user)
        .in_month(month)
        .values("project", "model")
        .annotate(
            cost=Sum("cost"), jobs=Sum("jobs"), tokens_in=Sum("input_tokens"), tokens_out=Sum("output_tokens")
        )
    )
    rows: list[dict[str, Any]] = [dict(row) for row in summed]
    periods = periods_of(projects, month)
    sides = Side(), Side()
    for is_practice, side in enumerate(sides):
        of_side = [project for project in projects if project.is_practice == bool(is_practice)]
        mine = {project.pk for project in of_side}
        counted = [row for row in rows if row["project"] in mine]
        for project in of_side:
            lines = [row for row in counted if row["project"] == project.pk]
            if lines or project.archived_at is None:
                side.by_project.append(_sum(project.name, lines, project))
            if project.pk in periods:
                side.caps.append(Capped(project.name, periods[project.pk], project))
        for model in sorted({row["model"] for row in counted}):
            side.by_model.append(_sum(model, [row for row in counted if row["model"] == model]))
        side.by_project.sort(key=lambda line: line.cost, reverse=True)
        side.by_model.sort(key=lambda line: line.cost, reverse=True)
    return sides


def workspace_cap(month: dt.date) -> Capped | None:
    """Return the workspace's own cap in a month, None where none was set; it tells of every project."""
    budget = Budget.objects.filter(scope=Scope.WORKSPACE).first()
    if budget is None:
        return None
    period = BudgetPeriod.objects.filter(budget=budget, month=month).first()
    return Capped("Workspace", period or BudgetPeriod(budget=budget, month=month, cap=budget.cap))


def oldest_holds(user: User, month: dt.date) -> list[dict[str, Any]]:
    """Return the oldest money in flight of a month: job, USD and since when; final attempts hold nothing."""
    rows = (
        LedgerEntry.objects.visible_to(user)
        .real()
        .filter(month=month, kind__in=[EntryKind.HOLD, EntryKind.RELEASE])
        .exclude(attempt__state=AttemptState.ENDED)
        .values("attempt", "job__short_id", "job__prompt__title", "job__status", "project__name")
        .annotate(held=Sum("amount"), since=Min("created_at"))
        .filter(held__gt=0)
        .order_by("since")
    )
    return [
        {
            "short_id": row["job__short_id"],
            "title": row["job__prompt__title"] or row["job__short_id"],
            "status": row["job__status"],
            "project": row["project__name"],
            "held": row["held"],
            "since": row["since"],
        }
        for row in rows[:OLDEST_HOLDS]
    ]


def daily_rows(user: User, month: dt.date) -> Iterable[DailySpend]:
    """Return the rollups of a month for a spreadsheet: real money only."""
    rows = DailySpend.objects.visible_to(user).real().in_month(month)
    return rows.select_related("project", "user").order_by(
        "spent_on", "project__slug", "model", "effort", "pk"
    )


def _sum(name: str, rows: Iterable[dict[str, Any]], project: Project | None = None) -> Line:
    counted = list(rows)
    return Line(
        name=name,
        cost=sum((row["cost"] for row in counted), ZERO),
        jobs=sum(row["jobs"] for row in counted),
        tokens_in=sum(row["tokens_in"] for row in counted),
        tokens_out=sum(row["tokens_out"] for row in counted),
        project=project,
    )


def _percent(part: Decimal, whole: Decimal) -> Decimal:
    if whole:
        return part * 100 / whole
    return Decimal(100) if part else ZERO
