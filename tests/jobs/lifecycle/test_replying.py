"""An answer that waits for approval: the calls are kept for it, and are free again where it is not sent."""

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from jobs import lifecycle, spend
from jobs.lifecycle import JobSpec, NotWaiting, Reply, SpecError, approval, replying
from jobs.models import Approval, AskedBecause, Attempt, Event, Job, Project, SavedReplies, Status, User
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit
from tests.jobs.lifecycle.test_answering import DOWNLOAD, LOOK_UP, SAGE, stop
from tests.races.threads import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]
BOTH = (Reply(key="call_1", output="[1]"), Reply(key="call_2", error="There is no such theorem."))
OTHER = (Reply(key="call_1", output="[2]"), BOTH[1])


@pytest.fixture
def waiting(api: FakeApi, submit: Submit, project: Project) -> Job:
    """A job that stopped for two functions, in a project with a limit per job since."""
    job = stop(api, submit(), [SAGE, LOOK_UP])
    Project.objects.update(job_limit=Decimal("0.01"))
    return again(job)


def again(job: Job) -> Job:
    """Read a job anew, as the next request does."""
    return Job.objects.select_related("project__connection", "prompt").get(pk=job.pk)


def ask(job: Job, replies: Any = BOTH, **more: Any) -> Job:
    return lifecycle.ask_to_answer(again(job), replies, by=job.submitted_by, **more)


def rerun(job: Job, *, by: User) -> JobSpec:
    return dataclasses.replace(lifecycle.asked(again(job), by=by), rerun_of=job)


def status_of(job: Job) -> str:
    return str(Job.objects.values_list("status", flat=True).get(pk=job.pk))


def kinds_of(job: Job) -> list[str]:
    return list(Event.objects.filter(job=job).order_by("pk").values_list("kind", flat=True))


def test_an_answer_over_the_limit_waits_with_nothing_held_and_so_does_what_asked(waiting: Job) -> None:
    version = waiting.version
    asked = ask(waiting, why="It settles the lemma.")
    assert (asked.status, asked.previous, asked.next_action_at) == (Status.AWAITING_APPROVAL, waiting, None)
    assert asked.prompt.input_items == [
        {"type": "function_call_output", "call_id": "call_1", "output": "[1]"},
        {
            "type": "function_call_output",
            "call_id": "call_2",
            "output": '{"error": "There is no such theorem."}',
        },
    ]
    found = Approval.objects.get()
    assert (found.reason, found.why) == (AskedBecause.LIMIT, "It settles the lemma.")
    assert not Attempt.objects.filter(job=asked).exists()
    assert status_of(waiting) == Status.REQUIRES_ACTION
    assert kinds_of(waiting)[-1] == "answer_asked"
    assert again(waiting).version > version, "whoever looks at it sees it"
    assert lifecycle.saved_draft(again(waiting)) == lifecycle.Draft(BOTH, "It settles the lemma.", asked)


def test_what_fits_by_now_is_sent_without_asking_anyone(waiting: Job) -> None:
    Project.objects.update(job_limit=None)
    asked = ask(waiting, why="No need.")
    assert (asked.status, status_of(waiting)) == (Status.WAITING, Status.COMPLETED)
    assert not Approval.objects.exists()
    assert not SavedReplies.objects.exists()


def test_without_budget_it_goes_on_by_itself_when_there_is_some(waiting: Job, project: Project) -> None:
    Project.objects.update(job_limit=None)
    spend.set_cap(waiting.cost + Decimal("0.01"), project=project)
    asked = ask(waiting)
    assert Approval.objects.get().reason == AskedBecause.BUDGET
    spend.set_cap(Decimal(90), project=project)
    assert approval.go_on(asked.pk)
    assert (status_of(asked), status_of(waiting)) == (Status.WAITING, Status.COMPLETED)


def test_an_approved_answer_goes_on_as_any_answer_does(waiting: Job, api: FakeApi, person: User) -> None:
    asked = ask(waiting)
    lifecycle.approve(asked.pk, by=person)
    assert (status_of(asked), status_of(waiting)) == (Status.WAITING, Status.COMPLETED)
    told = Event.objects.get(job=waiting, kind="answered")
    assert (told.actor, told.note) == (asked.submitted_by, asked.short_id)
    assert not SavedReplies.objects.exists()
    api.run("send")
    body = api.posts[-1]
    assert body["previous_response_id"] == "resp_1"
    assert [item["call_id"] for item in body["input"]] == ["call_1", "call_2"]


def test_an_approval_that_is_refused_leaves_both_waiting(
    waiting: Job, person: User, project: Project
) -> None:
    asked = ask(waiting)
    spend.set_cap(waiting.cost, project=project)
    with pytest.raises(spend.BudgetRefused):
        lifecycle.approve(asked.pk, by=person)
    assert (status_of(asked), status_of(waiting)) == (Status.AWAITING_APPROVAL, Status.REQUIRES_ACTION)
    assert SavedReplies.objects.exists()
    assert "answered" not in kinds_of(waiting)


def test_while_it_waits_the_calls_are_neither_answered_again_nor_given_up(
    waiting: Job, project: Project
) -> None:
    asked = ask(waiting)
    with pytest.raises(SpecError, match=replying.ASKED_ALREADY):
        ask(waiting, OTHER)
    Project.objects.update(job_limit=None)
    with pytest.raises(SpecError, match=replying.ASKED_ALREADY):
        lifecycle.answer(again(waiting), OTHER, by=waiting.submitted_by)
    with pytest.raises(SpecError, match=replying.ASKED_ALREADY):
        lifecycle.submit(lifecycle.asked(again(asked), by=asked.submitted_by))
    with pytest.raises(SpecError, match=replying.ASKED_ALREADY):
        lifecycle.save_replies(again(waiting), OTHER[:1], by=waiting.submitted_by)
    with pytest.raises(SpecError, match=replying.ASKED_ALREADY):
        lifecycle.finish_without_answering(waiting.pk)
    assert status_of(waiting) == Status.REQUIRES_ACTION
    assert list(Job.objects.exclude(pk=waiting.pk)) == [asked]
    assert lifecycle.saved_draft(again(waiting)).replies == BOTH, "what is asked for is not overwritten"


@pytest.mark.parametrize(
    "end",
    [
        lambda job, person: lifecycle.reject(job.pk, by=person, note="Too dear."),
        lambda job, person: lifecycle.cancel(job.pk, by=person),
    ],
    ids=["rejected", "withdrawn"],
)
def test_what_is_not_approved_or_is_withdrawn_can_be_answered_again(
    waiting: Job, person: User, end: Callable[[Job, User], object]
) -> None:
    asked = ask(waiting, why="It settles the lemma.")
    version = again(waiting).version
    end(asked, person)
    assert (status_of(asked), status_of(waiting)) == (Status.CANCELLED, Status.REQUIRES_ACTION)
    told = Event.objects.get(job=waiting, kind="answer_given_back")
    assert (told.actor, told.note) == (person, asked.short_id)
    assert again(waiting).version > version
    assert lifecycle.saved_draft(again(waiting)) == lifecycle.Draft(BOTH, "It settles the lemma.")
    Project.objects.update(job_limit=None)
    answer = lifecycle.answer(again(waiting), OTHER, by=waiting.submitted_by)
    assert (answer.status, status_of(waiting)) == (Status.WAITING, Status.COMPLETED)


def test_an_answer_that_was_not_approved_is_the_answer_when_it_is_run_again(
    waiting: Job, person: User
) -> None:
    asked = ask(waiting)
    lifecycle.reject(asked.pk, by=person, note="With a lower limit.")
    Project.objects.update(job_limit=None)
    lifecycle.submit(lifecycle.asked(again(asked), by=person))
    assert status_of(waiting) == Status.COMPLETED
    with pytest.raises(NotWaiting):
        lifecycle.answer(again(waiting), OTHER, by=person)


def test_an_answer_asked_for_in_a_changed_form_is_the_answer_too(waiting: Job, person: User) -> None:
    asked = ask(waiting)
    lifecycle.reject(asked.pk, by=person, note="With a lower limit.")
    SavedReplies.objects.all().delete()
    changed = lifecycle.ask(dataclasses.replace(lifecycle.asked(again(asked), by=person), prompt="Briefly."))
    assert lifecycle.saved_draft(again(waiting)).asked_in == changed
    lifecycle.approve(changed.pk, by=person)
    assert status_of(waiting) == Status.COMPLETED


def test_an_answer_that_is_run_again_leaves_what_was_answered_alone(waiting: Job, person: User) -> None:
    first = lifecycle.approve(ask(waiting).pk, by=person)
    lifecycle.cancel(first.pk)
    second = lifecycle.ask(rerun(first, by=person))
    lifecycle.reject(second.pk, by=person, note="Later.")
    third = lifecycle.ask(rerun(second, by=person))
    lifecycle.approve(third.pk, by=person)
    assert (status_of(third), status_of(waiting)) == (Status.WAITING, Status.COMPLETED)
    assert kinds_of(waiting).count("answered") == 1


@pytest.mark.parametrize("is_given_up", [True, False])
@pytest.mark.parametrize("send", [lifecycle.submit, lifecycle.ask])
def test_an_answer_that_was_not_approved_is_not_sent_beside_another(
    waiting: Job, person: User, send: Callable[[JobSpec], Job], is_given_up: bool
) -> None:
    asked = ask(waiting)
    lifecycle.reject(asked.pk, by=person, note="No.")
    late = rerun(asked, by=person)
    if is_given_up:
        lifecycle.finish_without_answering(waiting.pk)
    else:
        lifecycle.approve(ask(waiting, OTHER).pk, by=person)
    Project.objects.update(job_limit=None)
    count = Job.objects.count()
    # Read before the calls were answered, and after.
    for wanted in (late, rerun(asked, by=person)):
        wanted.project.refresh_from_db()
        with pytest.raises(SpecError, match="have been answered or given up meanwhile"):
            send(wanted)
    assert Job.objects.count() == count


def test_an_answer_whose_calls_are_not_kept_any_more_is_approved_only_while_they_wait(
    waiting: Job, person: User
) -> None:
    asked = ask(waiting)
    # As code of the version before answers, which does not know that calls are kept.
    SavedReplies.objects.all().delete()
    Job.objects.filter(pk=waiting.pk).update(status=Status.COMPLETED)
    with pytest.raises(SpecError, match="have been answered or given up meanwhile"):
        lifecycle.approve(asked.pk, by=person)
    assert status_of(asked) == Status.AWAITING_APPROVAL
    assert not Attempt.objects.filter(job=asked).exists()
    Job.objects.filter(pk=waiting.pk).update(status=Status.REQUIRES_ACTION)
    lifecycle.approve(asked.pk, by=person)
    assert (status_of(asked), status_of(waiting)) == (Status.WAITING, Status.COMPLETED)


@pytest.mark.parametrize("is_approved", [True, False])
def test_a_follow_up_that_is_asked_for_keeps_no_calls(waiting: Job, person: User, is_approved: bool) -> None:
    follow_up = lifecycle.ask(lifecycle.follow_up(waiting, by=person, prompt="And lemma 4.8?"))
    if is_approved:
        lifecycle.approve(follow_up.pk, by=person)
    else:
        lifecycle.reject(follow_up.pk, by=person, note="No.")
    assert status_of(waiting) == Status.REQUIRES_ACTION
    assert "answer_given_back" not in kinds_of(waiting)
    Project.objects.update(job_limit=None)
    lifecycle.answer(again(waiting), BOTH, by=person)
    assert status_of(waiting) == Status.COMPLETED


def test_a_follow_up_answers_no_calls_when_it_is_run_again(waiting: Job, person: User) -> None:
    Project.objects.update(job_limit=None)
    follow_up = lifecycle.submit(lifecycle.follow_up(again(waiting), by=person, prompt="And lemma 4.8?"))
    lifecycle.submit(rerun(follow_up, by=person))
    assert status_of(waiting) == Status.REQUIRES_ACTION


def test_a_follow_up_that_is_asked_for_goes_on_whatever_was_answered_meanwhile(
    waiting: Job, person: User
) -> None:
    follow_up = lifecycle.ask(lifecycle.follow_up(waiting, by=person, prompt="And lemma 4.8?"))
    other = lifecycle.ask(rerun(follow_up, by=person))
    lifecycle.reject(other.pk, by=person, note="Once is enough.")
    Project.objects.update(job_limit=None)
    lifecycle.answer(again(waiting), BOTH, by=person)
    assert lifecycle.approve(follow_up.pk, by=person).status == Status.WAITING
    assert lifecycle.submit(rerun(other, by=person)).status == Status.WAITING


def test_calls_that_were_all_refused_are_answers_too(api: FakeApi, submit: Submit, person: User) -> None:
    job = stop(api, submit(), [DOWNLOAD])
    Project.objects.update(job_limit=Decimal("0.01"))
    asked = ask(job, [Reply(key=DOWNLOAD["id"], approve=False)])
    assert lifecycle.is_answer(again(asked))
    assert not lifecycle.is_answer(again(job)), "it began the thread"
    lifecycle.reject(asked.pk, by=person, note="No.")
    Project.objects.update(job_limit=None)
    lifecycle.submit(rerun(asked, by=person))
    assert status_of(job) == Status.COMPLETED


def test_an_answer_whose_thread_is_no_longer_stored_is_not_approved(waiting: Job, person: User) -> None:
    asked = ask(waiting)
    waiting.prompt.delete()
    with pytest.raises(SpecError) as refused:
        lifecycle.approve(asked.pk, by=person)
    assert refused.value.errors.keys() == {"previous"}
    assert (status_of(asked), status_of(waiting)) == (Status.AWAITING_APPROVAL, Status.REQUIRES_ACTION)


def test_once_what_it_asked_is_not_stored_nobody_knows_whether_it_was_an_answer(waiting: Job) -> None:
    asked = ask(waiting)
    asked.prompt.delete()
    assert not lifecycle.is_answer(again(asked))


def test_calls_are_given_up_once(waiting: Job) -> None:
    assert lifecycle.finish_without_answering(waiting.pk)
    assert not lifecycle.finish_without_answering(waiting.pk)
    assert kinds_of(waiting).count("finished_without_answering") == 1


def test_the_same_form_sent_twice_asks_once(waiting: Job) -> None:
    assert ask(waiting, submission_key="k1") == ask(waiting, submission_key="k1")
    assert Job.objects.count() == 2


@pytest.mark.parametrize("replies", [(), BOTH[:1]])
def test_without_every_reply_nothing_is_asked_for(waiting: Job, replies: tuple[Reply, ...]) -> None:
    with pytest.raises(SpecError) as refused:
        ask(waiting, replies)
    assert "call2" in refused.value.errors
    assert Job.objects.count() == 1
    assert not SavedReplies.objects.exists()


def test_what_has_been_answered_cannot_be_asked_for(waiting: Job) -> None:
    stale = again(waiting)
    lifecycle.finish_without_answering(waiting.pk)
    for job in (stale, again(waiting)):
        with pytest.raises(NotWaiting):
            lifecycle.ask_to_answer(job, BOTH, by=job.submitted_by)
    assert Job.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_people_who_ask_at_once_one_is_told(api: FakeApi, submit: Submit) -> None:
    job = stop(api, submit(), [SAGE])
    Project.objects.update(job_limit=Decimal("0.01"))

    def asking(output: str) -> Callable[[], Job]:
        mine = again(job)
        return lambda: lifecycle.ask_to_answer(
            mine, [Reply(key="call_1", output=output)], by=job.submitted_by
        )

    results = at_once([asking("1"), asking("2")])
    assert sorted(type(result).__name__ for result in results) == ["Job", "SpecError"]
    assert Job.objects.count() == 2
    with transaction.atomic():
        assert spend.audit() == []


@pytest.mark.django_db(transaction=True)
def test_an_answer_and_one_that_was_not_approved_are_not_both_sent(
    api: FakeApi, submit: Submit, person: User
) -> None:
    job = stop(api, submit(), [SAGE])
    Project.objects.update(job_limit=Decimal("0.01"))
    asked = ask(job, [Reply(key="call_1", output="1")])
    lifecycle.reject(asked.pk, by=person, note="No.")
    Project.objects.update(job_limit=None)
    late, mine = rerun(asked, by=person), again(job)
    results = at_once(
        [
            lambda: lifecycle.submit(late),
            lambda: lifecycle.answer(mine, [Reply(key="call_1", output="2")], by=person),
        ]
    )
    assert sorted(type(result).__name__ for result in results) in (
        ["Job", "NotWaiting"],
        ["Job", "SpecError"],
    )
    assert Job.objects.filter(previous=job, status=Status.WAITING).count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_an_approval_and_a_rejection_at_once_one_decides(
    api: FakeApi, submit: Submit, person: User
) -> None:
    job = stop(api, submit(), [SAGE])
    Project.objects.update(job_limit=Decimal("0.01"))
    asked = ask(job, [Reply(key="call_1", output="1")])
    results = at_once(
        [
            lambda: lifecycle.approve(asked.pk, by=person),
            lambda: lifecycle.reject(asked.pk, by=person, note="No."),
        ]
    )
    assert sorted(type(result).__name__ for result in results) == ["Job", "NotAwaiting"]
    assert (status_of(asked), status_of(job)) in (
        (Status.WAITING, Status.COMPLETED),
        (Status.CANCELLED, Status.REQUIRES_ACTION),
    )
