"""Pumps: one of a kind at a time, no longer than they may, and no row left behind between two of them."""

import datetime as dt
import uuid

import pytest
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django_q.models import OrmQ, Schedule

from jobs import lifecycle, tasks
from jobs.lifecycle import polling, pump
from jobs.lifecycle.doorbell import PumpKind
from jobs.models import Answer, Attempt, AttemptState, Connection, Job, PumpLease, Status
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
    def fail(_room: int) -> None:
        raise RuntimeError("a defect")

    submit()
    rung()
    monkeypatch.setattr(pump.sending, "claim_sends", fail)
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


def test_the_watchdog_is_installed_once() -> None:
    lifecycle.install_watchdog()
    lifecycle.install_watchdog()
    schedule = Schedule.objects.get()
    assert (schedule.func, schedule.schedule_type, schedule.minutes) == ("jobs.tasks.watchdog", "I", 1)
    assert (schedule.cluster, schedule.repeats) == (settings.CLUSTER_NAME, -1)
