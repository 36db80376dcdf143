"""Slots: whose jobs are sent first, how many at once, and no more to an API that leaves us in doubt."""

import datetime as dt
from collections import Counter
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from django.utils import timezone

from jobs import lifecycle
from jobs.access import Role
from jobs.lifecycle import claiming, sending
from jobs.lifecycle.connections import hold_back
from jobs.models import Attempt, AttemptState, Connection, Event, Job, Notice, Project, Status, User
from jobs.openai_client import NotSent, Outcome, OutcomeUnknown, Rejected, Retryable
from tests.factories import a_project
from tests.fake_api import FakeApi, age
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

AWAY = Retryable("The API could not be reached.", code="connect_error")
LOST = OutcomeUnknown("The connection broke.", code="connection_lost", request_id="req_9")


def the(job: Job) -> Attempt:
    return Attempt.objects.get(job=job)


@pytest.fixture
def other(person: User, project: Project) -> Project:
    """A project on another connection, which was made later."""
    return a_project("other", is_practice=False, members={person: Role.MANAGER})


def test_a_connection_gets_no_more_slots_than_it_leaves_free(
    api: FakeApi, submit: Submit, project: Project, other: Project
) -> None:
    for to in (project, other):
        submit(to=to)
    api.run("send")
    for to in [project] * 9 + [other] * 9:
        submit(to=to)
    ours, theirs = project.connection_id, other.connection_id
    first = claiming.claim_sends(8)
    assert Counter(send.connection_id for send in first) == {ours: 4, theirs: 2}
    busy = {ours: 4, theirs: 2}
    assert claiming.claim_sends(2, busy) == [], "what is left is for a third"
    assert len(claiming.claim_sends(4, {ours: 4})) == 2
    assert Counter(send.connection_id for send in claiming.claim_sends(64, {})) == {ours: 5, theirs: 5}


def test_the_one_that_holds_least_comes_first_and_then_who_has_waited_longest(
    submit: Submit, project: Project, other: Project
) -> None:
    for to in (project, other, project, other):
        submit(to=to)
    theirs = Job.objects.filter(project=other)
    theirs.update(next_action_at=Now() - dt.timedelta(minutes=5))
    assert [send.connection_id for send in claiming.claim_sends(1)] == [other.connection_id]
    busy = {other.connection_id: 1}
    assert [send.connection_id for send in claiming.claim_sends(1, busy)] == [project.connection_id]


@pytest.mark.parametrize("failing", [1, 0], ids=["the second", "the first"])
def test_what_is_claimed_is_sent_though_the_claim_for_another_connection_fails(
    api: FakeApi,
    submit: Submit,
    project: Project,
    other: Project,
    monkeypatch: pytest.MonkeyPatch,
    failing: int,
) -> None:
    jobs = [submit(), submit(to=other)]
    broken = [project, other][failing].connection_id
    real = claiming._claim_on

    def claim_on(connection_id: int, room: int, under_way: int) -> Any:
        if connection_id == broken:
            raise OperationalError("deadlock detected")
        return real(connection_id, room, under_way)

    monkeypatch.setattr(claiming, "_claim_on", claim_on)
    if failing:
        assert [send.job_id for send in claiming.claim_sends(64)] == [jobs[0].pk]
    else:
        with pytest.raises(OperationalError):
            claiming.claim_sends(64)
        assert the(jobs[1]).state == AttemptState.PLANNED


def test_five_sends_in_a_row_that_nobody_knows_about_pause_their_connection(
    api: FakeApi, submit: Submit, other: Project
) -> None:
    jobs = [submit() for _ in range(5)]
    api.replies.extend([LOST] * 5)
    api.run("send")
    connection = Connection.objects.get(name="practice")
    assert connection.paused_at is not None
    assert connection.paused_reason == (
        "outcomes_unknown: Of 5 sends in a row nobody knows whether they were accepted. "
        "connection_lost: The connection broke."
    )
    assert Notice.objects.filter(kind="connection_paused").count() == 1
    assert {the(job).state for job in jobs} == {AttemptState.UNCONFIRMED}
    jobs = [submit(), submit(to=other)]
    api.run("send")
    assert [the(job).state for job in jobs] == [AttemptState.PLANNED, AttemptState.KNOWN]
    # Whoever resumes it has looked: it begins anew.
    lifecycle.resume(connection.pk)
    api.replies.append(LOST)
    api.run("send")
    connection.refresh_from_db()
    assert (connection.paused_at, connection.unknown_in_a_row) == (None, 1)


@pytest.mark.parametrize(
    ("reply", "is_paused"),
    [
        pytest.param(None, False, id="accepted"),
        pytest.param(AWAY, True, id="away"),
        pytest.param(Rejected("No.", code="invalid_value"), True, id="rejected"),
    ],
)
def test_only_an_acceptance_ends_the_row(
    api: FakeApi, submit: Submit, reply: Retryable | Rejected | None, is_paused: bool
) -> None:
    for answer in (LOST, LOST, LOST, LOST, reply, LOST):
        submit()
        api.replies.append(api.body(f"resp_{len(api.posts)}x") if answer is None else answer)
        api.run("send")
        Job.objects.filter(status=Status.WAITING).update(next_action_at=Now() + dt.timedelta(hours=1))
    assert (Connection.objects.get().paused_at is not None) == is_paused


def test_a_server_that_repeats_its_ids_is_paused_too(api: FakeApi, submit: Submit) -> None:
    for _ in range(6):
        submit()
    api.replies.extend([api.body("resp_same")] * 6)
    api.run("send")
    assert Counter(the(job).state for job in Job.objects.all()) == {"known": 1, "unconfirmed": 5}
    assert Connection.objects.get().paused_reason.startswith("outcomes_unknown: ")


def test_a_connection_in_doubt_has_no_more_on_the_wire_than_it_would_be_paused_for(
    api: FakeApi, submit: Submit
) -> None:
    for _ in range(6):
        submit()
    Connection.objects.update(unknown_in_a_row=2)
    first, second, third = claiming.claim_sends(64)
    assert claiming.claim_sends(64) == []
    sending.write_back(Outcome(first, "create", error=LOST))
    assert claiming.claim_sends(64) == []
    sending.write_back(Outcome(second, "create", body=api.body("resp_2")))
    assert Connection.objects.get().unknown_in_a_row == 0
    assert len(claiming.claim_sends(64)) == 3
    sending.write_back(Outcome(third, "create", body=api.body("resp_3")))


# A burst to an API that is dead: nobody knows that before something was sent.


def test_of_a_first_burst_no_more_are_sent_than_find_out_whether_anything_is_accepted(
    api: FakeApi, submit: Submit
) -> None:
    jobs = [submit() for _ in range(9)]
    api.replies.extend([LOST] * 9)
    api.run("send", "send")
    assert Counter(the(job).state for job in jobs) == {"unconfirmed": 5, "planned": 4}
    assert Connection.objects.get().paused_reason.startswith("outcomes_unknown: ")


def test_the_first_acceptance_lets_the_rest_of_a_burst_go(submit: Submit, api: FakeApi) -> None:
    for _ in range(9):
        submit()
    first = claiming.claim_sends(64)
    assert (len(first), claiming.claim_sends(64)) == (5, [])
    sending.write_back(Outcome(first[0], "create", body=api.body("resp_1")))
    assert len(claiming.claim_sends(64)) == 4


def test_what_was_accepted_long_ago_says_nothing_about_now(api: FakeApi, submit: Submit) -> None:
    submit()
    api.run("send")
    for _ in range(9):
        submit()
    Connection.objects.update(accepted_at=Now() - dt.timedelta(seconds=59))
    assert len(claiming.claim_sends(6)) == 3, "half of the room"
    Connection.objects.update(accepted_at=Now() - dt.timedelta(seconds=61))
    assert len(claiming.claim_sends(64)) == 2


def test_a_send_that_was_accepted_and_is_over_counts_as_accepted(api: FakeApi, submit: Submit) -> None:
    quick = submit()
    api.run("send")
    api.put(quick, "completed")
    api.run("poll")
    for _ in range(9):
        submit()
    assert len(claiming.claim_sends(64)) == 9


def test_a_send_that_took_a_minute_to_be_accepted_counts_from_then(api: FakeApi, submit: Submit) -> None:
    slow = submit()
    (send,) = claiming.claim_sends(64)
    age(slow, seconds=61)
    sending.write_back(Outcome(send, "create", body=api.body("resp_1")))
    for _ in range(9):
        submit()
    assert len(claiming.claim_sends(64)) == 9


@pytest.mark.parametrize(("seconds", "unknown", "is_noted"), [(9, 0, False), (11, 0, True), (9, 1, True)])
def test_acceptances_in_quick_succession_are_noted_once(
    api: FakeApi, submit: Submit, seconds: int, unknown: int, is_noted: bool
) -> None:
    submit()
    before = timezone.now() - dt.timedelta(seconds=seconds)
    Connection.objects.update(accepted_at=before, unknown_in_a_row=unknown)
    api.run("send")
    connection = Connection.objects.get()
    assert (connection.accepted_at != before) == is_noted
    assert connection.unknown_in_a_row == 0


def test_another_address_has_accepted_nothing_yet(api: FakeApi, submit: Submit) -> None:
    submit()
    api.run("send")
    connection = Connection.objects.get()
    assert connection.accepted_at is not None
    connection.base_url = "https://elsewhere.example/v1"
    connection.save()
    assert Connection.objects.get().accepted_at is None


def test_what_a_stop_gives_back_goes_out_again_at_once_and_is_nobodys_refusal(submit: Submit) -> None:
    job = submit()
    (send,) = claiming.claim_sends(64)
    error = NotSent("Nothing was sent.", code="not_sent")
    sending.write_back(Outcome(send, "create", error=error))
    assert Connection.objects.get().not_before is None
    assert (the(job).state, the(job).tries, the(job).error_code) == (AttemptState.PLANNED, 0, "")
    assert Event.objects.latest("pk").kind == "not_sent"
    assert [again.job_id for again in claiming.claim_sends(64)] == [job.pk]


def test_a_burst_that_reaches_nobody_rests_and_then_goes_out_whole(api: FakeApi, submit: Submit) -> None:
    jobs = [submit() for _ in range(40)]
    api.replies.extend([AWAY] * 40)
    lifecycle.run_pump("send")
    assert len(api.posts) == 5
    assert Counter(the(job).tries for job in jobs) == {1: 5, 0: 35}
    rests_until = Connection.objects.get().not_before
    assert rests_until is not None
    api.replies.clear()
    api.run("send")
    assert {the(job).state for job in jobs} == {AttemptState.KNOWN}
    assert len(api.posts) == 45


def test_a_connection_rests_no_longer_for_a_job_that_was_put_off_often(
    api: FakeApi, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending.random, "uniform", lambda _, most: most)
    job = submit()
    Attempt.objects.update(tries=9)
    api.replies.append(AWAY)
    lifecycle.run_pump("send")
    job.refresh_from_db()
    until = Connection.objects.get().not_before
    assert until is not None
    assert job.next_action_at is not None
    assert 8 < (until - timezone.now()).total_seconds() <= 10
    assert 118 < (job.next_action_at - timezone.now()).total_seconds() <= 120


def test_what_asks_for_more_time_is_not_cut_short_by_what_asks_for_less(submit: Submit) -> None:
    connection = submit().project.connection
    hold_back(connection.pk, 30)
    hold_back(connection.pk, 2)
    connection.refresh_from_db()
    assert connection.not_before is not None
    assert (connection.not_before - timezone.now()).total_seconds() > 28
