"""Pumps: one of a kind at a time, no longer than they may, and no row left behind between two of them."""

import datetime as dt
import inspect
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pytest
from django.conf import settings
from django.db import IntegrityError, OperationalError, transaction
from django.db.models.functions import Now
from django_q.models import OrmQ, Schedule

from jobs import lifecycle, tasks
from jobs.access import Role
from jobs.lifecycle import doorbell, polling, pump, sending
from jobs.lifecycle.doorbell import PumpKind
from jobs.models import Answer, Attempt, AttemptState, Connection, Job, Project, PumpLease, Status, User
from jobs.openai_client import Outcome, Retryable
from tests.factories import a_project
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = pytest.mark.django_db

SEND, POLL, RENDER = "jobs.tasks.send_due", "jobs.tasks.poll_due", "jobs.tasks.render_due"


def rung() -> list[str]:
    """Return the tasks that were asked for since the last look."""
    found = [message.task["func"] for message in OrmQ.objects.order_by("pk")]
    OrmQ.objects.all().delete()
    return found


def due_in(seconds: float) -> None:
    Job.objects.update(next_action_at=Now() + dt.timedelta(seconds=seconds))


def status(job: Job) -> str:
    job.refresh_from_db()
    return job.status


def test_a_submission_rings_for_the_send_pump_in_its_own_transaction(submit: Submit) -> None:
    with transaction.atomic():
        submit()
        transaction.set_rollback(True)
    assert rung() == []
    submit()
    assert rung() == [SEND]
    assert not Attempt.objects.exclude(state=AttemptState.PLANNED).exists()


def test_a_message_names_its_cluster(submit: Submit) -> None:
    submit()
    assert OrmQ.objects.get().key == settings.CLUSTER_NAME


def test_a_pump_with_nothing_due_ends_at_once(api: FakeApi) -> None:
    api.run("send", "poll")
    assert api.clock == 0
    assert rung() == []
    assert list(PumpLease.objects.values_list("holder", flat=True)) == [None, None]


@pytest.mark.parametrize("kind", ["send", "poll"])
def test_a_pump_that_finds_its_lease_taken_ends_at_once(api: FakeApi, submit: Submit, kind: PumpKind) -> None:
    job = submit()
    holder = uuid.uuid4()
    PumpLease.objects.create(
        kind=kind, instance=settings.INSTANCE, holder=holder, expires_at=Now() + dt.timedelta(seconds=9)
    )
    rung()
    lifecycle.run_pump(kind)
    assert (api.posts, status(job), rung()) == ([], Status.WAITING, [])
    assert PumpLease.objects.get().holder == holder


def test_a_lease_of_another_installation_or_one_that_expired_hinders_no_pump(
    api: FakeApi, submit: Submit
) -> None:
    job = submit()
    later = Now() + dt.timedelta(seconds=9)
    PumpLease.objects.create(kind="send", instance="another", holder=uuid.uuid4(), expires_at=later)
    PumpLease.objects.create(kind="send", instance=settings.INSTANCE, holder=uuid.uuid4(), expires_at=Now())
    tasks.send_due()
    assert status(job) == Status.QUEUED


def test_a_pump_holds_its_lease_and_renews_it_while_it_runs(api: FakeApi, submit: Submit) -> None:
    submit()
    mine = PumpLease.objects.filter(kind="send", holder__isnull=False)
    seen: list[int] = []

    def look() -> None:
        seen.append(mine.filter(expires_at__gt=Now()).count())
        mine.update(expires_at=Now())

    api.step, api.slow, api.while_waiting = 3, 3, look
    api.run("send")
    assert seen == [1, 1, 1]
    assert not mine.exists()


def test_a_pump_renews_no_more_often_than_needed(api: FakeApi, submit: Submit) -> None:
    submit()
    seen: list[bool] = []

    def look() -> None:
        seen.append(PumpLease.objects.filter(expires_at__gt=Now()).exists())
        PumpLease.objects.update(expires_at=Now())

    api.step, api.slow, api.while_waiting = 1.1, 4, look
    api.run("send")
    assert seen == [True, False, True, False]


def test_a_pump_stays_as_long_as_a_row_falls_due_before_its_end(api: FakeApi, submit: Submit) -> None:
    job = submit()
    due_in(10)
    api.step, api.while_waiting = 5, lambda: due_in(0)
    lifecycle.run_pump("send")
    assert (status(job), api.clock) == (Status.QUEUED, 5)


def test_a_row_due_after_the_end_of_the_pump_is_left_to_the_watchdog(api: FakeApi, submit: Submit) -> None:
    submit()
    due_in(16)
    rung()
    lifecycle.run_pump("send")
    assert (api.clock, rung()) == (0, [])


def test_a_pump_hands_on_by_ringing_as_it_frees_its_lease(api: FakeApi, submit: Submit) -> None:
    job = submit()
    due_in(10)
    rung()
    lifecycle.run_pump("send")  # its 15 s are over before the row is due
    assert (status(job), rung()) == (Status.WAITING, [SEND])
    assert PumpLease.objects.get().holder is None


@pytest.mark.parametrize("kind", ["send", "poll"])
def test_a_pump_whose_lease_was_taken_over_claims_nothing_more(
    monkeypatch: pytest.MonkeyPatch, kind: PumpKind
) -> None:
    PumpLease.objects.create(kind=kind, instance=settings.INSTANCE, holder=uuid.uuid4())
    lost = pump._Lease(kind, uuid.uuid4())
    monkeypatch.setattr(pump, "falls_due", lambda *_, **__: True)
    assert lost.goes_on(), "it was its own a moment ago"
    lost.renewed -= pump.RENEW_EVERY
    assert not lost.goes_on()
    assert not lost.goes_on(is_busy=True)


def test_a_pump_whose_lease_was_taken_over_rings_no_more(api: FakeApi, submit: Submit) -> None:
    submit()
    due_in(10)
    rung()
    api.while_waiting = lambda: PumpLease.objects.update(holder=uuid.uuid4())
    lifecycle.run_pump("send")
    assert rung() == []


def test_a_pump_that_dies_frees_its_lease_and_rings(
    api: FakeApi, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    submit()
    rung()
    monkeypatch.setattr(pump.claiming, "claim_sends", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        lifecycle.run_pump("send")
    assert (PumpLease.objects.get().holder, rung()) == (None, [SEND])


def test_a_stopping_installation_claims_nothing_and_rings_for_nothing(api: FakeApi, submit: Submit) -> None:
    job = submit()
    rung()
    settings.STOP_FILE.touch()
    api.run("send", "poll")
    assert (api.posts, status(job), rung()) == ([], Status.WAITING, [])


def test_a_post_in_progress_is_awaited_when_stopping_and_nothing_more_is_claimed(
    api: FakeApi, submit: Submit
) -> None:
    first = submit()

    def stop() -> None:
        settings.STOP_FILE.touch()
        submit(prompt="One more?")

    api.while_sending, api.slow = stop, 3
    api.run("send")
    assert (status(first), len(api.posts)) == (Status.QUEUED, 1)


def test_polls_are_cut_off_when_stopping(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.run("send")
    api.put(job, "completed")
    api.slow, api.while_waiting = 1, settings.STOP_FILE.touch
    api.run("poll")
    assert (len(api.gets), status(job)) == (1, Status.QUEUED)


def test_polls_that_answer_after_the_end_of_the_claiming_are_written_back(
    api: FakeApi, submit: Submit
) -> None:
    job = submit()
    api.run("send")
    api.put(job, "completed")
    api.step, api.slow = 21, 1
    api.run("poll")
    assert status(job) == Status.COMPLETED


def test_polls_that_answer_too_late_come_back_after_their_visibility(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.run("send")
    api.put(job, "completed")
    api.step, api.slow = 21, 9
    api.run("poll")
    assert status(job) == Status.QUEUED
    assert job.claim_token is not None
    api.slow = 0
    api.run("poll")
    assert status(job) == Status.COMPLETED


def test_a_long_pump_measures_the_fleet_anew(
    api: FakeApi, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit()
    api.run("send")
    due_in(1)
    measured: list[float] = []

    def stretch() -> float:
        measured.append(api.clock)
        return 1.0

    monkeypatch.setattr(polling, "stretch", stretch)
    api.clock, api.step = 0, 3
    lifecycle.run_pump("poll")
    assert measured == [0, 6, 12, 18]


def test_the_poll_pump_sends_nothing_and_the_send_pump_polls_nothing(api: FakeApi, submit: Submit) -> None:
    job = submit()
    tasks.poll_due()
    assert status(job) == Status.WAITING
    api.run("send", "send")
    assert api.gets == []


def test_an_acceptance_rings_for_the_poll_pump(api: FakeApi, submit: Submit) -> None:
    submit()
    rung()
    api.run("send")
    assert rung() == [POLL]


def test_while_a_poll_pump_of_this_installation_runs_nobody_rings_for_another(
    api: FakeApi, submit: Submit
) -> None:
    holder = uuid.uuid4()
    PumpLease.objects.create(kind="poll", instance=settings.INSTANCE, expires_at=Now())
    for minutes, held_by, wanted in ((1, holder, []), (-1, holder, [POLL]), (1, None, [POLL])):
        ends = Now() + dt.timedelta(minutes=minutes)
        PumpLease.objects.filter(kind="poll").update(holder=held_by, expires_at=ends)
        submit()
        rung()
        api.run("send")
        assert rung() == wanted


# What cannot be written down.

AWAY = Retryable("The API could not be reached.", code="connect_error")


def fail_to_write(
    patch: pytest.MonkeyPatch, job: Job, *, times: int, error: type[Exception] = OperationalError
) -> Counter[int]:
    """Let the outcome of a job fail to be written down some times; return the tries, counted by job."""
    real, tries = sending.write_back, Counter[int]()

    def write_back(outcome: Outcome[sending.Send]) -> None:
        tries[outcome.key.job_id] += 1
        if outcome.key.job_id == job.pk and tries[job.pk] <= times:
            raise error("The lemma is true.")
        real(outcome)

    patch.setattr(sending, "write_back", write_back)
    return tries


@pytest.mark.parametrize("error", [OperationalError, IntegrityError, RuntimeError])
def test_an_outcome_that_is_not_written_down_at_once_costs_no_other_its_own(
    api: FakeApi,
    submit: Submit,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[Exception],
) -> None:
    jobs = [submit(), submit(), submit()]
    tries = fail_to_write(monkeypatch, jobs[0], times=1, error=error)
    api.replies.extend([AWAY] * 3)
    lifecycle.run_pump("send")
    assert [status(job) for job in jobs] == [Status.WAITING] * 3
    assert not Attempt.objects.exclude(state=AttemptState.PLANNED).exists()
    assert tries[jobs[0].pk] == 2
    (said,) = caplog.messages
    assert error.__name__ in said
    assert "lemma" not in caplog.text


def test_what_cannot_be_written_down_is_tried_again_every_second_until_its_lease_ends(
    api: FakeApi, submit: Submit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = submit()
    tries = fail_to_write(monkeypatch, job, times=10**6)
    api.step = 0.5
    lifecycle.run_pump("send")
    assert sending.LEASE.total_seconds() <= api.clock <= sending.LEASE.total_seconds() + 1
    assert sending.LEASE.total_seconds() <= tries[job.pk] <= sending.LEASE.total_seconds() + 2
    assert status(job) == Status.SENDING
    assert [said.rpartition(": ")[2] for said in caplog.messages] == [
        "it is tried again",
        "it is left to the reaper",
    ]
    # The journal knows it all the same.
    monkeypatch.undo()
    assert lifecycle.replay() == 1
    assert status(job) == Status.QUEUED


def test_a_pump_that_fails_writes_down_what_it_has_on_the_wire_first(
    api: FakeApi, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OperationalError("the database is away for a moment")

    job = submit()
    api.replies.append(AWAY)
    api.while_sending = lambda: monkeypatch.setattr(pump, "falls_due", fail)
    api.slow, api.step = 2, 1
    with pytest.raises(OperationalError):
        lifecycle.run_pump("send")
    assert status(job) == Status.WAITING
    assert Attempt.objects.get().state == AttemptState.PLANNED


def test_a_pump_that_failed_keeps_its_lease_while_it_waits_for_its_posts(
    api: FakeApi, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def fail(*_: object, **__: object) -> None:
        raise OperationalError("the database is away for a moment")

    def look() -> None:
        seen.append(PumpLease.objects.filter(holder__isnull=False, expires_at__gt=Now()).exists())
        PumpLease.objects.update(expires_at=Now())

    submit()
    api.while_sending = lambda: monkeypatch.setattr(pump, "falls_due", fail)
    api.slow, api.step, api.while_waiting = 4, 3, look
    with pytest.raises(OperationalError):
        lifecycle.run_pump("send")
    assert seen == [True] * 4


@pytest.mark.parametrize("chore", [sending.reap, pump.replanning.replan_due])
def test_a_chore_that_fails_keeps_no_job_from_being_sent(
    api: FakeApi,
    submit: Submit,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    chore: Callable[[], int],
) -> None:
    def fail() -> int:
        raise IntegrityError("of job 42")

    fail.__name__ = chore.__name__
    monkeypatch.setattr(inspect.getmodule(chore), chore.__name__, fail)
    job = submit()
    api.run("send")
    assert status(job) == Status.QUEUED
    assert caplog.messages == [f"{chore.__name__} failed (IntegrityError)"]


def test_a_long_pump_does_its_chores_again(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[float] = []

    def reap() -> int:
        done.append(api.clock)
        return 0

    monkeypatch.setattr(sending, "reap", reap)
    monkeypatch.setattr(pump, "falls_due", lambda *_, **__: True)
    api.step = 3
    lifecycle.run_pump("send")
    assert done == [0, 6, 12]


def test_a_poll_that_cannot_be_written_down_costs_no_other_its_own(
    api: FakeApi, submit: Submit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [submit(), submit(), submit()]
    api.run("send")
    for job in jobs:
        api.put(job, "in_progress")
    real = polling.write_back

    def write_back(outcomes: Sequence[Outcome[polling.Poll]], *, stretched: float) -> None:
        if any(outcome.key.job_id == jobs[0].pk for outcome in outcomes):
            raise IntegrityError("The lemma is true.")
        real(outcomes, stretched=stretched)

    monkeypatch.setattr(polling, "write_back", write_back)
    api.run("poll")
    assert [status(job) for job in jobs] == [Status.QUEUED, Status.IN_PROGRESS, Status.IN_PROGRESS]
    (said,) = caplog.messages
    assert "IntegrityError" in said
    assert "lemma" not in said
    # It comes back after its visibility.
    monkeypatch.undo()
    api.install(monkeypatch)
    api.run("poll")
    assert status(jobs[0]) == Status.IN_PROGRESS


def test_polls_wait_for_a_database_that_is_away(
    api: FakeApi, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("away")

    submit()
    api.run("send")
    monkeypatch.setattr(polling, "write_back", away)
    with pytest.raises(OperationalError):
        api.run("poll")
    assert len(api.gets) == 1


# A connection that hangs.


def test_while_one_connection_hangs_the_jobs_of_another_are_sent(
    api: FakeApi, submit: Submit, person: User
) -> None:
    other = a_project("other", is_practice=False, members={person: Role.MANAGER})
    first = submit()
    begun: list[float] = []
    later: list[Job] = []

    def once_more() -> None:
        if not later:
            later.append(submit(to=other))

    api.while_sending = lambda: begun.append(api.clock)
    # Its POST takes a minute; after 20 s, which is more than a pump claims otherwise, someone submits.
    api.step, api.slow, api.while_waiting = 20, 3, once_more
    lifecycle.run_pump("send")
    assert begun == [0, 20]
    assert (status(first), status(later[0])) == (Status.QUEUED, Status.QUEUED)


def test_a_pump_that_waits_claims_no_longer_than_its_task_may_take(
    api: FakeApi, submit: Submit, person: User
) -> None:
    first = submit()
    later: list[Job] = []
    rung()

    def once_more() -> None:
        if not later:
            later.append(submit())

    api.step, api.slow, api.while_waiting = 121, 2, once_more
    lifecycle.run_pump("send")
    assert (status(first), status(later[0]), len(api.posts)) == (Status.QUEUED, Status.WAITING, 1)
    assert rung() == [SEND, POLL, SEND], "it hands on"


def test_a_task_may_take_longer_than_its_pump_can(submit: Submit) -> None:
    submit()
    doorbell.ring("poll")
    send, poll = [message.task for message in OrmQ.objects.order_by("pk")]
    assert send["timeout"] > pump.CLAIM_BESIDE + sending.LEASE.total_seconds()
    assert "timeout" not in poll
    assert settings.Q_CLUSTER["timeout"] > pump.CLAIM_FOR["poll"] + 12


# The watchdog.


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        pytest.param(-3, [SEND], id="overdue and nobody at it"),
        pytest.param(-1, [], id="due, but a pump may be on its way"),
        pytest.param(5, [], id="not due"),
    ],
)
def test_the_watchdog_rings_for_overdue_sends_only(submit: Submit, due: float, expected: list[str]) -> None:
    submit()
    due_in(due)
    rung()
    tasks.watchdog()
    assert rung() == expected


def test_the_watchdog_rings_for_overdue_polls_and_expired_leases(api: FakeApi, submit: Submit) -> None:
    submit()
    api.run("send")
    rung()
    due_in(-3)
    lifecycle.wake()
    assert rung() == [POLL]
    Attempt.objects.update(state=AttemptState.SENDING, lease_expires_at=Now() - dt.timedelta(seconds=3))
    Job.objects.update(status=Status.SENDING)
    lifecycle.wake()
    assert rung() == [SEND]


@pytest.mark.parametrize("kind", ["send", "poll"])
def test_the_watchdog_leaves_a_running_pump_alone(api: FakeApi, submit: Submit, kind: PumpKind) -> None:
    submit()
    if kind == "poll":
        api.run("send")
    due_in(-3)
    rung()
    lease, _ = PumpLease.objects.update_or_create(
        kind=kind,
        instance=settings.INSTANCE,
        defaults={"holder": uuid.uuid4(), "expires_at": Now() + dt.timedelta(seconds=9)},
    )
    lifecycle.wake()
    assert rung() == []
    PumpLease.objects.filter(pk=lease.pk).update(expires_at=Now())
    lifecycle.wake()
    assert rung() == ["jobs.tasks." + kind + "_due"]


def test_the_watchdog_does_not_wake_a_paused_connection(submit: Submit) -> None:
    submit()
    due_in(-3)
    rung()
    assert lifecycle.pause(Connection.objects.get().pk, "By hand.")
    assert not lifecycle.pause(Connection.objects.get().pk, "Again.")
    lifecycle.wake()
    assert rung() == []


def test_the_watchdog_rings_for_answers_to_render_until_they_are(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.run("send")
    api.put(job, "completed")
    api.run("poll")
    assert RENDER in rung()
    lifecycle.wake()
    assert rung() == [RENDER]
    tasks.render_due()
    assert Answer.objects.get().html
    lifecycle.wake()
    assert rung() == []


def test_answers_that_come_together_are_rung_for_once(api: FakeApi, submit: Submit) -> None:
    jobs = [submit() for _ in range(3)]
    api.run("send")
    for job in jobs:
        api.put(job, "completed")
    rung()
    api.run("poll")
    assert {status(job) for job in jobs} == {Status.COMPLETED}
    assert rung() == [RENDER]


def test_the_watchdog_and_the_sweep_are_installed_once() -> None:
    lifecycle.install_watchdog()
    lifecycle.install_watchdog()
    found = Schedule.objects.order_by("minutes").values_list("func", "schedule_type", "minutes")
    assert list(found) == [("jobs.tasks.watchdog", "I", 1), ("jobs.tasks.sweep", "I", 60)]
    assert set(Schedule.objects.values_list("cluster", "repeats")) == {(settings.CLUSTER_NAME, -1)}


def test_a_claim_of_polls_knows_what_each_connection_holds(
    api: FakeApi, submit: Submit, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = polling.claim_polls, []

    def claim(room: int, busy: Mapping[int, int]) -> list[polling.Poll]:
        seen.append((room, busy.get(project.connection_id, 0)))
        return real(room, busy)

    monkeypatch.setattr(polling, "claim_polls", claim)
    submit()
    submit()
    api.run("send")
    api.make_due()
    api.step, api.slow, api.while_waiting = 0.1, 1, api.make_due
    lifecycle.run_pump("poll")
    assert seen[:2] == [(200, 0), (198, 2)]
    assert all(room + held == 200 for room, held in seen)
