"""What a project's rule does about a send nobody knows of, when it does it, and what it leaves to people."""

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django.fixtures import Settings

from jobs import lifecycle, spend
from jobs.lifecycle import Announcement, Decision, journal, ruling
from jobs.lifecycle.adoption import adopt
from jobs.lifecycle.ruling import decide_due
from jobs.models import (
    Attempt,
    AttemptState,
    Budget,
    BudgetPeriod,
    Connection,
    Event,
    Installation,
    Job,
    LedgerEntry,
    ModelSpec,
    Notice,
    Project,
    Prompt,
    RawResponse,
    Refusal,
    Secret,
    Status,
    UnconfirmedRule,
    WebhookDelivery,
)
from jobs.openai_client import OutcomeUnknown, Retryable
from o3site import farewell
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

LOST = OutcomeUnknown("The connection broke.", code="connection_lost")
RULES = [UnconfirmedRule.RESEND, UnconfirmedRule.LOST, UnconfirmedRule.PAID]


@pytest.fixture
def job(api: FakeApi, submit: Submit) -> Job:
    """An unconfirmed job about which a rule may decide now."""
    made = submit()
    lose(api)
    fall_due()
    made.refresh_from_db()
    return made


def lose(api: FakeApi) -> None:
    """Send what is due, and hear nothing of it."""
    api.replies.append(LOST)
    api.run("send")


def fall_due() -> None:
    Attempt.objects.filter(rule_due_at__isnull=False).update(rule_due_at=Now())


def have(rule: UnconfirmedRule) -> None:
    Project.objects.update(unconfirmed_rule=rule)


def the(job: Job, number: int = 1) -> Attempt:
    job.refresh_from_db()
    return Attempt.objects.get(job=job, number=number)


def is_left_to_people(job: Job) -> bool:
    return the(job).rule_due_at is None and job.status == Status.UNCONFIRMED and not decide_due()


def notices() -> set[str]:
    return set(Notice.objects.values_list("kind", flat=True)) - {"unconfirmed"}


# What it does.


def test_taken_for_lost_it_fails_and_gives_its_hold_back(job: Job) -> None:
    have(UnconfirmedRule.LOST)
    assert decide_due() == 1
    job.refresh_from_db()
    assert (job.status, job.error_code, BudgetPeriod.objects.get().held) == (Status.FAILED, "lost", 0)
    assert LedgerEntry.objects.latest("pk").reason == "declared lost: the project's rule"
    event = Event.objects.get(kind="decided_lost")
    assert (event.actor, event.note) == (None, "the project's rule")
    assert "its hold is released" in Notice.objects.get(kind="ruled_lost").message
    assert decide_due() == 0


def test_counted_as_paid_it_fails_with_its_ceiling_booked(job: Job) -> None:
    have(UnconfirmedRule.PAID)
    assert decide_due() == 1
    job.refresh_from_db()
    assert (job.status, job.error_code, job.cost) == (Status.FAILED, "assumed_paid", job.worst_case)
    assert LedgerEntry.objects.latest("pk").reason == "declared paid: the project's rule"
    assert notices() == {"assumed_paid"}
    assert "by its project's rule" in Notice.objects.get(kind="assumed_paid").message


def test_sent_again_it_has_a_second_hold_and_goes_on(api: FakeApi, job: Job) -> None:
    have(UnconfirmedRule.RESEND)
    assert decide_due() == 1
    job.refresh_from_db()
    assert (job.status, BudgetPeriod.objects.get().held) == (Status.WAITING, 2 * job.worst_case)
    assert Event.objects.get(kind="decided_resend").note == "the project's rule"
    assert "both are charged" in Notice.objects.get(kind="ruled_resend").message
    api.run("send")
    api.put(job, "completed")
    api.run("poll")
    assert (the(job).state, the(job, 2).state, job.status) == ("ended", "ended", Status.COMPLETED)
    assert (job.cost, BudgetPeriod.objects.get().held) == (Decimal("0.022"), 0)


def test_a_response_that_turns_up_after_a_resend_is_booked_as_well(api: FakeApi, job: Job) -> None:
    have(UnconfirmedRule.RESEND)
    decide_due()
    api.run("send")
    api.put(job, "completed")
    api.run("poll")
    adopt(the(job).pk, "resp_late", how="webhook")
    api.responses["resp_late"] = api.body("resp_late", "completed")
    api.run("poll")
    job.refresh_from_db()
    assert (job.status, job.cost) == (Status.COMPLETED, 2 * Decimal("0.022"))
    assert [the(job, number).cost for number in (1, 2)] == [Decimal("0.022")] * 2
    shown = RawResponse.objects.order_by("attempt__number").values_list("body__id", flat=True)
    assert list(shown) == ["resp_late", the(job, 2).response_id]


def test_without_a_rule_it_asks(job: Job) -> None:
    assert Project.objects.get().unconfirmed_rule == UnconfirmedRule.ASK
    assert decide_due() == 0
    assert (the(job).state, job.status) == (AttemptState.UNCONFIRMED, Status.UNCONFIRMED)


# When it does it.


def test_it_waits_for_a_quarter_of_an_hour(api: FakeApi, submit: Submit) -> None:
    have(UnconfirmedRule.LOST)
    job = submit()
    lose(api)
    due = the(job).rule_due_at
    assert due is not None
    assert dt.timedelta(minutes=14) < due - timezone.now() <= dt.timedelta(minutes=15)
    assert decide_due() == 0
    fall_due()
    lifecycle.wake()
    assert the(job).state == AttemptState.ENDED


def test_looking_for_what_is_due_takes_one_query(
    api: FakeApi, submit: Submit, django_assert_num_queries: Callable[..., Any]
) -> None:
    have(UnconfirmedRule.RESEND)
    submit()
    lose(api)
    with django_assert_num_queries(1):
        decide_due()


def test_nothing_is_decided_while_its_connection_is_paused_and_for_a_while_after(job: Job) -> None:
    have(UnconfirmedRule.RESEND)
    lifecycle.pause(job.project.connection_id, "By hand.")
    assert decide_due() == 0
    lifecycle.resume(job.project.connection_id)
    due = the(job).rule_due_at
    assert due is not None
    assert due - timezone.now() > dt.timedelta(minutes=14)
    assert decide_due() == 0
    fall_due()
    assert decide_due() == 1


def test_nothing_is_decided_while_the_connection_it_would_go_to_is_paused(job: Job) -> None:
    have(UnconfirmedRule.RESEND)
    elsewhere = Connection.objects.create(
        name="elsewhere", is_practice=True, base_url="http://127.0.0.1:8/v1", key=Secret.of("sk-x")
    )
    Project.objects.update(connection=elsewhere)
    lifecycle.pause(elsewhere.pk, "By hand.")
    assert decide_due() == 0
    Connection.objects.update(paused_at=None)
    assert decide_due() == 1
    assert the(job, 2).connection == elsewhere


def test_an_event_that_nobody_has_read_yet_is_read_first(api: FakeApi, job: Job) -> None:
    have(UnconfirmedRule.LOST)
    connection_id = job.project.connection_id
    lifecycle.receive(connection_id, Announcement("wh_1", "response.completed", "resp_9", timezone.now()))
    Attempt.objects.update(rule_due_at=Now())
    api.responses["resp_9"] = Retryable("Away.", code="connect_error")
    lifecycle.run_pump("poll")
    assert decide_due() == 0
    # One that came later waits for its own turn.
    WebhookDelivery.objects.update(received_at=Now() + dt.timedelta(seconds=1))
    assert decide_due() == 1


def test_the_journal_of_a_machine_that_was_away_is_read_first(api: FakeApi, job: Job) -> None:
    have(UnconfirmedRule.RESEND)
    journal.write(the(job).nonce, "resp_7", "req_7")
    assert decide_due() == 0
    assert (the(job).response_id, job.status) == ("resp_7", Status.QUEUED)
    assert Event.objects.get(kind="adopted").note == "journal"


def elsewhere(job: Job, **machine: Any) -> None:
    """Have a job sent by another machine, whose journal is not here."""
    Attempt.objects.filter(job=job).update(instance="b", sent_at=Now() - dt.timedelta(minutes=17))
    Installation.objects.create(instance="b", host="b.example", version="1", **machine)


@contextmanager
def on_that_machine(settings: Settings) -> Iterator[None]:
    here, settings.INSTANCE = settings.INSTANCE, "b"
    yield
    settings.INSTANCE = here


def ago(**time: int) -> dt.datetime:
    return timezone.now() - dt.timedelta(**time)


def test_a_machine_that_is_cut_off_may_know_and_decides_itself_once_it_is_back(
    api: FakeApi, job: Job, settings: Settings
) -> None:
    have(UnconfirmedRule.RESEND)
    elsewhere(job, beat_at=ago(minutes=17))
    with on_that_machine(settings):
        journal.write(the(job).nonce, "resp_b", "req_b")
    assert decide_due() == 0
    with on_that_machine(settings):
        lifecycle.note_beat()
    assert decide_due() == 0, "it answers, and has not read its journal yet"
    with on_that_machine(settings):
        lifecycle.wake()
    assert (the(job).response_id, job.status) == ("resp_b", Status.QUEUED)
    assert decide_due() == 0
    assert len(api.posts) == 1


def test_a_machine_that_is_back_and_knows_nothing_decides_itself(job: Job, settings: Settings) -> None:
    have(UnconfirmedRule.RESEND)
    elsewhere(job, beat_at=ago(minutes=17))
    with on_that_machine(settings):
        assert decide_due() == 1
    assert the(job, 2).state == AttemptState.PLANNED


def forget(_: Job) -> None:
    Installation.objects.update(beat_at=ago(days=8))
    assert lifecycle.forget_silent() == 1


def delete(_: Job) -> None:
    Installation.objects.all().delete()


def stop_long_after_it_was_sent(_: Job) -> None:
    Installation.objects.update(stopped_at=ago(minutes=14))


@pytest.mark.parametrize("go", [forget, delete, stop_long_after_it_was_sent])
def test_about_what_a_machine_sent_that_is_gone_any_other_decides(
    job: Job, go: Callable[[Job], None]
) -> None:
    have(UnconfirmedRule.RESEND)
    elsewhere(job, beat_at=ago(minutes=17))
    assert decide_due() == 0
    go(job)
    assert decide_due() == 1


def test_a_machine_that_was_stopped_in_the_middle_of_a_send_may_know(job: Job) -> None:
    have(UnconfirmedRule.RESEND)
    elsewhere(job, stopped_at=ago(minutes=16))
    assert decide_due() == 0


def test_a_machine_that_is_stopped_tells_first_what_it_knows(job: Job) -> None:
    lifecycle.note_beat()
    journal.write(the(job).nonce, "resp_7", "req_7")
    farewell.note_stop()
    assert the(job).response_id == "resp_7"
    assert Installation.objects.get().stopped_at is not None


def test_of_many_it_decides_about_some_at_once(
    api: FakeApi, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(UnconfirmedRule.LOST)
    monkeypatch.setattr(ruling, "MOST_AT_ONCE", 2)
    for number in range(3):
        submit(prompt=f"Lemma {number}")
        lose(api)
    fall_due()
    assert [decide_due() for _ in range(3)] == [2, 1, 0]


def test_one_that_fails_keeps_no_other_from_its_turn(
    api: FakeApi, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(UnconfirmedRule.LOST)
    jobs = []
    for number in range(2):
        jobs.append(submit(prompt=f"Lemma {number}"))
        lose(api)
    fall_due()
    resolve = ruling.resolve

    def but_not_the_first(job_id: int, *args: Any, **more: Any) -> Job:
        if job_id == jobs[0].pk:
            raise ValueError("row 7")
        return resolve(job_id, *args, **more)

    monkeypatch.setattr(ruling, "resolve", but_not_the_first)
    assert decide_due() == 1
    assert [the(one).state for one in jobs] == ["unconfirmed", "ended"]
    due = the(jobs[0]).rule_due_at
    assert due is not None
    assert due > timezone.now(), "it is not the first for ever"


def test_a_database_that_is_away_is_not_a_jobs_fault(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    have(UnconfirmedRule.LOST)

    def fail(*_: Any, **__: Any) -> Job:
        raise OperationalError("gone")

    monkeypatch.setattr(ruling, "resolve", fail)
    with pytest.raises(OperationalError):
        decide_due()
    assert the(job).rule_due_at is not None


# What it leaves to people.


def no_room(job: Job) -> None:
    spend.set_cap(job.worst_case * Decimal("1.5"), project=job.project)


def no_cap(job: Job) -> None:
    BudgetPeriod.objects.all().delete()
    Budget.objects.all().delete()


def a_low_limit(job: Job) -> None:
    Project.objects.update(job_limit=job.worst_case / 2)


def no_prompt(job: Job) -> None:
    Prompt.objects.filter(job=job).delete()


@pytest.mark.parametrize(
    ("hinder", "why"),
    [
        (no_room, "has no room for a ceiling of"),
        (no_cap, "the project has no cap"),
        (a_low_limit, "limit per job"),
        (no_prompt, "What it asks is no longer stored."),
    ],
)
def test_what_cannot_be_sent_again_stays_unconfirmed_and_says_so_once(
    job: Job, hinder: Callable[[Job], None], why: str
) -> None:
    have(UnconfirmedRule.RESEND)
    hinder(job)
    held, version = spend.held_for(the(job)), job.version
    assert [decide_due() for _ in range(3)] == [0] * 3
    assert is_left_to_people(job)
    assert (Attempt.objects.count(), spend.held_for(the(job)), job.version) == (1, held, version + 1)
    event = Event.objects.get(kind="rule_refused")
    assert (event.note.startswith("Not sent again: "), why in event.note) == (True, True)
    assert why in Notice.objects.get(kind="rule_refused").message
    assert not Event.objects.filter(kind="decided_resend").exists()
    assert Refusal.objects.count() == (1 if hinder is no_room else 0)
    # A person still may.
    assert lifecycle.resolve(job.pk, Decision.LOST).status == Status.FAILED


@pytest.mark.parametrize("rule", RULES)
def test_a_job_of_an_archived_project_is_left_to_people(job: Job, rule: UnconfirmedRule) -> None:
    have(rule)
    Project.objects.update(archived_at=Now())
    assert decide_due() == 0
    assert Event.objects.get(kind="rule_refused").note == "The project is archived."
    assert is_left_to_people(job)


@pytest.mark.parametrize("rule", RULES)
def test_a_job_of_a_model_that_is_gone_is_left_to_people(job: Job, rule: UnconfirmedRule) -> None:
    have(rule)
    ModelSpec.objects.filter(pk=job.model_id).update(shutdown_date=dt.date(2020, 1, 1))
    assert decide_due() == 0
    assert Event.objects.get(kind="rule_refused").note == f"{job.model_id} is switched off."
    assert is_left_to_people(job)


@pytest.mark.parametrize("rule", RULES)
def test_what_someone_wants_stopped_is_not_sent_again(
    api: FakeApi, submit: Submit, rule: UnconfirmedRule
) -> None:
    have(rule)
    job = submit()
    api.while_sending = lambda: lifecycle.cancel(job.pk)
    lose(api)
    fall_due()
    assert decide_due() == (rule != UnconfirmedRule.RESEND)
    assert Attempt.objects.count() == 1
    assert is_left_to_people(job) == (rule == UnconfirmedRule.RESEND)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("is_by_rule", [True, False])
def test_what_is_unconfirmed_a_second_time_is_left_to_people(
    api: FakeApi, job: Job, rule: UnconfirmedRule, is_by_rule: bool
) -> None:
    if is_by_rule:
        have(UnconfirmedRule.RESEND)
        assert decide_due() == 1
    else:
        lifecycle.resolve(job.pk, Decision.RESEND)
    have(rule)
    lose(api)
    assert the(job, 2).state == AttemptState.UNCONFIRMED
    assert not Attempt.objects.filter(rule_due_at__isnull=False).exists()
    assert is_left_to_people(job)
    assert Attempt.objects.count() == 2


def test_a_send_that_was_given_a_wrong_id_is_left_to_people(api: FakeApi, job: Job) -> None:
    have(UnconfirmedRule.RESEND)
    adopt(the(job).pk, "resp_7", how="journal")
    api.put(job, "completed", metadata={"ponder_attempt": "00000000-0000-0000-0000-000000000000"})
    api.run("poll")
    assert is_left_to_people(job)


def test_a_first_doubt_about_a_second_attempt_is_a_rules(api: FakeApi, submit: Submit) -> None:
    have(UnconfirmedRule.RESEND)
    job = submit()
    api.run("send")
    api.put(job, "failed", error={"code": "server_error", "message": "Oh."})
    api.run("poll")
    lose(api)
    fall_due()
    assert decide_due() == 1
    assert the(job, 3).state == AttemptState.PLANNED


def test_in_a_copy_from_a_backup_no_rule_decides_about_what_its_original_knows(
    api: FakeApi, submit: Submit, job: Job
) -> None:
    have(UnconfirmedRule.RESEND)
    waiting, sending = submit(prompt="Lemma 1"), submit(prompt="Lemma 2")
    Attempt.objects.filter(job=sending).update(
        state=AttemptState.SENDING, sent_at=Now(), lease_expires_at=Now() - dt.timedelta(seconds=1)
    )
    Job.objects.filter(pk=sending.pk).update(status=Status.SENDING, next_action_at=None)
    lifecycle.hold_restored("yesterday")
    lifecycle.run_pump("send")  # the reaper's turn
    lifecycle.resume(job.project.connection_id)
    fall_due()
    assert decide_due() == 0
    for one in (job, waiting, sending):
        assert is_left_to_people(one)
