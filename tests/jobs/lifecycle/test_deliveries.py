"""What becomes of events: jobs are asked for at once, lost sends adopted by nonce, others left alone."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db import OperationalError
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from psycopg.errors import LockNotAvailable
from pytest_django.fixtures import Settings

from jobs import lifecycle
from jobs.lifecycle import Announcement, Decision, deliveries, polling, pump
from jobs.lifecycle.waking import ring_overdue
from jobs.models import (
    Attempt,
    AttemptState,
    Connection,
    DeliveryState,
    Event,
    Job,
    KeySource,
    LedgerEntry,
    Notice,
    Project,
    Secret,
    Status,
    User,
    WebhookDelivery,
)
from jobs.models.trail import trail_of
from jobs.openai_client import Blocked, NotFound, Outcome, OutcomeUnknown, Retryable
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

LOST = OutcomeUnknown("The connection broke.", code="connection_lost")


@pytest.fixture
def job(api: FakeApi, submit: Submit) -> Job:
    """A job in flight, not due for a while."""
    made = submit()
    api.run("send")
    Job.objects.update(next_action_at=Now() + dt.timedelta(seconds=90))
    made.refresh_from_db()
    return made


@pytest.fixture
def unsure(api: FakeApi, submit: Submit) -> Job:
    """An unconfirmed job."""
    made = submit()
    api.replies.append(LOST)
    api.run("send")
    made.refresh_from_db()
    return made


def the(job: Job, number: int = 1) -> Attempt:
    job.refresh_from_db()
    return Attempt.objects.get(job=job, number=number)


def announce(
    connection: Connection, response_id: str, webhook_id: str = "wh_1", kind: str = "response.completed"
) -> WebhookDelivery:
    news = Announcement(webhook_id, kind, response_id, timezone.now())
    lifecycle.receive(connection.pk, news)
    return WebhookDelivery.objects.get(connection=connection, webhook_id=webhook_id)


def naming(job: Job, number: int = 1) -> dict[str, str]:
    return {"ponder_attempt": str(the(job, number).nonce)}


def look(delivery: WebhookDelivery) -> WebhookDelivery:
    """Let its next look be due, run the pump, and read it again."""
    WebhookDelivery.objects.filter(next_look_at__isnull=False).update(next_look_at=Now())
    lifecycle.run_pump("poll")
    delivery.refresh_from_db()
    return delivery


def seconds_to_next_look(job: Job) -> float:
    job.refresh_from_db()
    assert job.next_action_at is not None
    return (job.next_action_at - timezone.now()).total_seconds()


def test_an_event_makes_its_job_due_at_once_and_the_poll_finishes_it(
    api: FakeApi, job: Job, project: Project
) -> None:
    api.put(job, "completed")
    found = announce(project.connection, the(job).response_id)
    assert (found.state, found.attempt) == (DeliveryState.DONE, the(job))
    assert seconds_to_next_look(job) <= 0
    lifecycle.run_pump("poll")
    job.refresh_from_db()
    assert job.status == Status.COMPLETED


def test_a_poll_under_way_cannot_push_back_what_was_announced_meanwhile(
    api: FakeApi, job: Job, project: Project
) -> None:
    api.make_due()
    (poll,) = polling.claim_polls(10)
    announce(project.connection, poll.response_id)
    # It had asked just before the end.
    polling.write_back([Outcome(poll, "retrieve", body=api.body(poll.response_id, "queued"))], stretched=1)
    assert seconds_to_next_look(job) <= 0


def test_an_event_of_what_has_ended_disturbs_nothing(api: FakeApi, job: Job, project: Project) -> None:
    api.put(job, "completed")
    api.run("poll")
    found = announce(project.connection, the(job).response_id)
    assert (found.state, found.attempt) == (DeliveryState.DONE, the(job))
    assert (job.status, job.next_action_at) == (Status.COMPLETED, None)


def test_an_event_of_a_send_whose_job_waits_for_the_next_leaves_the_sends_clock(
    api: FakeApi, job: Job, project: Project
) -> None:
    Job.objects.update(status=Status.WAITING)
    assert announce(project.connection, the(job).response_id).state == DeliveryState.DONE
    assert seconds_to_next_look(job) > 60


def test_a_doubled_event_is_counted_and_does_nothing(api: FakeApi, job: Job, project: Project) -> None:
    announce(project.connection, the(job).response_id)
    Job.objects.update(next_action_at=Now() + dt.timedelta(seconds=90))
    assert announce(project.connection, the(job).response_id).repeats == 1
    assert seconds_to_next_look(job) > 60


def test_events_may_come_in_any_order(api: FakeApi, job: Job, project: Project) -> None:
    api.put(job, "completed")
    announce(project.connection, the(job).response_id, "wh_2", "response.completed")
    announce(project.connection, the(job).response_id, "wh_1", "response.cancelled")
    lifecycle.run_pump("poll")
    job.refresh_from_db()
    assert job.status == Status.COMPLETED
    assert Event.objects.filter(job=job, kind="completed").count() == 1


def test_a_foreign_response_is_never_asked_for(api: FakeApi, job: Job, project: Project) -> None:
    assert announce(project.connection, "resp_theirs").state == DeliveryState.FOREIGN
    assert not WebhookDelivery.objects.due().exists()
    assert api.gets == []


def test_an_event_of_another_connection_is_no_event_of_ours(api: FakeApi, job: Job, project: Project) -> None:
    other = Connection.objects.create(name="Other", base_url="https://api.openai.com/v1")
    assert announce(other, the(job).response_id).state == DeliveryState.FOREIGN
    assert seconds_to_next_look(job) > 60


def test_an_unconfirmed_send_is_adopted_by_the_nonce_its_response_names(
    api: FakeApi, unsure: Job, project: Project
) -> None:
    api.responses["resp_9"] = api.body("resp_9", "completed", metadata=naming(unsure))
    found = announce(project.connection, "resp_9")
    assert (found.state, found.handled_at) == (DeliveryState.PENDING, None)
    look(found)
    assert (found.state, found.attempt) == (DeliveryState.DONE, the(unsure))
    assert (the(unsure).state, the(unsure).response_id) == (AttemptState.ENDED, "resp_9")
    assert unsure.status == Status.COMPLETED
    assert Event.objects.get(job=unsure, kind="adopted").note == "webhook"
    assert unsure.cost == Decimal("0.022")


def test_a_send_whose_lease_has_expired_is_adopted_too(
    api: FakeApi, submit: Submit, project: Project
) -> None:
    job = submit()
    api.replies.append(LOST)
    api.while_sending = lambda: announce(project.connection, "resp_9")
    api.run("send")
    found = WebhookDelivery.objects.get()
    Attempt.objects.update(state=AttemptState.SENDING, lease_expires_at=Now() - dt.timedelta(seconds=1))
    Job.objects.update(status=Status.SENDING)
    api.responses["resp_9"] = api.body("resp_9", "completed", metadata=naming(job))
    assert look(found).state == DeliveryState.DONE
    assert the(job).response_id == "resp_9"
    assert job.status == Status.COMPLETED


def test_while_a_post_may_be_answered_its_response_is_not_asked_for(
    api: FakeApi, submit: Submit, project: Project
) -> None:
    submit()
    found: list[WebhookDelivery] = []

    def end_before_the_answer() -> None:
        found.append(announce(project.connection, "resp_1"))
        look(found[0])

    api.while_sending = end_before_the_answer
    api.run("send")
    assert found[0].state == DeliveryState.PENDING
    assert found[0].next_look_at is not None
    assert api.gets == []
    # Its answer has told whose it is.
    look(found[0])
    assert (found[0].state, found[0].attempt) == (DeliveryState.DONE, Attempt.objects.get())


def test_what_was_sent_after_an_event_cannot_be_what_it_is_about(
    api: FakeApi, unsure: Job, project: Project
) -> None:
    found = announce(project.connection, "resp_theirs")
    Attempt.objects.update(sent_at=Now() + dt.timedelta(seconds=5))
    assert look(found).state == DeliveryState.FOREIGN
    assert api.gets == []


@pytest.mark.parametrize("metadata", [None, {}, {"ponder_attempt": "x"}, {"ponder_attempt": 7}, "text"])
def test_a_response_that_names_no_send_is_foreign_and_never_asked_for_again(
    metadata: object, api: FakeApi, unsure: Job, project: Project
) -> None:
    api.responses["resp_theirs"] = api.body("resp_theirs", "completed", metadata=metadata)
    found = announce(project.connection, "resp_theirs")
    assert look(found).state == DeliveryState.FOREIGN
    assert found.note
    # Neither for itself nor for its next event.
    look(found)
    assert announce(project.connection, "resp_theirs", "wh_2").state == DeliveryState.FOREIGN
    assert api.gets == ["resp_theirs"]
    assert the(unsure).state == AttemptState.UNCONFIRMED


def test_a_nonce_of_another_connections_send_proves_nothing(
    api: FakeApi, unsure: Job, submit: Submit, project: Project
) -> None:
    other = Connection.objects.create(
        name="Other", base_url="https://api.openai.com/v1", key=Secret.of("sk-o")
    )
    Attempt.objects.update(connection=other)
    second = submit(prompt="Another?")
    api.replies.append(LOST)
    api.run("send")
    api.responses["resp_9"] = api.body("resp_9", "completed", metadata=naming(unsure))
    assert look(announce(project.connection, "resp_9")).state == DeliveryState.FOREIGN
    assert the(unsure).response_id == the(second).response_id == ""


def test_after_a_resend_the_lost_one_turns_up_and_both_are_shown_and_booked(
    api: FakeApi, resent: Job, project: Project
) -> None:
    api.run("send")
    api.put(resent, "completed")
    api.run("poll")
    # Its twin has ended: the hold of the first was given back.
    assert (the(resent).state, the(resent).error_code) == (AttemptState.ENDED, "lost")
    api.responses["resp_first"] = api.body("resp_first", "completed", metadata=naming(resent))
    assert look(announce(project.connection, "resp_first")).attempt == the(resent)
    charges = LedgerEntry.objects.filter(job=resent, kind="charge").values_list("attempt__number", "amount")
    assert sorted(charges) == [(1, Decimal("0.022")), (2, Decimal("0.022"))]
    assert resent.cost == Decimal("0.044")
    assert resent.status == Status.COMPLETED


def test_declared_lost_and_then_announced_it_is_charged(api: FakeApi, unsure: Job, project: Project) -> None:
    lifecycle.resolve(unsure.pk, Decision.LOST)
    api.responses["resp_9"] = api.body("resp_9", "completed", metadata=naming(unsure))
    look(announce(project.connection, "resp_9"))
    assert (the(unsure).response_id, unsure.status) == ("resp_9", Status.COMPLETED)


def test_what_was_declared_long_ago_is_waited_for_no_longer(
    api: FakeApi, unsure: Job, project: Project
) -> None:
    lifecycle.resolve(unsure.pk, Decision.LOST)
    Attempt.objects.update(sent_at=Now() - dt.timedelta(days=8))
    assert announce(project.connection, "resp_9").state == DeliveryState.FOREIGN


def test_a_twin_of_a_send_that_is_known_raises_an_alarm(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    submit(prompt="Unsure?")
    api.replies.append(LOST)
    api.run("send")
    api.responses["resp_twin"] = api.body("resp_twin", "completed", metadata=naming(job))
    found = look(announce(project.connection, "resp_twin"))
    assert (found.state, the(job).response_id) == (DeliveryState.FOREIGN, "resp_1")
    assert "resp_twin" in Notice.objects.get(kind="twin_response").message


def test_known_by_its_journal_meanwhile_it_is_done_without_a_question(
    api: FakeApi, unsure: Job, project: Project
) -> None:
    found = announce(project.connection, "resp_9")
    api.responses["resp_9"] = api.body("resp_9")
    deliveries.adopt(the(unsure).pk, "resp_9", how="journal")
    WebhookDelivery.objects.update(next_look_at=Now())
    assert deliveries.claim_lookups(10) == []
    found.refresh_from_db()
    assert (found.state, found.attempt) == (DeliveryState.DONE, the(unsure))


def test_two_pumps_that_look_it_up_adopt_it_once(api: FakeApi, unsure: Job, project: Project) -> None:
    found = announce(project.connection, "resp_9")
    (lookup,) = deliveries.claim_lookups(10)
    body = api.body("resp_9", "in_progress", metadata=naming(unsure))
    for _ in range(2):
        deliveries.write_back(Outcome(lookup, "retrieve", body=body))
    found.refresh_from_db()
    assert found.state == DeliveryState.DONE
    assert Event.objects.filter(kind="adopted").count() == 1


def test_a_claim_hides_a_delivery_and_a_killed_pumps_comes_back(
    api: FakeApi, unsure: Job, project: Project
) -> None:
    found = announce(project.connection, "resp_9")
    assert len(deliveries.claim_lookups(10)) == 1
    assert deliveries.claim_lookups(10) == []
    assert WebhookDelivery.objects.due(deliveries.VISIBILITY).get() == found


def wait_of(delivery: WebhookDelivery) -> float:
    delivery.refresh_from_db()
    assert delivery.next_look_at is not None
    return (delivery.next_look_at - timezone.now()).total_seconds()


def test_a_look_up_that_fails_is_tried_again_later_each_time(
    api: FakeApi, unsure: Job, project: Project
) -> None:
    api.responses["resp_9"] = Retryable("Busy.", code="server_is_overloaded", retry_after=20)
    found = announce(project.connection, "resp_9")
    lifecycle.run_pump("poll")
    assert 20 < wait_of(found) <= 25
    # The connection rests as long as it asked for.
    WebhookDelivery.objects.update(next_look_at=Now())
    assert deliveries.claim_lookups(10) == []
    assert 15 < wait_of(found) <= 20
    Connection.objects.update(not_before=None)
    api.responses["resp_9"] = OutcomeUnknown("Reset.", code="connection_lost")
    look(found)
    assert 5 < wait_of(found) <= 10
    assert found.state == DeliveryState.PENDING
    WebhookDelivery.objects.update(looks=900)
    look(found)
    assert 500 < wait_of(found) <= 600


def test_what_is_not_found_three_times_is_foreign(api: FakeApi, unsure: Job, project: Project) -> None:
    api.responses["resp_9"] = NotFound("No such response.", code="not_found")
    found = announce(project.connection, "resp_9")
    assert [look(found).state for _ in range(3)] == ["pending", "pending", "foreign"]
    assert look(found).note == "There is no response with that id."
    assert len(api.gets) == 3


def test_a_look_up_that_a_key_is_refused_for_pauses_the_connection(
    api: FakeApi, unsure: Job, project: Project
) -> None:
    api.responses["resp_9"] = Blocked("No.", code="invalid_api_key", status=401)
    found = announce(project.connection, "resp_9")
    look(found)
    project.connection.refresh_from_db()
    assert project.connection.paused_reason == "invalid_api_key: No."
    assert wait_of(found) > 0


def test_a_look_up_without_a_readable_key_waits(api: FakeApi, unsure: Job, project: Project) -> None:
    Connection.objects.update(key=Secret("lost"))
    found = announce(project.connection, "resp_9")
    assert look(found).state == DeliveryState.PENDING
    assert api.gets == []
    project.connection.refresh_from_db()
    assert project.connection.paused_at is not None


def test_an_installation_without_the_environments_key_leaves_look_ups_to_the_others(
    api: FakeApi, unsure: Job, project: Project, settings: Settings
) -> None:
    Connection.objects.update(key_source=KeySource.ENVIRONMENT)
    announce(project.connection, "resp_9")
    assert not WebhookDelivery.objects.due().exists()
    settings.OPENAI_API_KEY = "sk-here"
    assert WebhookDelivery.objects.due().exists()


def test_an_answer_that_cannot_be_written_down_leaves_the_others_be(
    api: FakeApi,
    unsure: Job,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("resp_8", "resp_9"):
        api.responses[name] = api.body(name, "completed", metadata=naming(unsure), output=[{"secret": name}])
    first = announce(project.connection, "resp_8", "wh_8")
    second = announce(project.connection, "resp_9", "wh_9")
    write_back = deliveries.write_back

    def fail_once(outcome: Outcome[deliveries.Lookup]) -> None:
        if outcome.key.response_id == "resp_8":
            raise ValueError("resp_8 holds a secret")
        write_back(outcome)

    monkeypatch.setattr(deliveries, "write_back", fail_once)
    assert look(second).state == DeliveryState.DONE
    first.refresh_from_db()
    assert first.state == DeliveryState.PENDING
    assert "secret" not in caplog.text
    assert "ValueError" in caplog.text


def test_a_database_in_trouble_ends_the_pump(
    api: FakeApi, unsure: Job, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.responses["resp_9"] = api.body("resp_9", metadata=naming(unsure))
    announce(project.connection, "resp_9")

    def fail(_: object) -> None:
        raise OperationalError

    monkeypatch.setattr(deliveries, "write_back", fail)
    with pytest.raises(OperationalError):
        lifecycle.run_pump("poll")


def test_the_watchdog_rings_for_an_overdue_look_up(
    api: FakeApi, unsure: Job, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[str] = []
    monkeypatch.setattr("jobs.lifecycle.waking.ring", rung.append)
    ring_overdue()
    assert rung == []
    announce(project.connection, "resp_9")
    assert pump.falls_due("poll", within=0)
    WebhookDelivery.objects.update(next_look_at=Now() - dt.timedelta(seconds=5))
    ring_overdue()
    assert rung == ["poll"]


def test_a_foreign_one_is_handled_again_when_someone_asks_and_that_is_written_down(
    api: FakeApi, unsure: Job, project: Project, person: User
) -> None:
    api.responses["resp_9"] = NotFound("No such response.", code="not_found")
    found = announce(project.connection, "resp_9")
    WebhookDelivery.objects.update(looks=9)
    look(found)
    api.responses["resp_9"] = api.body("resp_9", "completed", metadata=naming(unsure))
    assert lifecycle.handle_again(found.pk, by=person)
    found.refresh_from_db()
    assert (found.state, found.looks, found.note) == (DeliveryState.PENDING, 0, "")
    assert look(found).state == DeliveryState.DONE
    assert unsure.pk == found.attempt.job_id  # type: ignore[union-attr]
    (line,) = trail_of(found)
    assert (line.user, line.get_change_message()) == (person, "Handled again")


def test_what_is_about_no_response_cannot_be_handled_again(project: Project, person: User) -> None:
    lifecycle.refuse(project.connection.pk, "No secret is set")
    assert not lifecycle.handle_again(WebhookDelivery.objects.get().pk, by=person)


def test_refusals_are_counted_by_hour_and_reason(project: Project) -> None:
    for reason in ("No secret is set", "No secret is set", "Message timestamp too old"):
        lifecycle.refuse(project.connection.pk, reason)
    WebhookDelivery.objects.update(received_at=F("received_at") - dt.timedelta(hours=1))
    lifecycle.refuse(project.connection.pk, "No secret is set")
    rows = WebhookDelivery.objects.order_by("pk").values_list("note", "repeats")
    assert list(rows) == [
        ("No secret is set", 1), ("Message timestamp too old", 0), ("No secret is set", 0),
    ]  # fmt: skip


def test_deliveries_of_a_month_ago_are_forgotten_in_batches(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "BATCH", 4)
    for number in range(10):
        announce(project.connection, "", f"wh_{number}", "batch.completed")
    old = WebhookDelivery.objects.order_by("pk").values_list("pk", flat=True)[:9]
    WebhookDelivery.objects.filter(pk__in=list(old)).update(received_at=Now() - dt.timedelta(days=31))
    assert lifecycle.forget_deliveries() == 9
    assert WebhookDelivery.objects.get().webhook_id == "wh_9"
    assert lifecycle.forget_deliveries() == 0


def test_forgetting_ends_when_its_time_is_up(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "FORGET_FOR", dt.timedelta(0))
    announce(project.connection, "", kind="batch.completed")
    WebhookDelivery.objects.update(received_at=Now() - dt.timedelta(days=31))
    assert lifecycle.forget_deliveries() == 0


def test_a_look_up_that_had_to_wait_is_not_counted_as_one(
    api: FakeApi, unsure: Job, project: Project
) -> None:
    api.responses["resp_9"] = NotFound("No such response.", code="not_found")
    found = announce(project.connection, "resp_9")
    Connection.objects.update(not_before=Now() + dt.timedelta(seconds=50))
    for _ in range(3):
        look(found)
    Connection.objects.update(not_before=None)
    assert [look(found).state for _ in range(3)] == ["pending", "pending", "foreign"]


def test_a_key_that_cannot_be_read_for_weeks_does_not_stop_the_polls(
    api: FakeApi, unsure: Job, project: Project
) -> None:
    found = announce(project.connection, "resp_9")
    Connection.objects.update(key=Secret("garbage"))
    WebhookDelivery.objects.update(looks=2**15 - 1)  # the column's most, reached in eleven days of waits
    assert look(found).state == DeliveryState.PENDING


def test_what_is_locked_is_kept_for_a_pump_once(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(_: object) -> None:
        raise OperationalError("canceling statement due to lock timeout") from LockNotAvailable()

    news = Announcement("wh_1", "response.completed", "resp_1", timezone.now())
    monkeypatch.setattr(deliveries, "_ask_for", wait)
    assert lifecycle.receive(job.project.connection_id, news)
    found = WebhookDelivery.objects.get()
    assert (found.state, found.attempt, found.handled_at) == (DeliveryState.PENDING, None, None)
    assert WebhookDelivery.objects.due().exists()
    assert not lifecycle.receive(job.project.connection_id, news)
    found.refresh_from_db()
    assert found.repeats == 1


def test_a_delivery_that_waited_for_itself_is_there_already(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [OperationalError("lock timeout"), False]
    answers[0].__cause__ = LockNotAvailable()  # type: ignore[union-attr]

    def keep(*_: object) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(deliveries, "_keep", keep)
    news = Announcement("wh_1", "response.completed", "resp_1", timezone.now())
    assert not lifecycle.receive(job.project.connection_id, news)


def test_a_database_that_is_away_takes_no_delivery(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(deliveries, "_ask_for", fail)
    news = Announcement("wh_1", "response.completed", "resp_1", timezone.now())
    with pytest.raises(OperationalError):
        lifecycle.receive(job.project.connection_id, news)
    assert not WebhookDelivery.objects.exists()
