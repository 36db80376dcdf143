"""A copy from a backup: it neither sends nor asks beside its original, and sends nothing twice."""

import datetime as dt

import pytest
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.lifecycle import Decision, journal
from jobs.models import Alert, Attempt, AttemptState, Budget, Connection, Event, Job, Notice, Status
from jobs.views.words import paused_because
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]


def status(job: Job) -> str:
    job.refresh_from_db()
    return job.status


def test_a_held_copy_neither_sends_nor_asks(submit: Submit, api: FakeApi) -> None:
    sent = submit()
    api.run("send")
    waiting = submit()
    posts = len(api.posts)
    assert lifecycle.hold_restored("yesterday") == (1, 1)
    api.put(sent, "completed")
    lifecycle.cancel(sent.pk, by=sent.submitted_by)
    Job.objects.filter(pk=sent.pk).update(deadline_at=Now() - dt.timedelta(days=1))
    api.run("send", "poll")
    assert (len(api.posts), api.gets, api.cancels) == (posts, [], [])
    assert (status(sent), status(waiting)) == (Status.QUEUED, Status.UNCONFIRMED)
    found = Connection.objects.get()
    assert found.is_restored
    assert paused_because(found).startswith("this is a copy")


def test_time_that_nobody_waited_asks_for_no_cancel(submit: Submit, api: FakeApi) -> None:
    job = submit()
    api.run("send")
    lifecycle.hold_restored("yesterday")
    Job.objects.update(deadline_at=Now() - dt.timedelta(days=1))
    api.run("poll")
    job.refresh_from_db()
    assert job.cancel_requested_at is None
    assert not Event.objects.filter(kind="deadline").exists()


def test_once_resumed_it_goes_on_at_once(submit: Submit, api: FakeApi) -> None:
    job = submit()
    api.run("send")
    lifecycle.hold_restored("yesterday")
    api.run("poll")
    api.put(job, "completed")
    lifecycle.resume(Connection.objects.get().pk)
    lifecycle.run_pump("poll")
    assert status(job) == Status.COMPLETED


def test_what_waited_is_sent_again_only_when_someone_says_so(submit: Submit, api: FakeApi) -> None:
    job = submit()
    lifecycle.hold_restored("yesterday")
    attempt = Attempt.objects.get()
    assert (attempt.state, attempt.error_code) == (AttemptState.UNCONFIRMED, "restored")
    assert Notice.objects.filter(kind="restored").count() == 1
    lifecycle.resume(Connection.objects.get().pk)
    api.run("send")
    assert api.posts == []
    lifecycle.resolve(job.pk, Decision.RESEND)
    api.run("send")
    assert len(api.posts) == 1
    assert status(job) == Status.QUEUED


def test_what_the_journal_knows_was_sent_after_the_backup(submit: Submit, api: FakeApi) -> None:
    job = submit()
    lifecycle.hold_restored("yesterday")
    attempt = Attempt.objects.get()
    journal.write(attempt.nonce, "resp_later", "req_1")
    assert lifecycle.replay() == 1
    assert status(job) == Status.QUEUED


def test_a_pause_from_before_is_a_hold_too(submit: Submit) -> None:
    connection = submit().project.connection
    lifecycle.pause(connection.pk, "insufficient_quota: pay")
    assert lifecycle.hold_restored("yesterday")[0] == 1
    connection.refresh_from_db()
    assert connection.is_restored
    lifecycle.resume(connection.pk)
    connection.refresh_from_db()
    assert not connection.is_restored


def test_what_the_original_was_about_to_tell_is_not_told_again(submit: Submit) -> None:
    submit()
    budget = Budget.objects.latest("pk")
    Alert.objects.create(
        budget=budget, month="2026-11-01", threshold=50, measure="spent", amount=5, room=10, next_try_at=Now()
    )
    lifecycle.hold_restored("yesterday")
    assert not Alert.objects.due().exists()
    assert Alert.objects.values_list("mail", "chat").get() == ("none", "none")


def test_with_nothing_waiting_there_is_no_alarm(submit: Submit, api: FakeApi) -> None:
    submit()
    api.run("send")
    assert lifecycle.hold_restored("yesterday") == (1, 0)
    assert not Notice.objects.exists()
