"""Decisions about a job of which nobody knows whether it was accepted, and sends that turn up afterwards."""

from decimal import Decimal

import pytest
from django.utils import timezone

from jobs import lifecycle, spend
from jobs.lifecycle import Decision, NotAdoptable, NotUnconfirmed, polling
from jobs.lifecycle.adoption import adopt
from jobs.models import (
    Attempt,
    AttemptState,
    BudgetPeriod,
    Connection,
    Event,
    Job,
    Kind,
    LedgerEntry,
    Notice,
    Price,
    Project,
    RawResponse,
    Refusal,
    Secret,
    Status,
    User,
)
from jobs.openai_client import NotFound, Outcome, OutcomeUnknown, Retryable
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


def naming(job: Job, number: int = 1) -> dict[str, str]:
    """The metadata that was sent."""
    return {"ponder_attempt": str(the(job, number).nonce)}


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


def test_a_response_given_by_hand_is_taken_once_it_names_this_send(
    api: FakeApi, job: Job, person: User
) -> None:
    lifecycle.resolve(job.pk, Decision.ADOPT, by=person, response_id="resp_7")
    assert the(job).is_unproven
    api.put(job, "in_progress", metadata=naming(job))
    api.run("poll")
    assert (the(job).is_unproven, job.status) == (False, Status.IN_PROGRESS)
    # From then on it is like any other.
    api.put(job, "completed")
    api.run("poll")
    job.refresh_from_db()
    assert (job.status, job.cost) == (Status.COMPLETED, Decimal("0.022"))


@pytest.mark.parametrize("word", ["queued", "completed"])
@pytest.mark.parametrize("metadata", [None, {}, {"ticket": "4711"}, "none"])
def test_a_response_given_by_hand_that_names_no_send_of_ours_is_refused(
    api: FakeApi, job: Job, word: str, metadata: object
) -> None:
    # Another system's in the same account: it would be shown to people it is not for, and booked to them.
    lifecycle.resolve(job.pk, Decision.ADOPT, response_id="resp_7")
    api.put(job, word, metadata=metadata)
    api.run("poll", "poll")
    attempt = the(job)
    assert (job.status, attempt.state, attempt.response_id) == ("unconfirmed", "unconfirmed", "")
    assert (job.cost, attempt.error_code) == (0, "not_its_own")
    assert "does not name this job" in attempt.error_message
    assert not hasattr(job, "answer")
    assert not RawResponse.objects.exists()
    assert BudgetPeriod.objects.get().held == job.worst_case
    assert api.gets == ["resp_7"]


@pytest.mark.parametrize(
    ("metadata", "is_taken"),
    [(None, True), ({}, True), ({"ticket": "4711"}, False), ({"ponder_attempt": "another"}, False)],
)
def test_a_compatible_server_that_keeps_no_metadata_is_taken_at_the_persons_word(
    api: FakeApi, job: Job, metadata: object, is_taken: bool
) -> None:
    Connection.objects.update(kind=Kind.COMPATIBLE)
    lifecycle.resolve(job.pk, Decision.ADOPT, response_id="resp_7")
    api.put(job, "completed", metadata=metadata)
    api.run("poll")
    job.refresh_from_db()
    assert (job.status == Status.COMPLETED) == is_taken


@pytest.mark.parametrize("metadata", [None, {}, {"ticket": "4711"}])
def test_a_response_whose_id_the_api_gave_need_not_name_its_send(
    api: FakeApi, job: Job, metadata: object
) -> None:
    adopt(the(job).pk, "resp_7", how="journal")
    api.put(job, "completed", metadata=metadata)
    api.run("poll")
    job.refresh_from_db()
    assert job.status == Status.COMPLETED


def test_a_response_that_names_another_send_is_refused_whoever_gave_its_id(api: FakeApi, job: Job) -> None:
    adopt(the(job).pk, "resp_7", how="journal")
    api.put(job, "completed", metadata={"ponder_attempt": "00000000-0000-0000-0000-000000000000"})
    api.run("poll")
    assert (the(job).state, job.status, job.cost) == ("unconfirmed", Status.UNCONFIRMED, 0)
    assert the(job).error_message == "The response with that id belongs to another job."


def test_a_late_answer_under_an_id_given_up_since_says_nothing(api: FakeApi, job: Job) -> None:
    lifecycle.resolve(job.pk, Decision.ADOPT, response_id="resp_7")
    api.make_due()
    (poll,) = polling.claim_polls(10)
    late = Outcome(poll, "retrieve", body=api.body("resp_7", "completed", metadata={}))
    polling.write_back([late], stretched=1)
    lifecycle.resolve(job.pk, Decision.ADOPT, response_id="resp_8")
    polling.write_back([late], stretched=1)
    assert (the(job).state, the(job).response_id, job.status) == ("known", "resp_8", Status.QUEUED)


def test_a_wrong_response_of_a_job_that_has_ended_meanwhile_leaves_no_hold_behind(
    api: FakeApi, job: Job
) -> None:
    lifecycle.resolve(job.pk, Decision.RESEND)
    api.replies.append(LOST)
    api.run("send")
    lifecycle.resolve(job.pk, Decision.ADOPT, response_id="resp_of_another")  # the second
    adopt(the(job).pk, "resp_first", how="webhook")
    api.responses["resp_first"] = api.body("resp_first", "completed")
    api.responses["resp_of_another"] = Retryable("Away.", code="connect_error")
    api.run("poll")
    assert (the(job, 2).state, job.status) == (AttemptState.KNOWN, Status.COMPLETED)
    api.responses["resp_of_another"] = api.body("resp_of_another", "completed")
    api.run("poll")
    assert (the(job, 2).state, the(job, 2).error_code) == (AttemptState.ENDED, "lost")
    assert (job.status, job.cost, job.next_action_at) == (Status.COMPLETED, Decimal("0.022"), None)
    assert BudgetPeriod.objects.get().held == 0


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


# Two sends of which nobody knows, and an id for one of them: the response says for which.


@pytest.fixture
def twice(api: FakeApi, job: Job) -> Job:
    """A job with two unconfirmed sends."""
    lifecycle.resolve(job.pk, Decision.RESEND)
    api.replies.append(LOST)
    api.run("send")
    return job


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("word", ["in_progress", "completed"])
def test_of_two_unconfirmed_sends_an_id_given_by_hand_finds_the_one_its_response_names(
    api: FakeApi, twice: Job, number: int, word: str
) -> None:
    lifecycle.resolve(twice.pk, Decision.ADOPT, response_id="resp_7")
    api.responses["resp_7"] = api.body("resp_7", word, metadata=naming(twice, number))
    api.run("poll", "poll")
    mine, other = the(twice, number), the(twice, 3 - number)
    is_over = word == "completed"
    assert (mine.response_id, mine.is_unproven, other.response_id) == ("resp_7", False, "")
    assert (mine.state, other.state) == (("ended", "ended") if is_over else ("known", "unconfirmed"))
    assert (twice.status, twice.cost) == (word, Decimal("0.022") if is_over else 0)
    assert BudgetPeriod.objects.get().held == (0 if is_over else 2 * twice.worst_case)
    assert not Notice.objects.filter(kind="disowned").exists()


def test_one_that_was_declared_lost_is_found_too(api: FakeApi, twice: Job) -> None:
    lifecycle.resolve(twice.pk, Decision.LOST)  # the second
    lifecycle.resolve(twice.pk, Decision.ADOPT, response_id="resp_7")
    api.responses["resp_7"] = api.body("resp_7", "completed", metadata=naming(twice, 2))
    api.run("poll", "poll")
    assert (the(twice, 2).response_id, the(twice).state, twice.status) == ("resp_7", "ended", "completed")
    assert (twice.cost, BudgetPeriod.objects.get().held) == (Decimal("0.022"), 0)


def test_one_that_has_a_response_already_takes_no_second(api: FakeApi, twice: Job) -> None:
    lifecycle.resolve(twice.pk, Decision.ADOPT, response_id="resp_7")
    adopt(the(twice).pk, "resp_first", how="webhook")
    api.responses["resp_first"] = api.body("resp_first", "in_progress")
    api.responses["resp_7"] = api.body("resp_7", "in_progress", metadata=naming(twice, 1))
    api.run("poll", "poll")
    assert (the(twice).response_id, the(twice, 2).state) == ("resp_first", AttemptState.UNCONFIRMED)
    assert Notice.objects.filter(kind="disowned").count() == 1


@pytest.mark.parametrize("is_there", [True, False])
def test_an_id_unknown_on_one_connection_is_looked_for_where_the_other_send_went(
    api: FakeApi, job: Job, is_there: bool
) -> None:
    elsewhere = Connection.objects.create(
        name="elsewhere", is_practice=True, base_url="http://127.0.0.1:8/v1", key=Secret.of("sk-x")
    )
    Project.objects.update(connection=elsewhere)
    lifecycle.resolve(job.pk, Decision.RESEND)
    api.replies.append(LOST)
    api.run("send")
    assert the(job, 2).connection == elsewhere
    lifecycle.resolve(job.pk, Decision.ADOPT, response_id="resp_7")
    missing = NotFound("No such response.", code="not_found")
    api.responses["resp_7"] = missing
    api.run(*["poll"] * 3)
    assert (the(job).response_id, the(job, 2).state) == ("resp_7", AttemptState.UNCONFIRMED)
    if is_there:
        api.responses["resp_7"] = api.body("resp_7", "completed", metadata=naming(job))
    api.run(*["poll"] * 3)
    assert (the(job).state, job.status) == (("ended", "completed") if is_there else ("unconfirmed",) * 2)
    assert len(api.gets) == (5 if is_there else 6)


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
    api.responses["resp_7"] = api.body("resp_7", "in_progress", metadata=naming(job))
    api.on_cancel["resp_7"] = api.body("resp_7", "cancelled", metadata=naming(job))
    lifecycle.resolve(job.pk, Decision.ADOPT, response_id="resp_7")
    api.run("poll")
    assert api.cancels == [], "it could still be anybody's"
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
