"""Decisions about a job of which nobody knows whether it was accepted, and sends that turn up afterwards."""

from decimal import Decimal

import pytest
from django.utils import timezone

from jobs import lifecycle, spend
from jobs.lifecycle import Decision, NotUnconfirmed
from jobs.lifecycle.adoption import adopt
from jobs.lifecycle.unconfirmed import NotAdoptable
from jobs.models import (
    Attempt,
    AttemptState,
    BudgetPeriod,
    Event,
    Job,
    LedgerEntry,
    Notice,
    Price,
    Refusal,
    Status,
    User,
)
from jobs.openai_client import OutcomeUnknown
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

LOST = OutcomeUnknown("The connection broke.", code="connection_lost")


@pytest.fixture
def job(api: FakeApi, submit: Submit) -> Job:
    """An unconfirmed job."""
    made = submit()
    api.replies.append(LOST)
    api.run("send")
    made.refresh_from_db()
    return made


def the(job: Job, number: int = 1) -> Attempt:
    job.refresh_from_db()
    return Attempt.objects.get(job=job, number=number)


def booked(job: Job) -> list[tuple[str, str, Decimal]]:
    rows = LedgerEntry.objects.filter(job=job).order_by("pk")[1:]
    return [(row.kind, row.basis, row.amount) for row in rows]


def test_an_unconfirmed_job_cannot_be_cancelled(job: Job) -> None:
    with pytest.raises(lifecycle.NotCancellable):
        lifecycle.cancel(job.pk)


def test_declared_lost_it_fails_and_gives_its_hold_back(job: Job, person: User) -> None:
    found = lifecycle.resolve(job.pk, Decision.LOST, by=person, reason="not on the bill")
    assert (found.status, found.error_code, found.next_action_at) == (Status.FAILED, "lost", None)
    assert booked(job) == [("release", "", -job.worst_case)]
    row = LedgerEntry.objects.latest("pk")
    assert (row.actor, row.reason) == (person, "declared lost: not on the bill")
    event = Event.objects.get(kind="decided_lost")
    assert (event.actor, event.note) == (person, "not on the bill")


def test_declared_paid_it_fails_with_its_ceiling_booked_and_an_alarm(job: Job, person: User) -> None:
    found = lifecycle.resolve(job.pk, Decision.PAID, by=person, reason="on the bill")
    assert (found.status, found.error_code) == (Status.FAILED, "assumed_paid")
    assert booked(job) == [("release", "", -job.worst_case), ("charge", "bound", job.worst_case)]
    assert Notice.objects.filter(kind="assumed_paid").exists()
    assert found.cost == job.worst_case


@pytest.mark.parametrize("decision", list(Decision))
def test_a_decision_is_made_once(job: Job, decision: Decision) -> None:
    lifecycle.resolve(job.pk, decision, response_id="resp_7")
    with pytest.raises(NotUnconfirmed):
        lifecycle.resolve(job.pk, decision, response_id="resp_8")


def test_lost_and_then_turned_up_it_is_charged_and_the_answer_taken(api: FakeApi, job: Job) -> None:
    lifecycle.resolve(job.pk, Decision.LOST)
    api.responses["resp_7"] = api.body("resp_7", "completed")
    assert adopt(the(job).pk, "resp_7", how="webhook")
    assert not adopt(the(job).pk, "resp_7", how="webhook")
    api.run("poll")
    assert (the(job).state, job.status, job.error_code) == (AttemptState.ENDED, Status.COMPLETED, "")
    assert booked(job) == [("release", "", -job.worst_case), ("charge", "usage", Decimal("0.022"))]
    assert job.answer.text == "The lemma is true."
    # Nothing was held for it any more.
    assert Notice.objects.filter(kind="overrun").count() == 1


def test_assumed_paid_and_then_turned_up_it_is_adjusted_to_its_usage(api: FakeApi, job: Job) -> None:
    lifecycle.resolve(job.pk, Decision.PAID)
    api.responses["resp_7"] = api.body("resp_7", "completed")
    adopt(the(job).pk, "resp_7", how="webhook")
    api.run("poll")
    job.refresh_from_db()
    assert (job.status, job.cost) == (Status.COMPLETED, Decimal("0.022"))
    assert booked(job)[-1] == ("adjust", "usage", Decimal("0.022") - job.worst_case)
    assert not Notice.objects.filter(kind="overrun").exists()


def test_lost_and_then_turned_up_failed_it_stays_lost_and_is_charged(api: FakeApi, job: Job) -> None:
    lifecycle.resolve(job.pk, Decision.LOST)
    api.responses["resp_7"] = api.body("resp_7", "failed", error={"code": "server_error", "message": "Oh."})
    adopt(the(job).pk, "resp_7", how="webhook")
    api.run("poll")
    job.refresh_from_db()
    assert (job.status, job.error_code, job.cost) == (Status.FAILED, "lost", Decimal("0.022"))
    assert Attempt.objects.count() == 1


def test_adopted_by_hand_it_goes_on(api: FakeApi, job: Job, person: User) -> None:
    found = lifecycle.resolve(job.pk, Decision.ADOPT, by=person, response_id="resp_7")
    assert (found.status, the(job).response_id) == (Status.QUEUED, "resp_7")
    assert found.deadline_at is not None
    assert found.error_code == ""
    assert Event.objects.get(kind="adopted").note == "by hand"
    assert BudgetPeriod.objects.get().held == job.worst_case


def test_a_response_that_names_another_attempt_is_neither_shown_nor_booked(api: FakeApi, job: Job) -> None:
    api.responses["resp_7"] = api.body(
        "resp_7", "completed", metadata={"ponder_attempt": "00000000-0000-0000-0000-000000000000"}
    )
    lifecycle.resolve(job.pk, Decision.ADOPT, response_id="resp_7")
    api.run("poll")
    job.refresh_from_db()
    assert (job.status, job.cost, the(job).state) == (Status.UNCONFIRMED, 0, AttemptState.UNCONFIRMED)
    assert not hasattr(job, "answer")
    assert BudgetPeriod.objects.get().held == job.worst_case


def test_an_id_that_cannot_be_its_own_is_not_adopted(api: FakeApi, submit: Submit, job: Job) -> None:
    other = submit()
    api.run("send")
    for response_id in ("", Attempt.objects.get(job=other).response_id):
        with pytest.raises(NotAdoptable):
            lifecycle.resolve(job.pk, Decision.ADOPT, response_id=response_id)
    assert the(job).state == AttemptState.UNCONFIRMED
    assert not Event.objects.filter(kind="decided_adopt").exists()


def test_a_resend_needs_a_second_hold(job: Job, person: User) -> None:
    spend.set_cap(job.worst_case * Decimal("1.5"), project=job.project)
    with pytest.raises(spend.BudgetRefused) as refused:
        lifecycle.resolve(job.pk, Decision.RESEND, by=person)
    assert refused.value.shortfall == job.worst_case / 2
    assert Refusal.objects.get().shortfall == job.worst_case / 2
    job.refresh_from_db()
    assert (job.status, Attempt.objects.count()) == (Status.UNCONFIRMED, 1)


def test_a_resend_overrules_an_earlier_cancel(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.while_sending = lambda: lifecycle.cancel(job.pk)
    api.replies.append(LOST)
    api.run("send")
    api.while_sending = lambda: None
    found = lifecycle.resolve(job.pk, Decision.RESEND)
    assert found.cancel_requested_at is None
    api.run("send")
    assert the(job, 2).state == AttemptState.KNOWN


def test_an_unconfirmed_cancel_is_asked_for_once_the_response_turns_up(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.while_sending = lambda: lifecycle.cancel(job.pk)
    api.replies.append(LOST)
    api.run("send")
    job.refresh_from_db()
    assert job.status == Status.UNCONFIRMED
    api.responses["resp_7"] = api.body("resp_7", "cancelled")
    lifecycle.resolve(job.pk, Decision.ADOPT, response_id="resp_7")
    api.run("poll")
    job.refresh_from_db()
    assert (api.cancels, job.status) == (["resp_7"], Status.CANCELLED)


def test_a_resend_without_a_price_today_keeps_its_own(job: Job) -> None:
    Price.objects.filter(model=job.model_id).update(valid_from=timezone.now().date().replace(year=2100))
    lifecycle.resolve(job.pk, Decision.RESEND)
    assert the(job, 2).price == the(job, 1).price


@pytest.mark.parametrize("decision", [Decision.LOST, Decision.PAID])
def test_of_two_unconfirmed_sends_each_is_decided_about(api: FakeApi, job: Job, decision: Decision) -> None:
    lifecycle.resolve(job.pk, Decision.RESEND)
    api.replies.append(LOST)
    api.run("send")
    first = lifecycle.resolve(job.pk, decision)
    assert (first.status, the(job, 2).state) == (Status.UNCONFIRMED, AttemptState.ENDED)
    assert BudgetPeriod.objects.get().held == job.worst_case
    second = lifecycle.resolve(job.pk, decision)
    assert (second.status, the(job, 1).state) == (Status.FAILED, AttemptState.ENDED)
    assert BudgetPeriod.objects.get().held == 0
