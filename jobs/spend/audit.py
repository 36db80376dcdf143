"""Recomputes every total from the ledger and says what differs, and which jobs nobody will look at again."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, F, Model, OuterRef, Q, QuerySet, Sum

from jobs import pricing
from jobs.models import (
    FINAL,
    Attempt,
    AttemptState,
    Basis,
    Budget,
    BudgetPeriod,
    DailySpend,
    DailyTagSpend,
    EntryKind,
    Job,
    LedgerEntry,
    MonthlySpend,
    MonthlyTagSpend,
    Status,
)
from jobs.models.questions import Blank, Question
from jobs.spend.rollup import TOKENS

type Charged = dict[str, Any]
type Key = tuple[object, ...]

ZERO = Decimal(0)
_HELD = Q(kind__in=[EntryKind.HOLD, EntryKind.RELEASE])
_DAILY = ("spent_on", "project", "model", "effort", "user", "token")
_MONTHLY = (("spent_on",), ("model", "effort"), ("user", "token"))
_SPENT = Q(kind__in=[EntryKind.CHARGE, EntryKind.ADJUST])


@dataclass(frozen=True, slots=True)
class Finding:
    """One total that is not what the ledger says, in USD, or one job that is stuck."""

    what: str
    expected: str
    found: str


@dataclass(slots=True)
class _Sum:
    """What a rollup should hold, by the ledger."""

    cost: Decimal = ZERO
    tokens: Counter[str] = field(default_factory=Counter)
    buckets: list[int] = field(default_factory=lambda: [0] * pricing.BUCKETS)

    def add(self, row: Charged) -> None:
        self.cost += row["total"]
        self.tokens.update({name: row[f"{name}_total"] for name in TOKENS})
        if row["counted"] is not None:
            self.buckets[pricing.bucket(row["total"])] += 1


def audit() -> list[Finding]:
    """Compare periods, costs, rollups and holds with the ledger, and find stuck jobs, while money moves on.

    It reads one state of everything, in a transaction of its own. Within the caller's, which is for tests
    where nothing moves, it reads what that sees.
    """
    if connection.in_atomic_block:
        return _audit()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return _audit()


def _audit() -> list[Finding]:
    charged = _spent_attempts()
    rollups = [*_daily(charged), *_tags(charged), *_monthly(charged)]
    return [*_periods(), *_costs(), *_holds(), *rollups, *_stuck()]


def _periods() -> Iterator[Finding]:
    granted = {(budget, month): total for budget, month, total in _grants().ask()}
    for budget in _budgets().ask():
        whose = {"project": budget.project_id, "user": budget.user_id, "token": budget.token_id}
        moved = _moved(budget.scope).ask(**whose)
        sums = {month: (held or ZERO, spent or ZERO) for month, held, spent in moved}
        for period in _opened().ask(budget=budget.pk):
            held, spent = sums.get(period.month, (ZERO, ZERO))
            yield from _differ(f"{budget}, {period.month:%Y-%m}: held", held, period.held)
            yield from _differ(f"{budget}, {period.month:%Y-%m}: spent", spent, period.spent)
            more = granted.get((budget.pk, period.month), ZERO)
            yield from _differ(f"{budget}, {period.month:%Y-%m}: granted", more, period.granted)


@lru_cache
def _grants() -> Question[Any]:
    rows = LedgerEntry.objects.filter(kind=EntryKind.GRANT).values_list("budget", "month")
    return Question(rows.annotate(total=Sum("amount")))


@lru_cache
def _budgets() -> Question[Budget]:
    return Question(Budget.objects.select_related("project", "user", "token"))


@lru_cache
def _moved(scope: str) -> Question[Any]:
    """What is held and spent in each month, of what a budget of a scope counts."""
    whose: dict[str, Any] = {f"{name}_id": Blank(name) for name in ("project", "user", "token")}
    sums = {"held": Sum("amount", filter=_HELD), "spent": Sum("amount", filter=_SPENT)}
    return Question(Budget(scope=scope, **whose).ledger().values_list("month").annotate(**sums))


@lru_cache
def _opened() -> Question[BudgetPeriod]:
    return Question(BudgetPeriod.objects.filter(budget=Blank("budget")))


def _costs() -> Iterator[Finding]:
    for key in ("attempt", "job"):
        booked, stored = (dict(question.ask()) for question in _costs_of(key))
        booked.pop(None, None)
        for pk in sorted(booked.keys() | stored.keys()):
            yield from _differ(f"{key} {pk}: cost", booked.get(pk, ZERO), stored.get(pk, ZERO))


@lru_cache
def _costs_of(key: str) -> tuple[Question[Any], Question[Any]]:
    """What attempts or jobs cost, by the ledger and by themselves."""
    booked = LedgerEntry.objects.filter(_SPENT).values_list(key).annotate(total=Sum("amount"))
    own: QuerySet[Any] = Attempt.objects.all() if key == "attempt" else Job.objects.all()
    return Question(booked), Question(own.exclude(cost=0).values_list("pk", "cost"))


def _holds() -> Iterator[Finding]:
    none, negative, after_the_end = _odd_holds()
    for pk in none.ask():
        yield Finding(f"attempt {pk}: hold", "one hold", "none")
    for pk, held in negative.ask():
        yield Finding(f"attempt {pk}: held", "not negative", f"{held:f}")
    for pk, held in after_the_end.ask():
        yield Finding(f"attempt {pk}: held after its end", "0", f"{held:f}")


@lru_cache
def _odd_holds() -> tuple[Question[Any], Question[Any], Question[Any]]:
    """Attempts without a hold, with less than nothing held, and with something held after their end."""
    none = Attempt.objects.exclude(ledgerentry__kind=EntryKind.HOLD).values_list("pk", flat=True)
    # A final job may keep a hold only while an attempt that was accepted is still being asked for its usage.
    unsent = Q(attempt__state__in=[AttemptState.PLANNED, AttemptState.UNCONFIRMED], job__status__in=FINAL)
    held = LedgerEntry.objects.filter(_HELD).values_list("attempt").annotate(held=Sum("amount"))
    ended = held.filter(Q(attempt__state=AttemptState.ENDED) | unsent)
    return Question(none), Question(held.filter(held__lt=0)), Question(ended.exclude(held=0))


def _daily(charged: Sequence[Charged]) -> Iterator[Finding]:
    expected: dict[Key, _Sum] = defaultdict(_Sum)
    for row in charged:
        expected[tuple(row[name] for name in _DAILY)].add(row)
    stored: dict[Key, DailySpend | MonthlySpend] = {
        (row.spent_on, row.project_id, row.model_id, row.effort, row.user_id, row.token_id): row
        for row in _every(DailySpend).ask()
    }
    yield from _unlike("rollup", expected, stored)


def _monthly(charged: Sequence[Charged]) -> Iterator[Finding]:
    expected: dict[Key, _Sum] = defaultdict(_Sum)
    for row in charged:
        for kind in _MONTHLY:
            key = (row[name] or None if name in kind else None for name in _DAILY if name != "project")
            expected[row["month"], row["project"], *key].add(row)
    stored: dict[Key, DailySpend | MonthlySpend] = {}
    for sums in _every(MonthlySpend).ask():
        by = (sums.spent_on, sums.model_id, sums.effort or None, sums.user_id, sums.token_id)
        stored[sums.month, sums.project_id, *by] = sums
    yield from _unlike("sum of a month", expected, stored)


def _tags(charged: Sequence[Charged]) -> Iterator[Finding]:
    by_day: dict[Key, tuple[Decimal, int]] = {
        (row.spent_on, row.project_id, row.user_id, row.tag): (row.cost, row.jobs)
        for row in _every(DailyTagSpend).ask()
    }
    yield from _unlike_tags("tag rollup", ("spent_on", "project", "user"), charged, by_day)
    by_month: dict[Key, tuple[Decimal, int]] = {
        (row.month, row.project_id, row.tag): (row.cost, row.jobs) for row in _every(MonthlyTagSpend).ask()
    }
    yield from _unlike_tags("tag of a month", ("month", "project"), charged, by_month)


def _unlike_tags(
    what: str, columns: Sequence[str], charged: Sequence[Charged], stored: Mapping[Key, tuple[Decimal, int]]
) -> Iterator[Finding]:
    cost: dict[Key, Decimal] = defaultdict(Decimal)
    jobs: dict[Key, int] = defaultdict(int)
    for row in charged:
        for tag in set(row["tags"]):
            counts_for = *(row[name] for name in columns), tag
            cost[counts_for] += row["total"]
            jobs[counts_for] += row["counted"] is not None
    for key in sorted(cost.keys() | stored.keys(), key=str):
        name = f"{what} " + " ".join(str(part) for part in key)
        found, counted = stored.get(key, (ZERO, jobs[key]))
        yield from _differ(name, cost[key], found)
        yield from _differ(f"{name}: jobs", Decimal(jobs[key]), Decimal(counted))


def _stuck() -> Iterator[Finding]:
    """Jobs that go on only by a clock, and have none. The lease of a send is one, and persons have theirs."""
    for pk, status in _clockless().ask():
        yield Finding(f"job {pk}: next look", "a time", f"none, and it is {status}")


@lru_cache
def _clockless() -> Question[Any]:
    sends = Attempt.objects.filter(job=OuterRef("pk"), state=AttemptState.SENDING)
    by_person = [Status.UNCONFIRMED, Status.REQUIRES_ACTION, Status.AWAITING_APPROVAL]
    jobs = Job.objects.filter(~Exists(sends), next_action_at=None).exclude(status__in=[*FINAL, *by_person])
    return Question(jobs.order_by("pk").values_list("pk", "status"))


def _unlike(
    what: str, expected: Mapping[Key, _Sum], stored: Mapping[Key, DailySpend | MonthlySpend]
) -> Iterator[Finding]:
    for key in sorted(expected.keys() | stored.keys(), key=str):
        wanted, row = expected.get(key, _Sum()), stored.get(key)
        name = f"{what} " + " ".join(str(part) for part in key)
        yield from _differ(f"{name}: cost", wanted.cost, row.cost if row else ZERO)
        for column in TOKENS if row else ():
            tokens = getattr(row, column)
            if wanted.tokens[column] != tokens:
                yield Finding(f"{name}: {column.replace('_', ' ')}", str(wanted.tokens[column]), str(tokens))
        # Only sums by model have buckets.
        in_buckets = wanted.buckets if row is None or row.buckets is None else list(row.buckets)
        if row and (in_buckets != wanted.buckets or row.jobs != sum(wanted.buckets)):
            found = f"{row.jobs}, {sum(in_buckets)} in buckets"
            yield Finding(f"{name}: jobs by cost", str(sum(wanted.buckets)), found)


def _spent_attempts() -> list[Charged]:
    """One row per charged attempt: its dimensions, its total, and whether it is counted."""
    return _charged().ask()


@lru_cache
def _charged() -> Question[Charged]:
    rows: QuerySet[Any, Any] = (
        LedgerEntry.objects.filter(_SPENT)
        .values(
            "month",
            "spent_on",
            "project",
            "user",
            "token",
            "attempt",
            model=F("job__model"),
            effort=F("job__effort"),
            tags=F("job__tags"),
        )
        .annotate(
            total=Sum("amount"),
            counted=Sum("amount", filter=~Q(basis=Basis.NONE)),
            **{f"{name}_total": Sum(name) for name in TOKENS},
        )
    )
    return Question(rows)


@lru_cache
def _every[Row: Model](model: type[Row]) -> Question[Row]:
    return Question(model._default_manager.all())


def _differ(what: str, expected: Decimal, found: Decimal) -> Iterator[Finding]:
    if expected != found:
        yield Finding(what, f"{expected:f}", f"{found:f}")
