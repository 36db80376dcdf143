"""Lets more be spent than a cap allows, for a time, and takes that back at its end."""

import datetime as dt
from decimal import Decimal

from django.db import connection
from django.db.models import F

from jobs import clock
from jobs.models import Budget, BudgetPeriod, EntryKind, LedgerEntry, User, Workspace
from jobs.spend.caps import lock_money_shared, open_periods


def grant(budget: Budget, amount: Decimal, *, key: str, actor: User, reason: str) -> LedgerEntry:
    """Raise what may be spent in this month under a cap by `amount` USD. Needs the caller's transaction."""
    lock_money_shared()
    today = Workspace.objects.the().today()
    return _book(budget, amount, clock.month_of(today), today, key=key, actor=actor, reason=reason)


def end_grant(key: str, *, reason: str) -> None:
    """Take back what was granted under a key, in its month; what is committed stays. Once a key."""
    lock_money_shared()
    # Of two that end it at once one finds it ended.
    rows = LedgerEntry.objects.select_for_update(of=("self",), no_key=True).select_related("budget")
    given = rows.get(idempotency_key=key)
    end = f"{key}:end"
    if given.budget is None or LedgerEntry.objects.filter(idempotency_key=end).exists():
        return
    today = Workspace.objects.the().today()
    _book(given.budget, -given.amount, given.month, today, key=end, actor=None, reason=reason)


def _book(
    budget: Budget,
    amount: Decimal,
    month: dt.date,
    today: dt.date,
    *,
    key: str,
    actor: User | None,
    reason: str,
) -> LedgerEntry:
    if not connection.in_atomic_block:
        raise RuntimeError("a grant belongs to the transaction that decides it")
    entry = LedgerEntry.objects.create(
        kind=EntryKind.GRANT,
        budget=budget,
        project=budget.project,
        user=budget.user,
        token=budget.token,
        month=month,
        spent_on=today,
        amount=amount,
        actor=actor,
        reason=reason[:600],
        idempotency_key=key,
    )
    open_periods([budget], month)
    BudgetPeriod.objects.filter(budget=budget, month=month).update(granted=F("granted") + amount)
    return entry
