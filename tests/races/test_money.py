"""No admission ever passes a cap, and every total stays the sum of the ledger, whoever moves money when."""

import datetime as dt
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.models import (
    Attempt,
    AttemptState,
    Basis,
    Budget,
    BudgetPeriod,
    Job,
    LedgerEntry,
    Project,
    Refusal,
    Status,
    User,
)
from tests.factories import a_project, a_spec
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def test_of_fifty_submissions_on_a_cap_for_ten_ten_are_admitted(person: User, project: Project) -> None:
    spec = a_spec(project, person)
    ceiling = lifecycle.ceiling_of(spec)
    assert ceiling is not None
    worst = ceiling.worst_case
    spend.set_cap(10 * worst, project=project)

    found = at_once([lambda: lifecycle.submit(spec)] * 50)
    refused = [one for one in found if isinstance(one, spend.BudgetRefused)]
    assert (len(found), len(refused), Job.objects.count()) == (50, 40, 10)
    assert {one.shortfall for one in refused} == {worst}
    assert list(Refusal.objects.values_list("shortfall", flat=True)) == [worst] * 40
    period = BudgetPeriod.objects.get()
    assert (period.held, period.left) == (10 * worst, 0)


def test_a_budget_made_in_mid_month_misses_nothing_that_moves_meanwhile(
    person: User, project: Project
) -> None:
    spec = a_spec(project, person, max_output_tokens=1_000)
    ready = [lifecycle.submit(spec) for _ in range(6)]

    def settle(job: Job) -> Callable[[], None]:
        def settle() -> None:
            with transaction.atomic():
                spend.settle(job.attempt_set.get(), cost=Decimal("0.01"), basis=Basis.USAGE)

        return settle

    found = at_once(
        [
            *[lambda: lifecycle.submit(spec)] * 6,  # type: ignore[list-item]
            *[settle(job) for job in ready],
            lambda: spend.set_cap(Decimal(50)),  # type: ignore[list-item]
            lambda: spend.set_cap(Decimal(60)),  # type: ignore[list-item]
            lambda: spend.set_cap(Decimal(50), user=person),  # type: ignore[list-item]
        ]
    )
    assert [one for one in found if isinstance(one, Exception)] == []
    periods = list(BudgetPeriod.objects.all())
    assert len(periods) == Budget.objects.count() == 3
    held = LedgerEntry.objects.total("hold", "release")  # type: ignore[arg-type]
    assert {(period.held, period.spent) for period in periods} == {(held, Decimal("0.06"))}


def test_the_same_settlement_from_ten_workers_is_booked_once(person: User, project: Project) -> None:
    attempt = lifecycle.submit(a_spec(project, person)).attempt_set.get()

    def settle() -> None:
        with transaction.atomic():
            spend.settle(Attempt.objects.get(), cost=Decimal("0.01"), basis=Basis.USAGE)

    assert at_once([settle] * 10) == [None] * 10
    assert list(LedgerEntry.objects.values_list("kind", flat=True)) == ["hold", "release", "charge"]
    assert spend.held_for(attempt) == 0


def test_jobs_with_sends_of_two_months_end_at_the_same_moment_without_a_deadlock(
    person: User, project: Project, settings: Settings
) -> None:
    spend.set_cap(Decimal(100))

    def sent_twice() -> tuple[Attempt, Attempt]:
        settings.PONDER_TODAY = dt.date(2026, 11, 30)
        job = lifecycle.submit(a_spec(project, person, max_output_tokens=1_000))
        job.attempt_set.update(state=AttemptState.UNCONFIRMED)
        Job.objects.update(status=Status.UNCONFIRMED)
        settings.PONDER_TODAY = dt.date(2026, 12, 1)
        lifecycle.resolve(job.pk, lifecycle.Decision.RESEND)
        first, second = job.attempt_set.order_by("number")
        return first, second

    both_began = threading.Barrier(2)

    def end(answered: Attempt, unheard: Attempt) -> Callable[[], None]:
        def end() -> None:
            with transaction.atomic():
                spend.settle(answered, cost=Decimal("0.01"), basis=Basis.USAGE)
                # Where the other one waits for this one's rows instead, it never comes here.
                with suppress(threading.BrokenBarrierError):
                    both_began.wait(timeout=1)
                spend.settle(unheard, cost=None)

        return end

    one, another = sent_twice(), sent_twice()
    assert at_once([end(*one), end(*reversed(another))]) == [None, None]
    months = BudgetPeriod.objects.values_list("month", "held", "spent").distinct()
    assert sorted(months) == [
        (dt.date(2026, 11, 1), 0, Decimal("0.01")),
        (dt.date(2026, 12, 1), 0, Decimal("0.01")),
    ]


def test_an_audit_waits_for_nobody_and_sees_one_state(person: User, project: Project) -> None:
    attempt = lifecycle.submit(a_spec(project, person)).attempt_set.get()
    is_settled, is_audited = threading.Event(), threading.Event()

    def settle() -> None:
        with transaction.atomic():
            spend.settle(attempt, cost=Decimal("0.01"), basis=Basis.USAGE)
            Job.objects.filter(pk=attempt.job_id).update(status=Status.COMPLETED, finished_at=Now())
            is_settled.set()
            assert is_audited.wait(30)

    def audit() -> list[spend.Finding]:
        assert is_settled.wait(30)
        try:
            return spend.audit()
        finally:
            is_audited.set()

    assert at_once([settle, audit]) == [None, []]


class Chaos:
    """What one worker does: one seeded act after another, on whatever it finds."""

    def __init__(
        self, seed: int, projects: list[Project], person: User, settings: Settings, *, overruns: bool
    ) -> None:
        self.seed, self.random, self.settings = seed, random.Random(seed), settings
        self.projects, self.person, self.overruns = projects, person, overruns
        self.refused = self.admitted = 0
        self.shortfalls: list[Decimal] = []

    def __call__(self) -> None:
        acts = [self.submit, self.submit, self.charge, self.adjust, self.cancel, self.give_back, self.audit]
        if self.overruns:
            # Each may leave less room than is committed, or more than there ever was.
            acts += [self.bill, self.grant, self.end_grant, self.set_cap, self.turn_the_month]
        for _ in range(12):
            self.random.choice(acts)()

    def submit(self) -> None:
        project = self.random.choice(self.projects)
        tags = tuple(self.random.sample(["a", "b", "c"], self.random.randrange(3)))
        tokens = self.random.choice([1_000, 5_000, 20_000])
        try:
            lifecycle.submit(a_spec(project, self.person, tags=tags, max_output_tokens=tokens))
            self.admitted += 1
        except spend.BudgetRefused as refused:
            self.refused += 1
            self.shortfalls.append(refused.shortfall)

    def some(self, **where: object) -> Attempt | None:
        found = list(Attempt.objects.filter(**where).select_related("job").order_by("pk"))
        return self.random.choice(found) if found else None

    def charge(self) -> None:
        attempt = self.some(state=AttemptState.PLANNED)
        if attempt is None:
            return
        most = 300 if self.overruns else 100
        part = Decimal(self.random.randrange(most)) / 100
        with transaction.atomic():
            job = Job.objects.select_for_update().get(pk=attempt.job_id)
            if job.status != Status.WAITING:
                return
            Job.objects.filter(pk=job.pk).update(status=Status.COMPLETED, next_action_at=None)
            Attempt.objects.filter(pk=attempt.pk).update(state=AttemptState.ENDED)
            spend.settle(attempt, cost=attempt.worst_case * part, basis=Basis.ESTIMATE)

    def adjust(self) -> None:
        attempt = self.some(state=AttemptState.ENDED, cost__gt=0)
        if attempt is not None:
            with transaction.atomic():
                cost = attempt.worst_case * Decimal(self.random.randrange(50)) / 100
                # Down only: an adjustment above the charge is an overrun of its own.
                spend.settle(attempt, cost=min(cost, attempt.cost), basis=Basis.USAGE)

    def bill(self) -> None:
        attempt = self.some(state=AttemptState.ENDED)
        if attempt is not None:
            to = attempt.worst_case * Decimal(self.random.randrange(200)) / 100
            with transaction.atomic(), suppress(spend.NotAdjustable):
                spend.adjust(
                    attempt, was=attempt.cost, to=to, reason="billed", actor=self.person, key=self.key()
                )

    def grant(self) -> None:
        budget = self.random.choice(list(Budget.objects.order_by("pk")))
        with transaction.atomic():
            spend.grant(budget, Decimal("0.7"), key=f"grant:{self.key()}", actor=self.person, reason="asked")

    def end_grant(self) -> None:
        keys = list(LedgerEntry.objects.filter(kind="grant").values_list("idempotency_key", flat=True))
        begun = [key for key in keys if not key.endswith(":end")]
        if begun:
            with transaction.atomic():
                spend.end_grant(self.random.choice(begun), reason="over")

    def set_cap(self) -> None:
        spend.set_cap(Decimal(self.random.randrange(5, 30)) / 10, project=self.random.choice(self.projects))

    def turn_the_month(self) -> None:
        self.settings.PONDER_TODAY = dt.date(2026, 11, 30) + dt.timedelta(days=self.random.randrange(2))

    def key(self) -> str:
        return f"{self.seed}-{self.random.random()}"

    def cancel(self) -> None:
        attempt = self.some(state=AttemptState.PLANNED)
        if attempt is not None:
            with suppress(lifecycle.NotCancellable):
                lifecycle.cancel(attempt.job_id)

    def give_back(self) -> None:
        attempt = self.some(state=AttemptState.PLANNED)
        if attempt is not None:
            with transaction.atomic():
                spend.release_part(attempt, to=attempt.worst_case / 2, reason="counted")

    def audit(self) -> None:
        assert spend.audit() == []


@pytest.fixture
def _database_watches_the_caps(transactional_db: None) -> Iterator[None]:
    """Let the database itself refuse an admission that passes a cap, whatever our code believes."""
    with connection.cursor() as cursor:
        cursor.execute("""
            CREATE FUNCTION no_hold_passes_a_cap() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              IF NEW.held > OLD.held AND NEW.spent + NEW.held > NEW.cap + NEW.granted THEN
                RAISE EXCEPTION 'an admission passed a cap';
              END IF;
              RETURN NEW;
            END $$;
            CREATE TRIGGER watch BEFORE UPDATE ON jobs_budgetperiod
              FOR EACH ROW EXECUTE FUNCTION no_hold_passes_a_cap();
        """)
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER watch ON jobs_budgetperiod; DROP FUNCTION no_hold_passes_a_cap()")


@pytest.mark.usefixtures("_database_watches_the_caps")
@pytest.mark.parametrize("overruns", [False, True], ids=["within the holds", "with overruns"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_interleaving_keeps_the_books_and_the_caps(
    seed: int, overruns: bool, person: User, settings: Settings
) -> None:
    settings.PONDER_TODAY = dt.date(2026, 11, 30)
    members = {person: Role.MANAGER}
    projects = [
        a_project("one", cap="1.2", is_practice=False, members=members),
        a_project("two", cap="1.5", is_practice=False, members=members),
        a_project("practice", cap="1", members=members),
    ]
    spend.set_cap(Decimal("2.2"))
    spend.set_cap(Decimal("2.3"), user=person)
    workers = [
        Chaos(100 * seed + number, projects, person, settings, overruns=overruns) for number in range(6)
    ]
    found = at_once(workers)
    assert [one for one in found if isinstance(one, Exception)] == []
    assert overruns or sum(worker.refused for worker in workers) > 0
    assert sum(worker.admitted for worker in workers) > 0
    assert all(shortfall > 0 for worker in workers for shortfall in worker.shortfalls)
    with transaction.atomic():
        assert spend.audit() == []
    if not overruns:
        assert all(period.left >= 0 for period in BudgetPeriod.objects.all())
