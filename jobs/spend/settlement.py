"""Settles an attempt: gives its hold back, books its charge, and moves the rollups, in one transaction."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache, reduce
from operator import or_
from typing import cast

from django.db import connection
from django.db.models import F, Q, QuerySet

from jobs import pricing
from jobs.models import Attempt, Basis, Budget, BudgetPeriod, EntryKind, Job, LedgerEntry, Price, User
from jobs.models.questions import Among, Blank, Question
from jobs.pricing import Usage
from jobs.spend.caps import lock_money_shared
from jobs.spend.rollup import TOKENS, Movement, roll_up

ZERO = Decimal(0)
_SPENT = (EntryKind.CHARGE, EntryKind.ADJUST)


def held_for(attempt: Attempt) -> Decimal:
    """Return the USD still held for an attempt."""
    rows = LedgerEntry.objects.filter(attempt=attempt)
    return rows.total(EntryKind.HOLD, EntryKind.RELEASE)


def is_charged(attempt: Attempt) -> bool:
    """Tell whether an attempt has been charged, be it nothing."""
    return LedgerEntry.objects.filter(attempt=attempt, kind__in=_SPENT).exists()


def settle(
    attempt: Attempt,
    *,
    cost: Decimal | None,
    basis: Basis = Basis.NONE,
    usage: Usage | None = None,
    price: Price | None = None,
    reason: str = "",
    actor: User | None = None,
) -> Decimal:
    """Release what is held for an attempt and charge `cost` USD; None charges nothing at all.

    Return what was held, USD.

    A cost above the hold is booked whole. An attempt that has a charge already is adjusted to `cost` and to
    the tokens of `usage`, and one that was charged by usage is never moved to a weaker basis. Needs the
    caller's transaction; locks the job's row; safe to repeat. A transaction that settles several attempts of
    a job begins with the one it charges: rollups are locked before budgets.
    """
    account = _Account.of(attempt)
    held = account.held
    if held > ZERO:
        account.entry(EntryKind.RELEASE, -held, reason=reason, actor=actor)
    before = account.spent
    if cost is not None:
        account.book(cost, basis=basis, usage=usage, price=price, reason=reason, actor=actor)
    LedgerEntry.objects.bulk_create(row for row in account.rows if row.pk is None)
    _move_periods([_Movement(account, held=-held, spent=account.spent - before)])
    return held


class NotAdjustable(Exception):
    """An attempt holds money still, or has moved since someone looked at it."""


def adjust(
    attempt: Attempt,
    *,
    was: Decimal,
    to: Decimal,
    tokens: Mapping[str, int] | None = None,
    reason: str,
    actor: User,
    key: str,
) -> Decimal:
    """Book that an attempt cost `to` USD, by the API's bill, where `was` is what is booked for it.

    Return by how much that moves what was spent, USD. `tokens` are those that the bill has beyond what is
    booked. Month and day are those of the hold. The same `key` books once. Raises NotAdjustable while money
    is held for the attempt, or where `was` is no longer what is booked. Needs the caller's transaction;
    locks the job's row.
    """
    if to < ZERO:
        raise ValueError("nothing costs less than nothing")
    account, key = _Account.of(attempt), f"bill:{key}"
    if any(row.idempotency_key == key for row in account.rows):
        return ZERO
    if account.held != ZERO or account.spent != was:
        raise NotAdjustable
    return account.follow_bill(to, tokens=tokens or {}, reason=reason, actor=actor, key=key)


def release_part(attempt: Attempt, *, to: Decimal, reason: str) -> None:
    """Give back what is held above `to` USD, if anything is. Needs the caller's transaction."""
    release_parts([Part(attempt, to, reason)])


@dataclass(frozen=True, slots=True)
class Part:
    """What is to be held for an attempt from now on, USD, and why."""

    attempt: Attempt
    to: Decimal
    reason: str


def release_parts(parts: Sequence[Part]) -> None:
    """Give back what is held above each `to`, one part an attempt. Needs the caller's transaction."""
    entries, movements = [], []
    for part, account in zip(parts, _Account.of_all([part.attempt for part in parts]), strict=True):
        surplus = account.held - pricing.quantise(part.to)
        if surplus > ZERO:
            entries.append(account.entry(EntryKind.RELEASE, -surplus, reason=part.reason))
            movements.append(_Movement(account, held=-surplus))
    LedgerEntry.objects.bulk_create(entries)
    _move_periods(movements)


@dataclass(slots=True)
class _Account:
    """An attempt's ledger rows under the lock of its job."""

    job: Job
    attempt: Attempt
    rows: list[LedgerEntry]
    months: set[dt.date]  # of every attempt of the job
    elsewhere: Decimal  # USD that its other attempts have cost

    @classmethod
    def of(cls, attempt: Attempt) -> "_Account":
        (account,) = cls.of_all([attempt])
        return account

    @classmethod
    def of_all(cls, attempts: Sequence[Attempt]) -> list["_Account"]:
        if not connection.in_atomic_block:
            raise RuntimeError("money moves in the transaction that says why")
        lock_money_shared()
        ids = list({attempt.job_id for attempt in attempts})
        locked, entries = _locked()
        jobs = {job.pk: job for job in locked.ask(jobs=ids)}
        rows: dict[int, list[LedgerEntry]] = {pk: [] for pk in ids}
        for row in entries.ask(jobs=ids):
            rows[cast(int, row.job_id)].append(row)
        return [cls._in(jobs[attempt.job_id], attempt, rows[attempt.job_id]) for attempt in attempts]

    @classmethod
    def _in(cls, job: Job, attempt: Attempt, rows: Sequence[LedgerEntry]) -> "_Account":
        mine = [row for row in rows if row.attempt_id == attempt.pk]
        others = (row.amount for row in rows if row.attempt_id != attempt.pk and row.kind in _SPENT)
        return cls(job, attempt, mine, {row.month for row in rows}, sum(others, ZERO))

    @property
    def budgets(self) -> QuerySet[Budget]:
        return Budget.objects.applying_to(self.job.project, self.job.submitted_by_id, self.job.token_id)

    @property
    def hold(self) -> LedgerEntry:
        return next(row for row in self.rows if row.kind == EntryKind.HOLD)

    @property
    def held(self) -> Decimal:
        return sum((row.amount for row in self.rows if row.kind in (EntryKind.HOLD, EntryKind.RELEASE)), ZERO)

    @property
    def spent(self) -> Decimal:
        return sum((row.amount for row in self.rows if row.kind in _SPENT), ZERO)

    @property
    def basis(self) -> str:
        """What the last charge or adjustment rests on."""
        return next((row.basis for row in reversed(self.rows) if row.kind in _SPENT), "")

    @property
    def is_counted(self) -> bool:
        """Whether what was charged rests on something."""
        return self.has(Basis.USAGE, Basis.BOUND, Basis.ESTIMATE, Basis.BILL)

    def has(self, *bases: Basis) -> bool:
        return any(row.basis in bases for row in self.rows if row.kind in _SPENT)

    def book(
        self,
        cost: Decimal,
        *,
        basis: Basis,
        usage: Usage | None,
        price: Price | None,
        reason: str,
        actor: User | None,
    ) -> None:
        """Charge, or adjust what was charged, to `cost` USD, and move the rollups with it; saves no row."""
        cost = pricing.quantise(cost)
        before, by_usage = self.spent, self.has(Basis.USAGE)
        is_charged = any(row.kind in _SPENT for row in self.rows)
        if by_usage and basis != Basis.USAGE and actor is None:
            return
        tokens = self._tokens_to(usage if basis == Basis.USAGE else None)
        is_as_it_was = cost == before and basis == self.basis
        # What the API billed is stronger than what its usage comes to here, until that usage is another one.
        if is_charged and (is_as_it_was or self.basis == Basis.BILL) and not any(tokens.values()):
            return
        counted = self.is_counted
        kind = EntryKind.ADJUST if is_charged else EntryKind.CHARGE
        self.entry(kind, cost - before, basis=basis, tokens=tokens, price=price, reason=reason, actor=actor)
        is_counted = counted or basis != Basis.NONE
        self._keep(Movement(before, cost, was_counted=counted, is_counted=is_counted, tokens=tokens))

    def follow_bill(
        self, cost: Decimal, *, tokens: Mapping[str, int], reason: str, actor: User, key: str
    ) -> Decimal:
        """Adjust what was charged to `cost` USD, move rollups and budgets, and return by how much."""
        cost, before, counted = pricing.quantise(cost), self.spent, self.is_counted
        moved = dict.fromkeys(TOKENS, 0) | dict(tokens)
        row = self.entry(
            EntryKind.ADJUST, cost - before, basis=Basis.BILL, tokens=moved, reason=reason, actor=actor
        )
        row.idempotency_key = key
        row.save(force_insert=True)
        self._keep(Movement(before, cost, was_counted=counted, is_counted=True, tokens=moved))
        _move_periods([_Movement(self, spent=cost - before)])
        return cost - before

    def entry(
        self,
        kind: EntryKind,
        amount: Decimal,
        *,
        basis: Basis | None = None,
        tokens: Mapping[str, int] | None = None,
        price: Price | None = None,
        reason: str = "",
        actor: User | None = None,
    ) -> LedgerEntry:
        """Make the next row, which the caller saves."""
        hold = self.hold
        row = LedgerEntry(
            kind=kind,
            project_id=hold.project_id,
            user_id=hold.user_id,
            token_id=hold.token_id,
            job=self.job,
            attempt=self.attempt,
            month=hold.month,
            spent_on=hold.spent_on,
            amount=amount,
            **(tokens or {}),
            basis=basis or "",
            price=price,
            actor=actor,
            reason=reason[:600],
            idempotency_key=f"{kind}:{self.attempt.pk}:{len(self.rows)}",
        )
        self.rows.append(row)
        return row

    def _tokens_to(self, usage: Usage | None) -> dict[str, int]:
        """Return by how much each kind of tokens moves, so that what was booked follows the last usage."""
        if usage is None:
            return dict.fromkeys(TOKENS, 0)
        return {name: getattr(usage, name) - sum(getattr(row, name) for row in self.rows) for name in TOKENS}

    def _keep(self, movement: Movement) -> None:
        """Keep the costs of attempt and job, and the rollups, as the rows are now."""
        Attempt.objects.filter(pk=self.attempt.pk).update(cost=movement.cost)
        self.attempt.cost = movement.cost
        total = self.elsewhere + self.spent
        Job.objects.filter(pk=self.job.pk).update(cost=total, version=F("version") + 1)
        roll_up(self.job, month=self.hold.month, spent_on=self.hold.spent_on, movement=movement)


@lru_cache
def _locked() -> tuple[Question[Job], Question[LedgerEntry]]:
    """Jobs to be locked, and their ledger rows."""
    jobs = Job.objects.select_for_update(no_key=True, of=("self",)).select_related("project__connection")
    rows = LedgerEntry.objects.filter(Among("job", Blank("jobs")))
    return Question(jobs.filter(Among("pk", Blank("jobs"))).order_by("pk")), Question(rows.order_by("pk"))


@dataclass(frozen=True, slots=True)
class _Movement:
    """By how much the budgets of an account move, USD."""

    account: _Account
    held: Decimal = ZERO
    spent: Decimal = ZERO

    @property
    def whose(self) -> tuple[int, int, int | None]:
        """Project, person and token: what decides which budgets count."""
        job = self.account.job
        return job.project_id, job.submitted_by_id, job.token_id


def _move_periods(movements: Sequence[_Movement]) -> None:
    """Move every budget the rows count in, locked in order of month and id, as admission does.

    A job's other attempts may be settled, or another one admitted, in the same transaction: of all their
    months the earlier come first, so no two transactions can deadlock.
    """
    moved = [one for one in movements if one.held != ZERO or one.spent != ZERO]
    if not moved:
        return
    budgets = {one.whose: one.account.budgets for one in moved}
    months = set().union(*(one.account.months for one in moved))
    counting = reduce(or_, (Q(budget__in=found) for found in budgets.values()))
    periods = BudgetPeriod.objects.filter(counting, month__in=months).only("month", "budget_id")
    locked = list(periods.order_by("month", "budget_id").select_for_update(no_key=True))
    # Of one person's in one project all that were found count; else each has its own.
    own = {
        whose: set(found.values_list("pk", flat=True)) for whose, found in budgets.items() if len(budgets) > 1
    }
    sums: dict[int, tuple[Decimal, Decimal]] = {}
    for one in moved:
        for period in locked:
            if period.month == one.account.hold.month and (not own or period.budget_id in own[one.whose]):
                held, spent = sums.get(period.pk, (ZERO, ZERO))
                sums[period.pk] = held + one.held, spent + one.spent
    # Those that move alike in one statement, as all of one job do.
    alike: dict[tuple[Decimal, Decimal], list[int]] = {}
    for pk, amounts in sums.items():
        alike.setdefault(amounts, []).append(pk)
    for (held, spent), ids in alike.items():
        BudgetPeriod.objects.filter(pk__in=ids).update(held=F("held") + held, spent=F("spent") + spent)
