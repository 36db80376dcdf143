"""Admits an attempt: holds its worst case in every budget that applies, or refuses with the shortfall."""

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from django.db import connection

from jobs import clock
from jobs.models import Attempt, Budget, BudgetPeriod, Job, Refusal, Workspace
from jobs.models.money import period_of
from jobs.models.questions import Among, Blank, Question, Statement, ask_in_turn
from jobs.spend.caps import SHARED_LOCK, open_periods, periods_now


class BudgetRefused(Exception):
    """A cap leaves no room for the ceiling; all amounts in USD."""

    def __init__(self, period: BudgetPeriod, *, ceiling: Decimal) -> None:
        self.budget, self.month, self.left = period.budget, period.month, period.left
        self.ceiling = ceiling
        self.shortfall = period.missing(ceiling)
        # What is left of it, not everybody who reads of this may know.
        super().__init__(f"the {self.budget} has no room for a ceiling of {ceiling:f} USD")


class NoCap(Exception):
    """The project has no cap yet, so nothing may be admitted to it."""


def admit(job: Job, attempt: Attempt) -> None:
    """Hold `attempt.worst_case` USD in every budget that applies, in the caller's transaction.

    Call it last before the commit: it locks the rows of the budgets, in id order. Fixes the month and the day
    in the workspace's zone; everything booked for the attempt later inherits them. Raises BudgetRefused or
    NoCap, after which the caller must roll back.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("admission belongs to the transaction that makes the attempt")
    whose = {"project": job.project_id, "user": job.submitted_by_id, "token": job.token_id}
    asked = _standing(is_practice=job.project.is_practice, has_token=job.token_id is not None)
    _, zone, rows = ask_in_turn(asked, **whose)
    spent_on = clock.today(clock.zone_now(*zone[0])) if zone else Workspace.objects.the().today()
    standing = [_Standing(*row) for row in rows]
    if all(budget.project_id != job.project_id for budget in standing):
        raise NoCap
    month = clock.month_of(spent_on)
    hold = {
        **whose,
        "job": job.pk,
        "attempt": attempt.pk,
        "month": month,
        "spent_on": spent_on,
        "amount": attempt.worst_case,
        "price": attempt.price_id,
        "key": f"hold:{attempt.pk}",
    }
    while not _hold_at_once(hold, standing):
        # A month is not open yet, or there is no room; what another transaction has given back since is room.
        budgets = _periods().ask(budgets=[budget.pk for budget in standing], month=month)
        for period in (period_of(budget, month) for budget in budgets):
            if period.budget.refuses and period.missing(attempt.worst_case):
                raise BudgetRefused(period, ceiling=attempt.worst_case)
        open_periods(budgets, month)
        standing = [_Standing(one.pk, one.is_hard, one.lifted_at, one.project_id) for one in budgets]


def refusal_of(job: Job) -> BudgetRefused | None:
    """Return what the hard cap says to a job's worst case that most lacks room for it; None where it fits.

    Nothing is held, and none is recorded: it is for a job that cannot be admitted anyway.
    """
    periods = periods_now(job.project, job.submitted_by_id, job.token_id)
    short = [one for one in periods if one.budget.refuses and one.missing(job.worst_case)]
    tightest = min(short, key=lambda period: period.left, default=None)
    return BudgetRefused(tightest, ceiling=job.worst_case) if tightest else None


class _Standing(NamedTuple):
    """What admission reads of a budget first: a row of it takes longer to make than to look at."""

    pk: int
    is_hard: bool
    lifted_at: dt.datetime | None
    project_id: int | None

    @property
    def refuses(self) -> bool:
        return self.is_hard and self.lifted_at is None


_ZONE = ("time_zone", "next_time_zone", "next_time_zone_on")


@lru_cache
def _standing(*, is_practice: bool, has_token: bool) -> tuple[Statement, ...]:
    """The lock, then the zone, for a month may begin while it is waited for, then the budgets that apply."""
    budgets = Budget.objects.counting(
        Blank("project"), Blank("user"), Blank("token") if has_token else None, is_practice=is_practice
    )
    return (
        SHARED_LOCK,
        Statement("{}", Workspace.objects.filter(pk=1).values_list(*_ZONE)),
        Statement("{}", budgets.values_list(*_Standing._fields)),
    )


@lru_cache
def _periods() -> Question[Budget]:
    budgets = Budget.objects.filter(Among("pk", Blank("budgets"))).with_period(Blank("month"))
    return Question(budgets.select_related("project", "user", "token").order_by("pk"))


_HOLD = """
INSERT INTO jobs_ledgerentry
  (kind, project_id, user_id, token_id, job_id, attempt_id, month, spent_on, amount, price_id,
   idempotency_key, basis, reason, input_tokens, cached_tokens, output_tokens, reasoning_tokens)
VALUES
  ('hold', %(project)s, %(user)s, %(token)s, %(job)s, %(attempt)s, %(month)s, %(spent_on)s, %(amount)s,
   %(price)s, %(key)s, '', '', 0, 0, 0, 0)"""
_MOVE = """
UPDATE jobs_budgetperiod SET held = held + %(amount)s
WHERE budget_id = {budget} AND month = %(month)s"""
_ROOM = " AND spent + held + %(amount)s <= cap + granted"


def _hold_at_once(hold: Mapping[str, Any], budgets: Sequence[_Standing]) -> bool:
    """Write the hold and move every budget in one trip; False, with nothing done, where one did not move."""
    moves = [_MOVE.format(budget=one.pk) + (_ROOM if one.refuses else "") for one in budgets]
    with connection.cursor() as cursor:
        cursor.execute("; ".join(["SAVEPOINT admission", _HOLD, *moves]), hold)
        cursor.nextset()
        moved = []
        while cursor.nextset():
            moved.append(cursor.rowcount == 1)
        if not all(moved):
            # It also gives back the locks of budgets behind the one that stands.
            cursor.execute("ROLLBACK TO SAVEPOINT admission")
    return all(moved)


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
