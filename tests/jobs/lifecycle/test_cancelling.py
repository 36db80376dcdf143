"""Cancels: at once what was not sent, by asking upstream what was."""

import pytest

from jobs import lifecycle
from jobs.lifecycle import polling
from jobs.models import AttemptState, Event, Job, LedgerEntry, Status, User
from jobs.openai_client import Outcome
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]


def test_what_was_not_sent_is_cancelled_at_once_and_costs_nothing(submit: Submit, person: User) -> None:
    job = lifecycle.cancel(submit().pk, by=person)
    assert (job.status, job.cost, job.next_action_at) == (Status.CANCELLED, 0, None)
    assert job.finished_at is not None
    assert job.attempt_set.get().state == AttemptState.ENDED
    assert Event.objects.get(kind="cancelled").actor == person


def test_what_awaits_approval_is_cancelled_at_once(submit: Submit, person: User) -> None:
    job = submit()
    lifecycle.cancel(job.pk)
    Job.objects.update(status=Status.AWAITING_APPROVAL, cancel_requested_at=None)  # it holds nothing
    found = lifecycle.cancel(job.pk, by=person)
    assert found.status == Status.CANCELLED
    assert Event.objects.filter(kind="cancelled").last().actor == person  # type: ignore[union-attr]


def test_what_is_in_flight_is_asked_to_stop_at_the_next_poll(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.run("send")
    version = Job.objects.get().version
    found = lifecycle.cancel(job.pk)
    assert (found.status, found.is_cancelling) == (Status.QUEUED, True)
    assert found.version > version
    assert found.claim_token is None
    api.put(job, "cancelled", usage=None)
    lifecycle.run_pump("poll")
    found.refresh_from_db()
    assert (api.cancels, found.status) == (["resp_1"], Status.CANCELLED)


def test_a_cancel_is_asked_for_once(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.run("send")
    lifecycle.cancel(job.pk)
    with pytest.raises(lifecycle.NotCancellable):
        lifecycle.cancel(job.pk)


def test_what_has_ended_cannot_be_cancelled(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.run("send")
    api.put(job, "completed")
    api.run("poll")
    before = LedgerEntry.objects.count()
    with pytest.raises(lifecycle.NotCancellable):
        lifecycle.cancel(job.pk)
    assert LedgerEntry.objects.count() == before
    assert not Event.objects.filter(kind="cancel_requested").exists()


def test_a_poll_under_way_cannot_push_the_clock_of_a_cancel_back(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.run("send")
    api.make_due()
    (under_way,) = polling.claim_polls(1)
    lifecycle.cancel(job.pk)
    running = Outcome(under_way, "retrieve", body=api.body("resp_1", "in_progress"))
    polling.write_back([running], stretched=1)
    (found,) = polling.claim_polls(1)
    assert found.asks_cancel
