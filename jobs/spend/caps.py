"""Sets and lifts caps, and opens the months they count in."""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from jobs import clock
from jobs.models import ApiToken, Budget, BudgetPeriod, EntryKind, Project, Scope, User, Workspace
from jobs.models.questions import Statement

# One number for the whole installation: shared by every movement of money, exclusive to a new budget.
_MONEY_LOCK = 7_066_371
# Lets no budget be made until the transaction ends; movements of money do not hinder each other.
SHARED_LOCK = Statement(f"SELECT pg_advisory_xact_lock_shared({_MONEY_LOCK})")


def lock_money_shared() -> None:
    """Let no budget be made until this transaction ends."""
    SHARED_LOCK.ask()


def lock_money() -> None:
    """Let no money move until this transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_MONEY_LOCK])


def open_periods(budgets: Iterable[Budget], month: dt.date) -> None:
    """Open `month` (its first day) for budgets that have none yet; harmless if another transaction does too.

    Every movement opens the period of each budget it counts in, so a month without one has no rows.
    """
    wanted = list(budgets)
    found = set(
        BudgetPeriod.objects.filter(budget__in=wanted, month=month).values_list("budget_id", flat=True)
    )
    missing = [
        BudgetPeriod(budget=budget, month=month, cap=budget.cap)
        for budget in wanted
        if budget.pk not in found
    ]
    if missing:
        BudgetPeriod.objects.bulk_create(missing, ignore_conflicts=True)


@transaction.atomic
def set_cap(
    cap: Decimal,
    *,
    project: Project | None = None,
    user: User | None = None,
    token: ApiToken | None = None,
    is_hard: bool = True,
) -> Budget:
    """Set the monthly cap, USD, of a project, a member, a token or (none given) the workspace.

    It holds from this month on. A new budget opens its period with what the ledger already says, while
    nothing else moves money. A cap may be set below what is committed: then nothing more is admitted until it
    fits. A soft one (not `is_hard`) refuses nothing.
    """
    scope = Scope.PROJECT if project else Scope.MEMBER if user else Scope.TOKEN if token else Scope.WORKSPACE
    budget = Budget.objects.filter(scope=scope, project=project, user=user, token=token).first()
    if budget is None:
        lock_money()
        month = _this_month()  # after the lock: a month may begin while it waits
        budget, _ = Budget.objects.get_or_create(
            scope=scope,
            project=project,
            user=user,
            token=token,
            defaults={"cap": cap, "is_hard": is_hard},
        )
        for counted in {month, *_months_with_holds(budget)}:
            _open_from_ledger(budget, counted)
    else:
        lock_money_shared()
        month = _this_month()
        open_periods([budget], month)
    Budget.objects.filter(pk=budget.pk).update(cap=cap, is_hard=is_hard, lifted_at=None)
    BudgetPeriod.objects.filter(budget=budget, month=month).update(cap=cap)
    budget.refresh_from_db()
    return budget


def lift_cap(budget: Budget) -> bool:
    """Refuse nothing by a budget from now on; False if it was lifted already. A project's stays.

    It goes on counting, so that a cap that is set again later stands on what the ledger says.
    """
    return bool(Budget.objects.standing().filter(pk=budget.pk).update(lifted_at=Now()))


def periods_now(project: Project, user_id: int, token_id: int | None = None) -> list[BudgetPeriod]:
    """Return this month's period of every budget a job of this project and person counts in."""
    month = _this_month()
    budgets = list(Budget.objects.applying_to(project, user_id, token_id).standing())
    opened = {
        period.budget_id: period
        for period in BudgetPeriod.objects.filter(budget__in=budgets, month=month).select_related(
            "budget__project", "budget__user", "budget__token"
        )
    }
    return [
        opened.get(budget.pk) or BudgetPeriod(budget=budget, month=month, cap=budget.cap)
        for budget in budgets
    ]


def _this_month() -> dt.date:
    return clock.month_of(Workspace.objects.the().today())


def _months_with_holds(budget: Budget) -> set[dt.date]:
    """Past months in which the budget's scope still holds money: they can move until it settles."""
    rows = budget.ledger().filter(attempt__isnull=False).filter(~Q(attempt__state="ended"))
    return set(rows.values_list("month", flat=True).distinct())


def _open_from_ledger(budget: Budget, month: dt.date) -> None:
    rows = budget.ledger().filter(month=month)
    BudgetPeriod.objects.get_or_create(
        budget=budget,
        month=month,
        defaults={
            "cap": budget.cap,
            "spent": rows.total(EntryKind.CHARGE, EntryKind.ADJUST),
            "held": rows.total(EntryKind.HOLD, EntryKind.RELEASE),
        },
    )
