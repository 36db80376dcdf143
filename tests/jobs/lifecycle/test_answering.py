"""Answering what a response stopped for: all calls or none, and the thread goes on as a new job."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from pytest_django import DjangoAssertNumQueries

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.lifecycle import NotWaiting, Reply, SpecError, answering, submission
from jobs.lifecycle.answering import Argument
from jobs.models import Event, Job, LedgerEntry, Membership, Project, Refusal, SavedReplies, Status, User
from tests.fake_api import FakeApi, message
from tests.jobs.lifecycle.conftest import Submit
from tests.races.threads import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

SAGE = {
    "type": "function_call", "call_id": "call_1", "name": "run_sage",
    "arguments": '{"code": "A = 1\\nA", "n": 3}',
}  # fmt: skip
LOOK_UP = {"type": "function_call", "call_id": "call_2", "name": "look_up", "arguments": "no JSON"}
DOWNLOAD = {
    "type": "mcp_approval_request", "id": "mcpr_1", "name": "download", "arguments": '{"id": "2406"}',
    "server_label": "arxiv",
}  # fmt: skip
ARXIV = {"type": "mcp", "server_label": "arxiv", "server_url": "https://mcp.arxiv-tools.org/sse"}
ALL = (
    Reply(key="call_1", output="[1]"),
    Reply(key="call_2", error="There is no such theorem."),
    Reply(key="mcpr_1", approve=True),
)


@pytest.fixture
def waiting(api: FakeApi, submit: Submit) -> Job:
    """A job whose response stopped for two functions and an approval."""
    job = submit(
        tools=(ARXIV,), max_tool_calls=1, instructions="Be brief.", tags=("proof",), title="Lemma 4.7"
    )
    return stop(api, job, [SAGE, LOOK_UP, DOWNLOAD])


def stop(api: FakeApi, job: Job, output: list[dict[str, Any]]) -> Job:
    api.run("send")
    api.put(job, "completed", output=output)
    api.run("poll")
    job.refresh_from_db()
    assert job.status == Status.REQUIRES_ACTION
    return job


def answer(job: Job, replies: Sequence[Reply] = ALL, **wanted: Any) -> Job:
    return lifecycle.answer(job, replies, by=wanted.pop("by", job.submitted_by), **wanted)


def test_a_reply_to_every_call_goes_on_as_a_new_job(api: FakeApi, waiting: Job) -> None:
    job = answer(waiting)
    waiting.refresh_from_db()
    assert (waiting.status, job.status) == (Status.COMPLETED, Status.WAITING)
    assert (job.previous, job.root, job.model_id, job.effort) == (waiting, waiting, "gpt-6-sol", "low")
    assert (job.prompt.title, job.tags, job.max_tool_calls) == ("Lemma 4.7", ["proof"], 1)
    told = Event.objects.filter(kind="answered").get()
    assert (told.job, told.actor, told.note) == (waiting, waiting.submitted_by, job.short_id)
    assert spend.held_for(job.attempt_set.get()) == job.worst_case > 0
    api.run("send")
    body = api.posts[-1]
    assert body["previous_response_id"] == "resp_1"
    assert body["instructions"] == "Be brief."
    assert body["tools"] == [{**ARXIV, "require_approval": "always"}]
    assert body["input"] == [
        {"type": "function_call_output", "call_id": "call_1", "output": "[1]"},
        {
            "type": "function_call_output",
            "call_id": "call_2",
            "output": '{"error": "There is no such theorem."}',
        },
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
    ]


def test_an_answered_thread_is_sent_again_without_calling_twice(api: FakeApi, waiting: Job) -> None:
    """Where the API has forgotten: what was approved goes out once more with its own job, never later."""
    second = answer(waiting)
    Job.objects.filter(pk=second.pk).update(replays_thread=True)
    api.run("send")
    replayed = api.posts[-1]["input"]
    assert [item.get("type", item.get("role")) for item in replayed] == [
        "user", "function_call", "function_call", "mcp_approval_request",
        "function_call_output", "function_call_output", "mcp_approval_response",
    ]  # fmt: skip
    assert replayed[3] == DOWNLOAD
    found = {"type": "mcp_call", "id": "mcp_1", "name": "download", "arguments": "{}", "output": "A paper."}
    api.put(second, "completed", output=[found, message("So it is.")])
    api.run("poll")
    second.refresh_from_db()
    third = lifecycle.submit(lifecycle.follow_up(second, by=second.submitted_by, prompt="Why?"))
    Job.objects.filter(pk=third.pk).update(replays_thread=True)
    api.run("send")
    assert [item.get("type", item.get("role")) for item in api.posts[-1]["input"]] == [
        "user", "function_call", "function_call", "function_call_output", "function_call_output",
        "function_call", "function_call_output", "assistant", "user",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("replies", "errors"),
    [
        ((), {"call1", "call2", "call3", "replies"}),
        (ALL[:1], {"call2", "call3", "replies"}),
        ((*ALL[:2], Reply(key="mcpr_1")), {"call3", "replies"}),
        ((*ALL, Reply(key="call_9", output="x")), {"replies"}),
        ((*ALL[:2], Reply(key="mcpr_1", output="yes")), {"call3", "replies"}),
    ],
)
def test_without_every_reply_nothing_happens(
    waiting: Job, replies: Sequence[Reply], errors: set[str]
) -> None:
    with pytest.raises(SpecError) as refused:
        answer(waiting, replies)
    assert refused.value.errors.keys() == errors
    waiting.refresh_from_db()
    assert waiting.status == Status.REQUIRES_ACTION
    assert Job.objects.count() == 1


def test_a_refusal_says_how_many_are_missing_and_which(waiting: Job) -> None:
    with pytest.raises(SpecError) as refused:
        answer(waiting, ALL[:1])
    assert refused.value.errors["replies"] == "1 of 3 answered. Still missing: look_up, download."


def test_no_budget_for_it_leaves_the_job_waiting(waiting: Job, project: Project) -> None:
    lifecycle.save_replies(waiting, ALL, by=waiting.submitted_by)
    spend.set_cap(Decimal("0.5"), project=project)
    with pytest.raises(spend.BudgetRefused):
        answer(waiting)
    waiting.refresh_from_db()
    assert waiting.status == Status.REQUIRES_ACTION
    assert SavedReplies.objects.exists()
    assert Refusal.objects.count() == 1
    assert not Event.objects.filter(kind="answered").exists()


def test_whoever_may_not_submit_may_not_answer(waiting: Job, project: Project) -> None:
    viewer = User.objects.create_user("viewer@example.com", name="Viewer")
    Membership.objects.create(user=viewer, project=project, role=Role.VIEWER)
    with pytest.raises(SpecError, match="You may not submit"):
        answer(waiting, by=viewer)


def test_a_job_is_answered_once(waiting: Job) -> None:
    stale = Job.objects.get(pk=waiting.pk)
    first = answer(waiting)
    waiting.refresh_from_db()
    with pytest.raises(NotWaiting):
        answer(waiting)
    with pytest.raises(NotWaiting):
        answer(stale)
    assert list(Job.objects.exclude(pk=waiting.pk)) == [first]
    assert LedgerEntry.objects.filter(kind="hold").count() == 2


def test_the_same_form_sent_twice_makes_one_job(waiting: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = Job.objects.get(pk=waiting.pk)
    first = answer(waiting, submission_key="k1")
    assert answer(waiting, submission_key="k1") == first
    # The second was on its way before the first had been committed.
    looks = iter([lambda _: None, submission.submitted_before])
    monkeypatch.setattr(answering, "submitted_before", lambda _: None)
    monkeypatch.setattr(submission, "submitted_before", lambda wanted: next(looks)(wanted))
    assert answer(stale, submission_key="k1") == first
    assert Job.objects.count() == 2


def test_a_job_that_waits_for_nothing_cannot_be_answered(api: FakeApi, submit: Submit) -> None:
    job = submit()
    with pytest.raises(NotWaiting):
        answer(job)
    with pytest.raises(NotWaiting):
        lifecycle.save_replies(job, (), by=job.submitted_by)


def test_an_answer_that_failed_can_be_given_again(api: FakeApi, waiting: Job) -> None:
    second = answer(waiting)
    lifecycle.cancel(second.pk)
    again = dataclasses.replace(lifecycle.asked(second, by=second.submitted_by), rerun_of=second)
    assert again.title == "Lemma 4.7"
    third = lifecycle.submit(again)
    assert third.prompt.input_items == second.prompt.input_items
    assert third.previous == waiting


def test_the_ceiling_is_known_before_all_is_answered(waiting: Job) -> None:
    person = waiting.submitted_by
    wanted = lifecycle.reply_spec(waiting, ALL[:1], by=person)
    ceiling = lifecycle.ceiling_of(wanted)
    assert ceiling is not None
    whole = lifecycle.ceiling_of(lifecycle.reply_spec(waiting, ALL, by=person))
    assert whole is not None
    assert ceiling.worst_case == whole.worst_case, "a tool of the API reads the whole window either way"
    assert answer(waiting).worst_case == whole.worst_case


# --- Cards and drafts ----------------------------------------------------------------------------------


def test_a_card_says_what_a_call_asks_and_what_it_waits_for(
    waiting: Job, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    job = Job.objects.select_related("prompt").get(pk=waiting.pk)
    with django_assert_num_queries(2):
        sage, look_up, download = lifecycle.cards(job)
    assert (sage.field, sage.call.name, sage.state, sage.is_approval) == (
        "call1", "run_sage", "Needs an output", False,
    )  # fmt: skip
    assert sage.arguments == [Argument("code", "A = 1\nA", True), Argument("n", "3", False)]
    assert (look_up.arguments, look_up.call.arguments) == ([], "no JSON")
    assert (download.state, download.is_approval) == ("Needs a decision", True)
    assert (download.call.server_label, download.host) == ("arxiv", "mcp.arxiv-tools.org")
    assert download.arguments == [Argument("id", '"2406"', False)]
    assert not any(card.is_answered for card in (sage, look_up, download))


def test_a_long_argument_is_a_block(api: FakeApi, submit: Submit) -> None:
    call = {**SAGE, "arguments": json.dumps({"a": "x" * 81, "b": ["y" * 81]})}
    job = stop(api, submit(), [call])
    assert [one.is_block for one in lifecycle.cards(job)[0].arguments] == [True, False]


@pytest.mark.parametrize("written", ["", "[1]", "[" * 100_000, '{"a": NaN}', '{"a": "\\u0000"}'])
def test_arguments_that_are_no_object_are_shown_as_they_are(
    api: FakeApi, submit: Submit, written: str
) -> None:
    job = stop(api, submit(), [{**SAGE, "arguments": written}])
    (card,) = lifecycle.cards(job)
    assert (card.arguments, card.call.arguments) == ([], written)


def test_what_is_saved_for_later_is_there_again(waiting: Job) -> None:
    before = waiting.version
    lifecycle.save_replies(
        waiting, [*ALL[:1], Reply(key="call_2", output="a", error="b")], by=waiting.submitted_by
    )
    sage, look_up, download = lifecycle.cards(waiting)
    assert (sage.state, sage.reply.output) == ("Answered", "[1]")
    assert (look_up.state, look_up.reply.error) == ("Needs an output", "b")
    assert download.reply == Reply(key="mcpr_1")
    waiting.refresh_from_db()
    assert waiting.version > before, "others see it"
    lifecycle.save_replies(waiting, [], by=waiting.submitted_by)
    assert lifecycle.saved_draft(waiting).replies == ()


def test_what_is_typed_goes_before_what_was_saved(waiting: Job) -> None:
    lifecycle.save_replies(waiting, ALL, by=waiting.submitted_by)
    assert not any(card.is_answered for card in lifecycle.cards(waiting, ()))


@pytest.mark.parametrize("key", ["call_9", "call_1"])
def test_what_cannot_be_stored_is_not_saved(waiting: Job, key: str) -> None:
    with pytest.raises(SpecError) as refused:
        lifecycle.save_replies(waiting, [Reply(key=key, output="a\x00")], by=waiting.submitted_by)
    assert list(refused.value.errors) == ["replies"]


@pytest.mark.parametrize("is_answered", [True, False])
def test_drafts_end_with_the_waiting(waiting: Job, is_answered: bool) -> None:
    lifecycle.save_replies(waiting, ALL[:1], by=waiting.submitted_by)
    if is_answered:
        answer(waiting)
    else:
        assert lifecycle.finish_without_answering(waiting.pk)
    assert not SavedReplies.objects.exists()
    waiting.refresh_from_db()
    assert [card.state for card in lifecycle.cards(waiting)][:1] == ["Needs an output"]
    with pytest.raises(NotWaiting):
        lifecycle.save_replies(waiting, ALL, by=waiting.submitted_by)


@pytest.mark.django_db(transaction=True)
def test_of_two_people_who_answer_at_once_one_is_too_late(api: FakeApi, submit: Submit) -> None:
    job = stop(api, submit(), [SAGE])

    def going(output: str) -> Callable[[], Job]:
        mine = Job.objects.select_related("project__connection", "prompt").get(pk=job.pk)
        return lambda: answer(mine, [Reply(key="call_1", output=output)])

    results = at_once([going("1"), going("2")])
    assert sorted(type(result).__name__ for result in results) == ["Job", "NotWaiting"]
    assert Job.objects.count() == 2
    with transaction.atomic():
        assert spend.audit() == []
