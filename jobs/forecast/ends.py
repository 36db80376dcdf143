"""Reads from the rollups what the end of budgets' months is told from."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache

from django.db.models import Q

from jobs import clock
from jobs.forecast.month import WINDOW, ZERO, Outlook, outlook
from jobs.models import BudgetPeriod, DailySpend, Job, MonthlySpend, Project, Scope, Workspace
from jobs.models.questions import Among, Asked, Blank, Statement

NEWEST = 20  # answered jobs of a project that tell what part of a hold is charged
ALL = Decimal(1)


def month_ends(periods: Sequence[BudgetPeriod]) -> dict[int, Outlook | None]:
    """Return how this month will likely end for some budgets, by their ids; at most four queries.

    The periods are this month's, with their budgets. None while it is too early to tell.
    """
    workspace = Workspace.objects.the()
    today, gone = workspace.today(), clock.gone(workspace.zone)
    since = clock.month_of(today - WINDOW)
    spent: dict[tuple[Scope, int | None], dict[dt.date, Decimal]] = defaultdict(dict)
    sums = MonthlySpend.objects.all()
    scopes = {Scope(period.budget.scope) for period in periods}
    if Scope.PROJECT in scopes:
        wanted = [period.budget.project_id for period in periods if period.budget.project_id]
        for project, day, cost in sums.of_projects(wanted).days_in(since, clock.month_of(today)):
            spent[Scope.PROJECT, project][day] = cost
    if Scope.WORKSPACE in scopes:
        for day, cost in sums.real().total_by_day(since, clock.month_of(today)):
            spent[Scope.WORKSPACE, None][day] = cost
    for scope, column in ((Scope.MEMBER, "user"), (Scope.TOKEN, "token")):
        if scope in scopes:
            targets = [_target(period) for period in periods if period.budget.scope == scope]
            rows = DailySpend.objects.filter(**{f"{column}__in": targets}).days_of(scope, since)
            for target, day, cost in rows:
                spent[scope, target][day] = cost
    holding = [period.budget.project_id for period in periods if period.held]
    shares = shares_in(charged_of_held(holding).ask() if holding else [])
    return {
        period.budget_id: outlook(
            spent[Scope(period.budget.scope), _target(period)],
            today,
            held=period.held,
            share=shares.get(period.budget.project_id, shares[None]),
            gone=gone,
        )
        for period in periods
    }


def ends_together(teams: Iterable[frozenset[int]]) -> dict[frozenset[int], Outlook | None]:
    """Return how this month will likely end for projects taken together, by their ids; four queries.

    None while it is too early to tell.
    """
    workspace = Workspace.objects.the()
    today, gone = workspace.today(), clock.gone(workspace.zone)
    month = clock.month_of(today)
    teams = set(teams)
    ids = list(frozenset[int]().union(*teams))
    spent: dict[int, list[tuple[dt.date, Decimal]]] = defaultdict(list)
    rows = MonthlySpend.objects.of_projects(ids).days_in(clock.month_of(today - WINDOW), month)
    for project, day, cost in rows:
        spent[project].append((day, cost))
    periods = BudgetPeriod.objects.filter(month=month, budget__project__in=ids, held__gt=0)
    held = dict(periods.values_list("budget__project", "held"))
    charged = charged_of_held(list(held)).ask() if held else []
    found = {}
    for team in teams:
        days: dict[dt.date, Decimal] = defaultdict(Decimal)
        for project in team:
            for day, cost in spent[project]:
                days[day] += cost
        found[team] = outlook(
            days,
            today,
            held=sum((held.get(project, ZERO) for project in team), ZERO),
            share=shares_in([row for row in charged if row[0] in team])[None],
            gone=gone,
        )
    return found


def charged_of_held(projects: Sequence[int | None]) -> Asked:
    """Ask what the newest answered jobs of these projects cost, of all real ones where None is among them."""
    ids = [pk for pk in projects if pk is not None]
    return Asked(_charged(with_real=None in projects), {"projects": ids})


def shares_in(charged: Sequence[tuple[int, Decimal, Decimal]]) -> Mapping[int | None, Decimal]:
    """Return what part of a hold is charged in the end, 0 to 1, by project, and by None for all together.

    `charged` is what `charged_of_held` asks for.
    """
    shares: dict[int | None, Decimal] = {pk: min(cost / most, ALL) for pk, cost, most in charged if most}
    together = sum((most for *_, most in charged), ZERO)
    cost = sum((cost for _, cost, _ in charged), ZERO)
    return shares | {None: min(cost / together, ALL) if together else ALL}


def _target(period: BudgetPeriod) -> int | None:
    budget = period.budget
    return budget.project_id or budget.user_id or budget.token_id


@lru_cache
def _charged(*, with_real: bool) -> Statement:
    match = Q(Among("pk", Blank("projects")))
    wanted = Project.objects.filter(match | Q(connection__is_practice=False) if with_real else match)
    return Job.objects.charged_of_held(wanted, NEWEST)
