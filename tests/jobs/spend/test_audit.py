"""The audit finds every total that is not what the ledger says, whoever changed it."""

from collections.abc import Callable
from decimal import Decimal
from importlib import import_module

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet

from jobs import spend
from jobs.models import (
    ApiToken,
    Attempt,
    AttemptState,
    Basis,
    BudgetPeriod,
    DailySpend,
    DailyTagSpend,
    Job,
    LedgerEntry,
    MonthlySpend,
    MonthlyTagSpend,
    Project,
    Status,
    User,
)
from jobs.pricing import Usage
from tests.jobs.spend.conftest import MakeAttempt, findings

pytestmark = pytest.mark.django_db


@pytest.fixture
def settled(project: Project, admitted: MakeAttempt) -> Attempt:
    """A job of 1 USD that cost 0.4, beside one that still holds 2."""
    attempt = admitted(project, "1", tags=("a",))
    spend.settle(attempt, cost=Decimal("0.4"), basis=Basis.USAGE)
    Attempt.objects.update(state=AttemptState.ENDED)
    Job.objects.update(status=Status.COMPLETED)
    admitted(project, "2")
    return attempt


def cut_a_bucket() -> None:
    row = DailySpend.objects.get()
    row.buckets[0] += 1
    row.save()


def sums() -> QuerySet[MonthlySpend]:
    """The sums by day."""
    return MonthlySpend.objects.filter(spent_on__isnull=False)


def cut_a_bucket_of_a_month() -> None:
    row = MonthlySpend.objects.get(model__isnull=False)
    assert row.buckets is not None
    row.buckets[0] += 1
    row.save()


def lose_a_row(kind: str) -> Callable[[], None]:
    """A tampering that gets past the trigger."""

    def lose() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            LedgerEntry.objects.filter(kind=kind).delete()
            cursor.execute("SET LOCAL session_replication_role = origin")

    return lose


TAMPERING: list[tuple[str, Callable[[], object], list[str]]] = [
    ("held of a period", lambda: BudgetPeriod.objects.update(held=9), ["cap of Real, {month}: held"]),
    ("spent of a period", lambda: BudgetPeriod.objects.update(spent=0), ["cap of Real, {month}: spent"]),
    ("cost of a send", lambda: Attempt.objects.exclude(cost=0).update(cost=1), ["attempt {attempt}: cost"]),
    ("cost of a job", lambda: Job.objects.filter(cost__gt=0).update(cost=0), ["job {job}: cost"]),
    ("cost of a day", lambda: DailySpend.objects.update(cost=1), ["rollup {day}: cost"]),
    ("jobs of a day", lambda: DailySpend.objects.update(jobs=2), ["rollup {day}: jobs by cost"]),
    ("buckets of a day", cut_a_bucket, ["rollup {day}: jobs by cost"]),
    ("tokens of a day", lambda: DailySpend.objects.update(output_tokens=1), ["rollup {day}: output tokens"]),
    ("a day that is gone", lambda: DailySpend.objects.all().delete(), ["rollup {day}: cost"]),
    (
        "cost of a month",
        lambda: MonthlySpend.objects.update(cost=1),
        ["{sums} {models}: cost", "{sums} {people}: cost", "{sums} {days}: cost"],
    ),
    ("tokens of a month", lambda: sums().update(output_tokens=1), ["{sums} {days}: output tokens"]),
    ("jobs of a month", lambda: sums().update(jobs=2), ["{sums} {days}: jobs by cost"]),
    ("buckets of a month", cut_a_bucket_of_a_month, ["{sums} {models}: jobs by cost"]),
    ("a sum that is gone", lambda: sums().delete(), ["{sums} {days}: cost"]),
    ("cost of a tag", lambda: DailyTagSpend.objects.update(cost=1), ["tag rollup {tag}"]),
    ("jobs of a tag", lambda: DailyTagSpend.objects.update(jobs=2), ["tag rollup {tag}: jobs"]),
    ("a tag that is gone", lambda: DailyTagSpend.objects.all().delete(), ["tag rollup {tag}"]),
    ("a month's tag", lambda: MonthlyTagSpend.objects.update(cost=1), ["tag of a month {months_tag}"]),
    (
        "a month's tag that is gone",
        lambda: MonthlyTagSpend.objects.all().delete(),
        ["tag of a month {months_tag}"],
    ),
    (
        "a release that is gone",
        lose_a_row("release"),
        ["cap of Real, {month}: held", "attempt {attempt}: held after its end"],
    ),
    (
        "a final job with a hold",
        lambda: Job.objects.update(status=Status.FAILED),
        ["attempt {other}: held after its end"],
    ),
    (
        "a final job with an unconfirmed hold",
        lambda: (
            Job.objects.update(status=Status.FAILED),
            Attempt.objects.filter(state=AttemptState.PLANNED).update(state=AttemptState.UNCONFIRMED),
        ),
        ["attempt {other}: held after its end"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tamper", "expected"), [case[1:] for case in TAMPERING], ids=[c[0] for c in TAMPERING]
)
def test_tampering_is_found(settled: Attempt, tamper: Callable[[], object], expected: list[str]) -> None:
    assert findings() == []
    hold = LedgerEntry.objects.filter(kind="hold")[0]
    daily, tag = DailySpend.objects.get(), DailyTagSpend.objects.get()
    named = {
        "month": f"{hold.month:%Y-%m}",
        "attempt": str(settled.pk),
        "other": str(Attempt.objects.exclude(pk=settled.pk).get().pk),
        "job": str(settled.job_id),
        "day": f"{daily.spent_on} {daily.project_id} gpt-6-sol low {daily.user_id} None",
        "sums": f"sum of a month {hold.month} {daily.project_id}",
        "days": f"{daily.spent_on} None None None None",
        "models": "None gpt-6-sol low None None",
        "people": f"None None None {daily.user_id} None",
        "tag": f"{tag.spent_on} {tag.project_id} {tag.user_id} a",
        "months_tag": f"{hold.month} {tag.project_id} a",
    }
    tamper()
    assert findings() == [line.format(**named) for line in expected]


def test_the_tokens_of_what_was_booked_before_the_ledger_had_any_are_filled_in(
    project: Project, admitted: MakeAttempt
) -> None:
    fill = import_module("jobs.migrations.0004_tokens_of_the_ledger").FILL
    wire = {"input_tokens": 100, "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 40}}
    grown, odd, guessed = admitted(project), admitted(project), admitted(project)
    for cost in ("0.1", "0.2"):
        spend.settle(grown, cost=Decimal(cost), basis=Basis.USAGE)
    spend.settle(odd, cost=Decimal("0.3"), basis=Basis.USAGE)
    spend.settle(guessed, cost=Decimal("0.4"), basis=Basis.ESTIMATE)
    Attempt.objects.update(
        usage={"input_tokens": "many", "output_tokens": 10**30, "input_tokens_details": []}
    )
    Attempt.objects.filter(pk=grown.pk).update(usage=wire)
    DailySpend.objects.update(input_tokens=7)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # as at the beginning of a transaction
        cursor.execute(fill)
    (row,) = LedgerEntry.objects.filter(input_tokens__gt=0)
    assert (row.attempt, row.kind, row.output_tokens, row.reasoning_tokens) == (grown, "adjust", 50, 40)
    daily = DailySpend.objects.get()
    assert (daily.input_tokens, daily.cached_tokens) == (100, 0)
    assert (daily.output_tokens, daily.reasoning_tokens) == (1_000_000_050, 40)
    fill_the_months()
    assert findings() == []
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        LedgerEntry.objects.update(amount=0)


def fill_the_months() -> None:
    """Make the sums of all months as an upgrade does: of the days."""
    MonthlySpend.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute(import_module("jobs.migrations.0013_sums_of_a_month").FILL)


def test_the_sums_of_months_there_were_before_are_filled_in(
    project: Project, person: User, admitted: MakeAttempt
) -> None:
    token = ApiToken.objects.create(name="t", project=project, user=person, prefix="p", digest="d")
    used = Usage(input_tokens=100, cached_tokens=10, output_tokens=50, reasoning_tokens=40)
    for cost, of in (("0.1", None), ("0.2", None), ("3", token)):
        spend.settle(admitted(project, token=of), cost=Decimal(cost), basis=Basis.USAGE, usage=used)
    fields = [field.name for field in MonthlySpend._meta.fields if field.name != "id"]
    kept = set(map(str, MonthlySpend.objects.values_list(*fields)))
    assert len(kept) == 4
    fill_the_months()
    assert set(map(str, MonthlySpend.objects.values_list(*fields))) == kept
    assert findings() == []


def test_an_attempt_without_a_hold_is_found(project: Project, attempt_of: MakeAttempt) -> None:
    attempt = attempt_of(project)
    assert findings() == [f"attempt {attempt.pk}: hold"]


def test_a_hold_that_was_given_back_twice_is_found(settled: Attempt) -> None:
    release = LedgerEntry.objects.get(kind="release")
    release.pk, release.idempotency_key = None, "again"
    release.save(force_insert=True)
    assert f"attempt {settled.pk}: held" in findings()


@pytest.mark.parametrize("status", [Status.WAITING, Status.SENDING, Status.QUEUED, Status.IN_PROGRESS])
def test_a_job_that_nobody_will_look_at_again_is_found(settled: Attempt, status: Status) -> None:
    stuck = Job.objects.exclude(pk=settled.job_id)
    stuck.update(status=status, next_action_at=None)
    assert findings() == [f"job {stuck.get().pk}: next look"]
    # The lease of a send is a clock too.
    Attempt.objects.exclude(pk=settled.pk).update(state=AttemptState.SENDING)
    assert findings() == []


@pytest.mark.parametrize(
    "status", [Status.UNCONFIRMED, Status.REQUIRES_ACTION, Status.AWAITING_APPROVAL, Status.COMPLETED]
)
def test_a_job_that_waits_for_a_person_or_nobody_needs_no_clock(settled: Attempt, status: Status) -> None:
    Job.objects.filter(pk=settled.job_id).update(status=status, next_action_at=None)
    assert findings() == []


def test_a_finding_gives_both_numbers(settled: Attempt) -> None:
    BudgetPeriod.objects.update(spent=Decimal("7.5"))
    with transaction.atomic():
        (finding,) = spend.audit()
    assert (finding.expected, finding.found) == ("0.4000000000", "7.5000000000")
