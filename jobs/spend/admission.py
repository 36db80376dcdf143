"""Admits an attempt: holds its worst case in every budget that applies, or refuses with the shortfall."""

import datetime as dt
from decimal import Decimal

from django.db import connection
from django.db.models import F, Q

from jobs import clock
from jobs.models import Attempt, Budget, BudgetPeriod, EntryKind, Job, LedgerEntry, Refusal, Workspace
from jobs.spend.caps import lock_money_shared, open_periods


class BudgetRefused(Exception):
    """A cap leaves no room for the ceiling; all amounts in USD."""

    def __init__(self, *, budget: Budget, month: dt.date, ceiling: Decimal, left: Decimal) -> None:
        self.budget = budget
        self.month = month
        self.ceiling = ceiling
        self.left = left
        self.shortfall = ceiling - left
        super().__init__(f"{budget}: {left:f} USD left, {ceiling:f} needed")


class NoCap(Exception):
    """The project has no cap yet, so nothing may be admitted to it."""


def admit(job: Job, attempt: Attempt) -> LedgerEntry:
    """Hold `attempt.worst_case` USD in every budget that applies, in the caller's transaction.

    Call it last before the commit: it locks the rows of the budgets, in id order. Fixes the month and the day
    in the workspace's zone; everything booked for the attempt later inherits them. Raises BudgetRefused or
    NoCap, after which the caller must roll back.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("admission belongs to the transaction that makes the attempt")
    lock_money_shared()
    spent_on = Workspace.objects.the().today()
    month = clock.month_of(spent_on)
    amount = attempt.worst_case
    budgets = list(Budget.objects.applying_to(job.project, job.submitted_by_id, job.token_id))
    if not any(budget.project_id == job.project_id for budget in budgets):
        raise NoCap
    hold = LedgerEntry.objects.create(
        kind=EntryKind.HOLD,
        project_id=job.project_id,
        user_id=job.submitted_by_id,
        token_id=job.token_id,
        job=job,
        attempt=attempt,
        month=month,
        spent_on=spent_on,
        amount=amount,
        price_id=attempt.price_id,
        idempotency_key=f"hold:{attempt.pk}",
    )
    open_periods(budgets, month)
    for budget in budgets:
        periods = BudgetPeriod.objects.filter(budget=budget, month=month)
        room = Q(spent__lte=F("cap") + F("granted") - F("held") - amount)
        fits = periods.filter(room) if budget.refuses else periods
        while not fits.update(held=F("held") + amount):
            left = periods.get().left
            # Room that another transaction made between the two statements is room.
            if left < amount:
                raise BudgetRefused(budget=budget, month=month, ceiling=amount, left=left)
    return hold


def record_refusal(refused: BudgetRefused, job: Job) -> None:
    """Keep who was refused what; call it after the transaction that was refused has rolled back."""
    Refusal.objects.create(
        project_id=job.project_id,
        user_id=job.submitted_by_id,
        token_id=job.token_id,
        budget=refused.budget,
        month=refused.month,
        ceiling=refused.ceiling,
        shortfall=refused.shortfall,
    )
