"""Cancelling and ending take turns on a job's row: whoever comes second acts on what the first one left."""

import datetime as dt
import threading
import time
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from jobs import lifecycle
from jobs.lifecycle import ending
from jobs.models import Attempt, AttemptState, BudgetPeriod, Event, Job, Project, Status, User
from jobs.spend.caps import lock_money, lock_money_shared
from tests.factories import a_spec
from tests.fake_api import FakeApi
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


class Turns:
    """Holds one of two threads up where it has read the rows, until the other waits for it or is done."""

    def __init__(self) -> None:
        self.has_read = threading.Event()
        self.is_other_done = threading.Event()

    def hold_up(self) -> None:
        """Let the other thread go; come back once it waits for a lock, or has not had to."""
        if self.has_read.is_set():
            return
        self.has_read.set()
        # Where a lock is missing, the other one is done and gone in a moment; where it is not, it waits.
        while not (self.is_other_done.wait(timeout=0.01) or _someone_waits()):
            pass

    def second(self, act: Callable[[], object]) -> Callable[[], None]:
        """Return the act of the thread that comes second."""

        def after() -> None:
            assert self.has_read.wait(timeout=30)
            try:
                act()
            finally:
                self.is_other_done.set()

        return after


def _someone_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


@pytest.fixture
def job(api: FakeApi, person: User, project: Project) -> Job:
    """A job in flight."""
    made = lifecycle.submit(a_spec(project, person, max_output_tokens=100))
    api.run("send")
    made.refresh_from_db()
    assert made.status == Status.QUEUED
    return made


def fail_upstream(api: FakeApi, job: Job) -> Callable[[], None]:
    """Return what a poll does that reads a failure worth another attempt."""
    attempt = Attempt.objects.get(job=job)
    body = api.body(attempt.response_id, "failed", error={"code": "server_error", "message": "Oh."})
    return lambda: ending.observe_end(attempt.pk, body)


def test_a_cancel_that_comes_while_an_end_plans_another_attempt_cancels_that_one(
    api: FakeApi, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, read = Turns(), ending.locked

    def slowly(attempt_id: int) -> tuple[Job, Attempt, dt.datetime]:
        found = read(attempt_id)
        turns.hold_up()
        return found

    monkeypatch.setattr(ending, "locked", slowly)
    cancel = turns.second(lambda: lifecycle.cancel(job.pk))
    assert at_once([fail_upstream(api, job), cancel]) == [None, None]
    job.refresh_from_db()
    # Unlocked, the end would not see the cancel, and plan an attempt that nothing ever sends or cancels.
    assert (job.status, job.next_action_at) == (Status.CANCELLED, None)
    assert set(Attempt.objects.values_list("number", "state")) == {
        (1, AttemptState.ENDED), (2, AttemptState.ENDED),
    }  # fmt: skip
    assert BudgetPeriod.objects.get().held == 0


def test_an_end_that_comes_while_a_cancel_is_being_asked_for_plans_no_other_attempt(
    api: FakeApi, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, may_be = Turns(), Job.can_be_cancelled.fget  # type: ignore[attr-defined]  # a property

    def slowly(job: Job) -> bool:
        turns.hold_up()
        found: bool = may_be(job)
        return found

    monkeypatch.setattr(Job, "can_be_cancelled", property(slowly))
    end = turns.second(fail_upstream(api, job))
    cancelled, ended = at_once([lambda: lifecycle.cancel(job.pk), end])
    assert isinstance(cancelled, Job)
    assert ended is None
    job.refresh_from_db()
    # Unlocked, the cancel would act on a job in flight that waits for its second attempt by then.
    assert (job.status, job.next_action_at) == (Status.FAILED, None)
    assert Attempt.objects.get().state == AttemptState.ENDED
    assert list(Event.objects.order_by("pk").values_list("kind", flat=True))[-2:] == [
        "cancel_requested", "failed",
    ]  # fmt: skip
    assert BudgetPeriod.objects.get().held == 0


def test_a_response_seen_to_end_by_two_is_settled_by_one(
    api: FakeApi, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, read = Turns(), ending.locked

    def slowly(attempt_id: int) -> tuple[Job, Attempt, dt.datetime]:
        found = read(attempt_id)
        turns.hold_up()
        return found

    monkeypatch.setattr(ending, "locked", slowly)
    end = fail_upstream(api, job)
    assert at_once([end, turns.second(end)]) == [None, None]
    # Unlocked, the second one would fail the first one's new attempt, or plan one more.
    job.refresh_from_db()
    assert job.status == Status.WAITING
    assert set(Attempt.objects.values_list("number", "state")) == {
        (1, AttemptState.ENDED), (2, AttemptState.PLANNED),
    }  # fmt: skip
    assert Event.objects.filter(kind="tried_again").count() == 1


def test_a_movement_that_has_its_job_is_let_pass_a_new_budget_that_waits_for_another(job: Job) -> None:
    has_money, has_job = threading.Event(), threading.Event()

    def await_that(waiting: int) -> None:
        until = time.monotonic() + 30
        with connection.cursor() as cursor:
            while time.monotonic() < until:
                cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                if cursor.fetchone()[0] >= waiting:
                    return
                time.sleep(0.01)
        raise AssertionError(f"fewer than {waiting} wait")

    def take_money_then_job() -> None:
        with transaction.atomic():
            lock_money_shared()
            has_money.set()
            await_that(waiting=2)
            Job.objects.select_for_update().get(pk=job.pk)

    def make_a_budget() -> None:
        with transaction.atomic():
            assert has_money.wait(timeout=30)
            assert has_job.wait(timeout=30)
            lock_money()

    def take_job_then_money() -> None:
        with transaction.atomic():
            Job.objects.select_for_update().get(pk=job.pk)
            has_job.set()
            await_that(waiting=1)
            lock_money_shared()

    # In a circle, but for the budget's place in the queue: PostgreSQL changes that, and aborts nobody.
    assert at_once([take_money_then_job, make_a_budget, take_job_then_money]) == [None, None, None]
