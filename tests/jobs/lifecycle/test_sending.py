"""What becomes of a POST: accepted, surely not, refused, or nobody knows."""

from decimal import Decimal

import pytest
from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.lifecycle import Decision, claiming, sending
from jobs.lifecycle.adoption import adopt
from jobs.models import (
    Attempt,
    AttemptState,
    BudgetPeriod,
    Connection,
    EntryKind,
    Event,
    Job,
    LedgerEntry,
    ModelSpec,
    Notice,
    Project,
    Secret,
    Status,
    User,
)
from jobs.openai_client import Blocked, Outcome, OutcomeUnknown, Rejected, Retryable
from o3site import farewell
from tests.factories import a_project
from tests.fake_api import FakeApi, age, message
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

AWAY = Retryable("The API could not be reached.", code="connect_error")
LOST = OutcomeUnknown("The connection broke.", code="connection_lost", request_id="req_9")


def the(job: Job, number: int = 1) -> Attempt:
    job.refresh_from_db()
    return Attempt.objects.get(job=job, number=number)


def held() -> Decimal:
    return BudgetPeriod.objects.get().held


def kinds(job: Job) -> list[str]:
    return list(Event.objects.filter(job=job).values_list("kind", flat=True))


def claim_one() -> sending.Send:
    (send,) = claiming.claim_sends(32)
    return send


def reaped() -> None:
    """Let the leases of all sends run out and the reaper pass."""
    Attempt.objects.filter(state=AttemptState.SENDING).update(lease_expires_at=Now())
    sending.reap()


def test_an_accepted_job_is_in_flight_and_polled_a_second_later(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.run("send")
    attempt = the(job)
    assert (job.status, attempt.state, attempt.response_id) == (Status.QUEUED, AttemptState.KNOWN, "resp_1")
    assert attempt.instance == settings.INSTANCE
    assert attempt.lease_expires_at is None
    assert job.claim_token is None
    assert job.next_action_at is not None
    assert 0 < (job.next_action_at - timezone.now()).total_seconds() <= 1
    assert job.deadline_at is not None
    assert kinds(job) == ["submitted", "accepted"]


def test_a_job_that_runs_at_once_says_so(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.replies.append(api.body("resp_1", "in_progress"))
    api.run("send")
    assert the(job).state == AttemptState.KNOWN
    assert job.status == Status.IN_PROGRESS


def test_the_attempt_is_sending_in_the_database_before_any_byte_leaves(api: FakeApi, submit: Submit) -> None:
    job = submit()
    seen: list[tuple[str, str]] = []
    api.while_sending = lambda: seen.append((the(job).state, job.status))
    api.run("send")
    assert seen == [("sending", "sending")]


def test_a_create_is_explicit_in_all_that_money_and_recovery_depend_on(api: FakeApi, submit: Submit) -> None:
    job = submit(
        instructions="Be brief.",
        schema_name="verdict",
        schema={"type": "object", "properties": {}, "required": [], "additionalProperties": False},
        mode="pro",
    )
    api.run("send")
    assert api.posts == [
        {
            "model": "gpt-6-sol",
            "input": [{"role": "user", "content": job.prompt.text}],
            "instructions": "Be brief.",
            "reasoning": {"effort": "low", "mode": "pro"},
            "max_output_tokens": 20_000,
            "background": True,
            "store": True,
            "service_tier": "default",
            "metadata": {"ponder_job": str(job.uuid), "ponder_attempt": str(the(job).nonce)},
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "verdict",
                    "schema": job.prompt.schema,
                    "strict": True,
                }
            },
        }
    ]


def test_the_exact_count_gives_back_what_was_held_for_input_that_is_not_there(
    api: FakeApi, submit: Submit
) -> None:
    job = submit()
    api.input_tokens = 40
    api.run("send")
    release = LedgerEntry.objects.get(kind=EntryKind.RELEASE)
    assert the(job).input_tokens == 40
    assert release.reason == "input counted: 40 tokens"
    assert held() == job.worst_case + release.amount
    assert release.amount < 0


@pytest.mark.parametrize(
    ("tokens", "mode"),
    [
        pytest.param(None, "standard", id="it could not be counted"),
        pytest.param(10_000, "standard", id="the count is above the bound"),
        pytest.param(40, "pro", id="a pro mode reads it more than once"),
    ],
)
def test_a_count_that_bounds_nothing_gives_nothing_back(
    api: FakeApi, submit: Submit, tokens: int | None, mode: str
) -> None:
    job = submit(mode=mode)
    api.input_tokens = tokens
    api.run("send")
    assert held() == job.worst_case


def test_what_was_surely_not_accepted_waits_and_is_sent_again(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.replies.append(AWAY)
    api.run("send")
    attempt = the(job)
    assert (job.status, attempt.state, attempt.tries) == (Status.WAITING, AttemptState.PLANNED, 1)
    assert (attempt.error_code, attempt.sent_at) == ("connect_error", None)
    assert held() == job.worst_case
    api.run("send")
    assert the(job).state == AttemptState.KNOWN
    assert len(api.posts) == 2
    assert kinds(job) == ["submitted", "put_off", "accepted"]


def test_the_back_off_is_full_jitter_that_doubles_up_to_two_minutes(
    api: FakeApi, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def uniform(low: float, high: float) -> float:
        asked.append(high)
        assert low == 0
        return high

    monkeypatch.setattr(sending.random, "uniform", uniform)
    job = submit()
    for _ in range(8):
        api.replies.append(AWAY)
        api.run("send")
    assert asked == [2, 4, 8, 16, 32, 64, 120, 120]
    job.refresh_from_db()
    assert job.next_action_at is not None
    assert 118 < (job.next_action_at - timezone.now()).total_seconds() <= 120


def test_retry_after_holds_the_whole_connection_back(api: FakeApi, submit: Submit) -> None:
    first, second = submit(), submit(prompt="And lemma 4.8?")
    api.replies.append(Retryable("Slow down.", code="rate_limit_exceeded", retry_after=30))
    Job.objects.filter(pk=second.pk).update(next_action_at=None)
    api.run("send")
    first.refresh_from_db()
    assert first.next_action_at is not None
    assert 29 < (first.next_action_at - timezone.now()).total_seconds() < 33
    Job.objects.update(next_action_at=Now())
    lifecycle.run_pump("send")
    assert len(api.posts) == 1
    Connection.objects.update(not_before=Now())
    lifecycle.run_pump("send")
    assert len(api.posts) == 3


def test_a_blocked_connection_pauses_once_with_its_reason_and_its_jobs_wait(
    api: FakeApi, submit: Submit
) -> None:
    jobs = [submit(), submit()]
    api.replies.extend([Blocked("Wrong key.", code="invalid_api_key")] * 2)
    api.run("send")
    connection = Connection.objects.get()
    assert connection.paused_at is not None
    assert connection.paused_reason == "invalid_api_key: Wrong key."
    assert connection.paused_by is None
    assert [the(job).state for job in jobs] == [AttemptState.PLANNED] * 2
    assert Notice.objects.filter(kind="connection_paused").count() == 1
    assert held() == sum(job.worst_case for job in jobs)

    api.run("send")
    assert len(api.posts) == 2, "nothing is sent through a paused connection"
    assert lifecycle.resume(connection.pk)
    assert not lifecycle.resume(connection.pk)
    api.run("send")
    assert [the(job).state for job in jobs] == [AttemptState.KNOWN] * 2


@pytest.mark.parametrize(
    ("key", "code"),
    [(Secret(""), "no_key"), (Secret("gAAAA-of-another-key"), "key_unreadable")],
    ids=["no key", "a key that does not decrypt"],
)
def test_a_connection_without_a_usable_key_pauses_before_anything_is_sent(
    api: FakeApi, submit: Submit, key: Secret, code: str
) -> None:
    job = submit()
    Connection.objects.update(key=key)
    api.run("send")
    assert api.posts == []
    assert Connection.objects.get().paused_reason.startswith(f"{code}: ")
    assert the(job).state == AttemptState.PLANNED


def test_a_rejected_job_fails_and_costs_nothing(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.replies.append(Rejected("No such model.", code="model_not_found", request_id="req_7"))
    api.run("send")
    attempt = the(job)
    assert (job.status, job.error_code) == (Status.FAILED, "model_not_found")
    assert (attempt.state, attempt.error_message, attempt.request_id) == ("ended", "No such model.", "req_7")
    assert list(LedgerEntry.objects.values_list("kind", flat=True)) == ["hold", "release"]
    assert held() == 0
    assert job.finished_at is not None
    assert job.next_action_at is None
    assert kinds(job) == ["submitted", "rejected"]


def test_an_ambiguous_send_is_quarantined_with_its_hold(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.replies.append(LOST)
    api.run("send", "send", "poll")
    attempt = the(job)
    assert (job.status, job.error_code) == (Status.UNCONFIRMED, "connection_lost")
    assert (attempt.state, attempt.request_id) == (AttemptState.UNCONFIRMED, "req_9")
    assert held() == job.worst_case
    assert len(api.posts) == 1
    assert Notice.objects.get().kind == "unconfirmed"


def test_a_server_that_repeats_its_ids_proves_nothing_with_one(api: FakeApi, submit: Submit) -> None:
    first, second = submit(), submit()
    api.replies.extend([api.body("resp_same"), api.body("resp_same")])
    api.run("send")
    assert sorted([the(first).state, the(second).state]) == ["known", "unconfirmed"]
    assert Attempt.objects.get(state="unconfirmed").error_code == "id_repeated"
    assert lifecycle.replay() == 0


def test_no_more_are_in_flight_than_a_connection_allows(api: FakeApi, submit: Submit) -> None:
    for _ in range(3):
        submit()
    Connection.objects.update(max_in_flight=2)
    api.run("send", "send")
    assert len(api.posts) == 2
    api.put(Job.objects.filter(status=Status.QUEUED)[0], "completed")
    api.run("poll", "send")
    assert len(api.posts) == 3


def test_a_busy_connection_does_not_keep_another_from_sending(
    api: FakeApi, submit: Submit, person: User, project: Project
) -> None:
    submit()
    Connection.objects.update(max_in_flight=0)
    other = a_project("other", is_practice=False, members={person: Role.MANAGER})
    job = submit(to=other)
    api.run("send")
    assert the(job).state == AttemptState.KNOWN
    assert len(api.posts) == 1


def test_a_claim_takes_no_more_than_it_has_room_for(submit: Submit, person: User, project: Project) -> None:
    other = a_project("other", is_practice=False, members={person: Role.MANAGER})
    submit()
    submit(to=other)
    assert len(claiming.claim_sends(1)) == 1
    assert claiming.claim_sends(0) == []
    assert len(claiming.claim_sends(5)) == 1


def test_nothing_is_sent_that_is_not_held_at_todays_price(api: FakeApi, submit: Submit) -> None:
    job = submit()
    spec = ModelSpec.objects.get(pk=job.model_id)
    dearer = spec.price_set.create(valid_from=timezone.now().date(), input=20, output=100, source="test")
    assert claiming.claim_sends(64) == []
    api.run("send")
    sent = the(job, 2)
    assert (sent.state, sent.price, len(api.posts)) == (AttemptState.KNOWN, dearer, 1)
    assert held() == sent.worst_case > 9 * the(job, 1).worst_case


def test_cancelled_while_its_post_is_refused_it_is_not_sent_again(
    api: FakeApi, submit: Submit, person: User
) -> None:
    job = submit()
    api.while_sending = lambda: lifecycle.cancel(job.pk, by=person)
    api.replies.append(AWAY)
    api.run("send", "send")
    assert the(job).state == AttemptState.ENDED
    assert (job.status, job.error_code, job.cost) == (Status.CANCELLED, "", 0)
    assert held() == 0
    assert len(api.posts) == 1
    event = Event.objects.get(job=job, kind="cancelled")
    assert event.actor == person


# The lease ran out, the reaper passed, and then the answer came.


def test_a_late_acceptance_adopts(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.journals = False
    api.while_sending = reaped
    api.run("send")
    assert (the(job).response_id, the(job).state) == ("resp_1", AttemptState.KNOWN)
    assert job.status == Status.QUEUED
    assert job.deadline_at is not None
    assert job.error_code == ""
    assert kinds(job) == ["submitted", "unconfirmed", "adopted"]


def test_a_late_refusal_that_surely_was_not_accepted_waits_again(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.while_sending = reaped
    api.replies.append(AWAY)
    api.run("send")
    assert the(job).state == AttemptState.PLANNED
    assert job.status == Status.WAITING


def test_a_late_rejection_fails_the_unconfirmed_job(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.while_sending = reaped
    api.replies.append(Rejected("No.", code="invalid_value"))
    api.run("send")
    assert the(job).state == AttemptState.ENDED
    assert (job.status, held()) == (Status.FAILED, 0)


def test_a_late_rejection_of_what_was_declared_lost_changes_nothing(api: FakeApi, submit: Submit) -> None:
    job = submit()

    def meanwhile() -> None:
        reaped()
        lifecycle.resolve(job.pk, Decision.LOST)

    api.while_sending = meanwhile
    api.replies.append(Rejected("No.", code="invalid_value"))
    api.run("send")
    assert (the(job).error_code, job.error_code) == ("lost", "lost")
    assert kinds(job)[-1] == "decided_lost"


def test_a_late_ambiguous_answer_changes_nothing(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.while_sending = reaped
    api.replies.append(LOST)
    api.run("send")
    assert (the(job).state, the(job).error_code) == (AttemptState.UNCONFIRMED, "interrupted")
    assert job.status == Status.UNCONFIRMED


def test_a_late_refusal_after_a_cancel_request_cancels(api: FakeApi, submit: Submit) -> None:
    job = submit()

    def meanwhile() -> None:
        lifecycle.cancel(job.pk)
        reaped()

    api.while_sending = meanwhile
    api.replies.append(AWAY)
    api.run("send", "send")
    assert the(job).state == AttemptState.ENDED
    assert job.status == Status.CANCELLED
    assert len(api.posts) == 1


# Two sends of one job: the first one was unconfirmed, a person sent it again.


def test_a_resend_holds_twice(resent: Job) -> None:
    assert resent.status == Status.WAITING
    assert held() == 2 * resent.worst_case


def test_of_a_resend_and_its_twin_both_are_charged_and_the_first_answer_stays(
    api: FakeApi, resent: Job
) -> None:
    api.while_sending = lambda: adopt_first(resent)
    api.run("send")
    assert [the(resent, number).state for number in (1, 2)] == [AttemptState.KNOWN] * 2
    api.put(resent, "completed", number=1, output=[message("first")])
    api.put(resent, "completed", number=2, output=[message("second")])
    api.run("poll", "poll")
    assert LedgerEntry.objects.filter(kind=EntryKind.CHARGE).count() == 2
    assert (resent_status(resent), held()) == (Status.COMPLETED, 0)
    assert resent.cost == 2 * the(resent, 1).cost > 0
    assert resent.answer.text == "first"


def test_a_job_whose_first_send_turned_up_fails_only_when_both_have(api: FakeApi, resent: Job) -> None:
    api.while_sending = lambda: adopt_first(resent)
    api.run("send")
    # One that brought no answer does not end the job while the other may, nor is it worth a third send.
    api.put(resent, "failed", number=1, error={"code": "server_error", "message": "Oh."})
    api.put(resent, "in_progress", number=2)
    api.run("poll", "poll")
    assert resent_status(resent) == Status.IN_PROGRESS
    assert kinds(resent)[-2:] == ["failed", "in_progress"]
    api.put(resent, "completed", number=2)
    api.run("poll")
    assert resent_status(resent) == Status.COMPLETED
    assert Attempt.objects.count() == 2


def test_a_cancelled_twin_is_mentioned_once_while_the_other_runs(api: FakeApi, resent: Job) -> None:
    api.while_sending = lambda: adopt_first(resent)
    api.run("send")
    api.put(resent, "cancelled", number=1)
    api.put(resent, "queued", number=2)
    api.run("poll", "poll")
    assert kinds(resent).count("cancelled") == 1
    assert resent_status(resent) == Status.QUEUED


@pytest.mark.parametrize(
    ("reply", "state", "code"),
    [
        pytest.param(AWAY, "ended", "connect_error", id="surely not accepted: given back, not sent again"),
        pytest.param(Rejected("No.", code="x"), "ended", "x", id="rejected: given back, the job goes on"),
        pytest.param(LOST, "unconfirmed", "connection_lost", id="nobody knows: the hold stays"),
    ],
)
def test_a_second_send_that_fails_leaves_the_job_to_the_first_that_turned_up(
    api: FakeApi, resent: Job, reply: Retryable, state: str, code: str
) -> None:
    api.while_sending = lambda: adopt_first(resent)
    api.replies.append(reply)
    api.run("send")
    second = the(resent, 2)
    assert (second.state, second.error_code) == (state, code)
    assert resent.status == Status.QUEUED
    assert held() == resent.worst_case * (2 if state == "unconfirmed" else 1)
    api.put(resent, "completed", number=1)
    api.run("poll")
    assert (resent_status(resent), held()) == (Status.COMPLETED, 0)


def test_a_wrong_response_given_up_again_leaves_the_job_to_its_other_send(api: FakeApi, resent: Job) -> None:
    api.replies.append(LOST)
    api.run("send")
    lifecycle.resolve(resent.pk, Decision.ADOPT, response_id="resp_of_another")
    adopt_first(resent)
    api.responses["resp_of_another"] = api.body(
        "resp_of_another", "completed", metadata={"ponder_attempt": "of another"}
    )
    api.responses["resp_first"] = api.body("resp_first", "in_progress")
    api.run("poll", "poll")
    assert (the(resent, 2).state, the(resent, 2).response_id) == (AttemptState.UNCONFIRMED, "")
    assert resent.status == Status.IN_PROGRESS
    api.responses["resp_first"] = api.body("resp_first", "completed")
    api.run("poll")
    assert (resent_status(resent), the(resent, 2).state, held()) == (Status.COMPLETED, AttemptState.ENDED, 0)


def test_both_sends_of_a_job_may_get_stuck(api: FakeApi, resent: Job) -> None:
    api.while_sending = lambda: adopt_first(resent)
    api.run("send")
    api.put(resent, "in_progress", number=1)
    age(resent, hours=49)
    api.run("poll", "poll", "poll")
    assert (resent_status(resent), resent.error_code) == (Status.FAILED, "stuck")
    assert Notice.objects.filter(kind="stuck").count() == 2
    assert (resent.cost, held()) == (2 * resent.worst_case, 0)


def test_a_second_send_interrupted_after_the_first_turned_up_is_reaped(api: FakeApi, resent: Job) -> None:
    claiming.claim_sends(1)
    adopt_first(resent)
    age(resent, minutes=2)
    assert sending.reap() == 1
    assert sending.reap() == 0
    assert (the(resent, 2).state, resent.status) == (AttemptState.UNCONFIRMED, Status.QUEUED)
    api.responses["resp_first"] = api.body("resp_first", "completed")
    api.run("poll")
    assert (the(resent, 2).state, the(resent, 2).error_code) == (AttemptState.ENDED, "lost")
    assert (resent_status(resent), held()) == (Status.COMPLETED, 0)


def test_a_second_send_of_which_nobody_knows_holds_nothing_once_the_job_has_ended(
    api: FakeApi, resent: Job
) -> None:
    send = claim_one()
    adopt_first(resent)
    api.responses["resp_first"] = api.body("resp_first", "completed")
    api.run("poll")
    assert the(resent, 2).state == AttemptState.SENDING
    assert held() == resent.worst_case
    sending.write_back(Outcome(send, "create", error=LOST))
    assert (the(resent, 2).state, the(resent, 2).error_code, held()) == ("ended", "lost", 0)


def test_a_first_send_surely_not_accepted_after_all_ends_alone(api: FakeApi, submit: Submit) -> None:
    job = submit()
    send = claim_one()
    reaped()
    lifecycle.resolve(job.pk, Decision.RESEND)
    sending.write_back(Outcome(send, "create", error=AWAY))
    assert [the(job, number).state for number in (1, 2)] == [AttemptState.ENDED, AttemptState.PLANNED]
    assert (job.status, held()) == (Status.WAITING, job.worst_case)
    assert kinds(job)[-1] == "not_accepted"


def test_a_second_send_rejected_leaves_the_first_unconfirmed(api: FakeApi, resent: Job) -> None:
    api.replies.append(Rejected("No.", code="x"))
    api.run("send")
    assert [the(resent, number).state for number in (1, 2)] == [AttemptState.UNCONFIRMED, AttemptState.ENDED]
    assert (resent.status, held()) == (Status.UNCONFIRMED, resent.worst_case)


def test_a_resend_drops_out_when_the_first_send_turns_up_before_it_leaves(api: FakeApi, resent: Job) -> None:
    adopt_first(resent)
    assert [the(resent, number).state for number in (1, 2)] == [AttemptState.KNOWN, AttemptState.ENDED]
    assert held() == resent.worst_case
    api.run("send")
    assert len(api.posts) == 1
    # Its number is taken: another attempt after a failure is the third.
    api.responses["resp_first"] = api.body(
        "resp_first", "failed", error={"code": "server_error", "message": "Oh."}
    )
    api.run("poll")
    assert the(resent, 3).state == AttemptState.PLANNED


def test_a_resend_is_bounded_and_charged_at_the_price_of_its_own_day(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.replies.append(LOST)
    api.run("send")
    spec = ModelSpec.objects.get(pk=job.model_id)
    old = the(job).price
    dearer = spec.price_set.create(valid_from=timezone.now().date(), input=20, output=100, source="test")
    lifecycle.resolve(job.pk, Decision.RESEND)
    assert (the(job, 1).price, the(job, 2).price) == (old, dearer)
    assert the(job, 2).worst_case > 9 * job.worst_case
    assert spend.held_for(the(job, 2)) == the(job, 2).worst_case


def adopt_first(job: Job) -> None:
    assert adopt(the(job, 1).pk, "resp_first", how="webhook")


def resent_status(job: Job) -> str:
    job.refresh_from_db()
    return job.status


def test_sends_in_progress_are_those_of_this_installation_with_a_lease(submit: Submit) -> None:
    submit()
    assert farewell.sends_in_progress() == 0
    claiming.claim_sends(1)
    assert farewell.sends_in_progress() == 1
    Attempt.objects.update(instance="another")
    assert farewell.sends_in_progress() == 0
    Attempt.objects.update(instance=settings.INSTANCE, lease_expires_at=Now())
    assert farewell.sends_in_progress() == 0


def test_a_live_lease_is_not_reaped(submit: Submit) -> None:
    job = submit()
    claiming.claim_sends(1)
    assert sending.reap() == 0
    assert the(job).state == AttemptState.SENDING
