"""Threads: what a follow-up sends, what it can cost, and how a thread is read."""

from typing import Any

import pytest
from django.db.models.functions import Now
from pytest_django import DjangoAssertNumQueries

from jobs import forecast, lifecycle
from jobs.attachments import Found
from jobs.lifecycle import Turn, threads
from jobs.models import (
    Answer,
    Attachment,
    Attempt,
    Connection,
    Event,
    Given,
    Job,
    JobAttachment,
    Kind,
    ModelSpec,
    Project,
    Prompt,
    RawResponse,
    Secret,
    Status,
    User,
)
from jobs.openai_client import Rejected, Retryable
from tests.factories import a_project, a_spec
from tests.fake_api import USAGE, FakeApi, message
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

FORGOTTEN = Rejected("Previous response not found.", code="previous_response_not_found")
FIRST = "Is lemma 4.7 true without compactness?"
CALL = {"type": "function_call", "call_id": "call_1", "name": "run_sage", "arguments": "{}"}
APPROVAL = {
    "type": "mcp_approval_request", "id": "mcpr_1", "name": "download", "arguments": "{}",
    "server_label": "arxiv",
}  # fmt: skip


@pytest.fixture
def ended(api: FakeApi, submit: Submit) -> Job:
    """A job that was answered."""
    return end(api, submit())


def end(api: FakeApi, job: Job, word: str = "completed", **more: Any) -> Job:
    api.run("send")
    api.put(job, word, **more)
    api.run("poll")
    job.refresh_from_db()
    return job


def follow(job: Job, prompt: str = "And lemma 4.8?", **changes: Any) -> Job:
    return lifecycle.submit(lifecycle.follow_up(job, by=job.submitted_by, prompt=prompt, **changes))


def sent(api: FakeApi, job: Job) -> dict[str, Any]:
    """Send a job that waits and return the body."""
    api.run("send")
    job.refresh_from_db()
    assert job.status == Status.QUEUED
    return api.posts[-1]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def test_a_follow_up_names_the_response_it_goes_on_from(api: FakeApi, ended: Job) -> None:
    job = follow(ended, instructions="Be brief.")
    body = sent(api, job)
    assert body["previous_response_id"] == "resp_1"
    assert body["input"] == [user("And lemma 4.8?")]
    assert body["instructions"] == "Be brief."
    assert (job.previous, job.root) == (ended, ended)
    assert job.prompt.title == "And lemma 4.8?"


def test_a_follow_up_takes_the_settings_of_the_job_before_it(api: FakeApi, submit: Submit) -> None:
    tool = {"type": "function", "name": "f", "strict": True, "parameters": {
        "type": "object", "properties": {}, "required": [], "additionalProperties": False}}  # fmt: skip
    first = end(api, submit(instructions="Be brief.", effort="high", tags=("a",), tools=(tool,)))
    wanted = lifecycle.follow_up(first, by=first.submitted_by, prompt="More.")
    assert (wanted.instructions, wanted.effort, wanted.tags, wanted.tools) == (
        "Be brief.", "high", ("a",), (tool,),
    )  # fmt: skip
    assert (wanted.previous, wanted.replies, wanted.title) == (first, (), "")
    body = sent(api, follow(first))
    assert (body["instructions"], body["tools"]) == ("Be brief.", [tool]), "the API carries neither over"


def test_a_thread_on_a_retired_model_goes_on_on_its_successor(api: FakeApi, ended: Job) -> None:
    ModelSpec.objects.filter(pk="gpt-6-sol").update(
        shutdown_date="2026-01-01", successor="gpt-6.1-sol", successor_mode="standard"
    )
    assert lifecycle.follow_up(ended, by=ended.submitted_by).model == "gpt-6.1-sol"


def test_a_job_is_asked_again_with_its_place_in_the_thread(api: FakeApi, ended: Job) -> None:
    job = follow(ended, title="Mine")
    again = lifecycle.asked(job, by=job.submitted_by)
    assert (again.previous, again.prompt, again.title) == (ended, "And lemma 4.8?", "Mine")
    assert again.fingerprint == job.fingerprint
    assert lifecycle.asked(ended, by=ended.submitted_by).title == "", "made from the prompt, made again"


def test_the_same_question_elsewhere_in_a_thread_is_another_job(api: FakeApi, ended: Job) -> None:
    assert follow(ended, prompt=FIRST).fingerprint != ended.fingerprint


@pytest.mark.parametrize(
    ("word", "more"),
    [("completed", {}), ("incomplete", {}), ("incomplete", {"output": []})],
)
def test_an_answer_whole_or_not_is_gone_on_from_by_its_id(
    api: FakeApi, submit: Submit, word: str, more: dict[str, Any]
) -> None:
    first = end(api, submit(), word, **more)
    assert sent(api, follow(first))["previous_response_id"] == "resp_1"


@pytest.mark.parametrize("word", ["failed", "cancelled"])
def test_a_job_without_an_answer_is_asked_along_with_its_follow_up(
    api: FakeApi, submit: Submit, word: str
) -> None:
    body = sent(api, follow(end(api, submit(), word)))
    assert "previous_response_id" not in body
    assert body["input"] == [user(FIRST), user("And lemma 4.8?")]


def test_a_job_that_was_never_sent_can_be_followed_too(api: FakeApi, submit: Submit) -> None:
    job = submit()
    lifecycle.cancel(job.pk)
    job.refresh_from_db()
    assert sent(api, follow(job))["input"] == [user(FIRST), user("And lemma 4.8?")]


def test_a_thread_the_api_has_forgotten_is_sent_again_whole(api: FakeApi, ended: Job) -> None:
    second = end(api, follow(ended), output=[message("So is that one.")])
    third = follow(second, prompt="And 4.9?")
    api.replies.append(FORGOTTEN)
    body = sent(api, third)
    assert third.replays_thread
    assert api.posts[-2]["previous_response_id"] == "resp_2"
    assert "previous_response_id" not in body
    assert body["input"] == [
        user(FIRST), assistant("The lemma is true."),
        user("And lemma 4.8?"), assistant("So is that one."),
        user("And 4.9?"),
    ]  # fmt: skip
    assert Attempt.objects.filter(job=third).count() == 1, "the same attempt and the same hold"
    kinds = list(Event.objects.filter(job=third).values_list("kind", flat=True))
    assert kinds == ["submitted", "replayed", "accepted"]


def test_what_was_forgotten_stays_so_when_it_is_put_off(api: FakeApi, ended: Job) -> None:
    job = follow(ended)
    api.replies += [FORGOTTEN, Retryable("Not now.", code="connect_error")]
    api.run("send")
    before = len(api.posts)
    assert "previous_response_id" not in sent(api, job)
    assert (before, len(api.posts)) == (3, 4)


@pytest.mark.parametrize("is_first", [True, False])
def test_what_is_refused_though_nothing_was_left_to_memory_has_failed(
    api: FakeApi, ended: Job, submit: Submit, is_first: bool
) -> None:
    job = submit() if is_first else follow(ended)
    Job.objects.filter(pk=job.pk).update(replays_thread=not is_first)
    api.replies.append(FORGOTTEN)
    api.run("send")
    job.refresh_from_db()
    assert (job.status, job.error_code) == (Status.FAILED, "previous_response_not_found")


def test_a_cancel_meanwhile_ends_a_job_whose_thread_was_forgotten(api: FakeApi, ended: Job) -> None:
    job = follow(ended)
    api.replies.append(FORGOTTEN)
    api.while_sending = lambda: lifecycle.cancel(job.pk)
    api.run("send")
    job.refresh_from_db()
    assert job.status == Status.CANCELLED


@pytest.mark.parametrize("kind", [Kind.AZURE, Kind.COMPATIBLE])
def test_only_openai_is_trusted_to_remember(api: FakeApi, ended: Job, kind: Kind) -> None:
    Connection.objects.update(kind=kind)
    body = sent(api, follow(ended))
    assert body["input"] == [user(FIRST), assistant("The lemma is true."), user("And lemma 4.8?")]


def test_another_connection_never_had_the_thread(api: FakeApi, ended: Job, project: Project) -> None:
    job = follow(ended)
    project.connection = Connection.objects.create(
        name="other", is_practice=True, base_url="http://127.0.0.1:9/v1", key=Secret.of("sk-test-key")
    )
    project.save()
    assert sent(api, job)["input"][0] == user(FIRST)


def test_a_second_attempt_goes_on_from_the_same_response(api: FakeApi, ended: Job) -> None:
    job = end(api, follow(ended), "failed", error={"code": "server_error", "message": ""}, usage=None)
    assert job.status == Status.WAITING
    assert sent(api, job)["previous_response_id"] == "resp_1"


def test_only_what_can_be_read_is_sent_again(api: FakeApi, submit: Submit) -> None:
    """Reasoning, searches and ids stay behind; a call of an MCP server is told as a function's."""
    first = end(
        api,
        submit(),
        output=[
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "…"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
            {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "arxiv", "tools": []},
            {
                "type": "mcp_call",
                "id": "mcp_1",
                "name": "fetch",
                "arguments": '{"a": 1}',
                "output": "Found.",
            },
            {"type": "mcp_call", "id": "mcp_2", "name": "fetch", "output": None},
            {"type": "mcp_call", "id": None, "name": "fetch", "output": "lost"},
            {"id": "msg_1", "phase": "commentary", **message("I see.")},
            {"type": "message", "content": [{"type": "refusal", "refusal": "Not that."}, 3, {"type": ["x"]}]},
            {"type": "message", "content": "odd"},
            {"type": "message", "content": [{"type": "output_text", "text": None}]},
            {"type": "brand_new_item"},
            "not an item",
        ],
    )
    job = follow(first)
    Job.objects.filter(pk=job.pk).update(replays_thread=True)
    assert sent(api, job)["input"] == [
        user(FIRST),
        {"type": "function_call", "call_id": "mcp_1", "name": "fetch", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "mcp_1", "output": "Found."},
        {"type": "function_call", "call_id": "mcp_2", "name": "fetch", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "mcp_2", "output": "The call failed."},
        {"role": "assistant", "content": "I see.", "phase": "commentary"},
        assistant("Not that."),
        user("And lemma 4.8?"),
    ]


@pytest.mark.parametrize("body", [{}, {"output": None}, {"output": "text"}])
def test_an_answer_that_cannot_be_read_is_passed_over(api: FakeApi, ended: Job, body: dict[str, Any]) -> None:
    RawResponse.objects.update(body=body)
    job = follow(ended)
    Job.objects.filter(pk=job.pk).update(replays_thread=True)
    assert sent(api, job)["input"] == [user(FIRST), user("And lemma 4.8?")]


def test_what_is_no_longer_stored_is_passed_over(api: FakeApi, ended: Job) -> None:
    job = follow(ended)
    Job.objects.filter(pk=job.pk).update(replays_thread=True)
    RawResponse.objects.all().delete()
    Prompt.objects.filter(job=ended).delete()
    assert sent(api, job)["input"] == [user("And lemma 4.8?")]


def test_the_answer_that_counts_is_the_one_the_job_took(api: FakeApi, ended: Job) -> None:
    """A second response of the job, which turned up late, is not what the thread goes on from."""
    first = Attempt.objects.get()
    late = Attempt.objects.create(
        job=ended, number=2, state="ended", connection=first.connection, price=first.price,
        worst_case=0, response_id="resp_late", end_status="completed",
    )  # fmt: skip
    assert sent(api, follow(ended))["previous_response_id"] == "resp_1"
    Answer.objects.update(attempt=late)
    assert sent(api, follow(ended))["previous_response_id"] == "resp_late"
    Answer.objects.update(attempt=first)
    late.delete()


# --- Calls ---------------------------------------------------------------------------------------------


def test_an_unanswered_call_never_poisons_a_thread(api: FakeApi, submit: Submit) -> None:
    first = end(api, submit(), output=[CALL, APPROVAL])
    assert first.status == Status.REQUIRES_ACTION
    assert lifecycle.finish_without_answering(first.pk)
    first.refresh_from_db()
    job = follow(first)
    body = sent(api, job)
    assert body["previous_response_id"] == "resp_1"
    assert body["input"] == [
        {"type": "function_call_output", "call_id": "call_1", "output": '{"error": "Not answered."}'},
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": False},
        user("And lemma 4.8?"),
    ]
    second = end(api, job)
    third = follow(second)
    Job.objects.filter(pk=third.pk).update(replays_thread=True)
    assert sent(api, third)["input"] == [
        user(FIRST), CALL,
        {"type": "function_call_output", "call_id": "call_1", "output": '{"error": "Not answered."}'},
        user("And lemma 4.8?"), assistant("The lemma is true."), user("And lemma 4.8?"),
    ]  # fmt: skip


def test_a_job_that_waits_for_answers_can_be_followed_up_instead(api: FakeApi, submit: Submit) -> None:
    first = end(api, submit(), output=[CALL])
    sent(api, follow(first))
    first.refresh_from_db()
    assert first.status == Status.REQUIRES_ACTION, "and still be answered"


def test_a_call_that_broke_off_is_left_out(api: FakeApi, submit: Submit) -> None:
    """Nobody knows whether the API counts it as made, so the thread is not left to its memory."""
    first = end(api, submit(), "incomplete", output=[message("I ask."), CALL])
    body = sent(api, follow(first))
    assert "previous_response_id" not in body
    assert body["input"] == [user(FIRST), assistant("I ask."), user("And lemma 4.8?")]


def test_calls_that_come_to_light_after_the_follow_up_was_made_are_left_out(
    api: FakeApi, submit: Submit
) -> None:
    first = end(api, submit(), "cancelled", usage=None)
    job = follow(first)
    api.put(first, "completed", output=[CALL])
    Job.objects.filter(pk=job.pk).update(next_action_at=None)
    api.run("poll")
    first.refresh_from_db()
    assert first.status == Status.REQUIRES_ACTION
    Job.objects.filter(pk=job.pk).update(next_action_at=Now())
    assert sent(api, job)["input"] == [user(FIRST), user("And lemma 4.8?")]


def test_an_answer_that_turns_up_after_the_follow_up_was_made_is_left_out(
    api: FakeApi, submit: Submit
) -> None:
    """What a follow-up can cost was held without it."""
    first = end(api, submit(), "cancelled", usage=None)
    job = follow(first)
    Job.objects.filter(pk=job.pk).update(next_action_at=None)
    api.put(first, "completed", output=[message("x")], usage={**USAGE, "output_tokens": 15_000})
    api.run("poll")
    first.refresh_from_db()
    assert first.status == Status.COMPLETED
    later = follow(first, prompt="What else?")
    Job.objects.filter(pk=job.pk).update(next_action_at=Now())
    api.run("send")
    bodies = {body["metadata"]["ponder_job"]: body for body in api.posts}
    body = bodies[str(job.uuid)]
    assert (body.get("previous_response_id"), body["input"]) == (None, [user(FIRST), user("And lemma 4.8?")])
    assert bodies[str(later.uuid)]["previous_response_id"] == "resp_1"
    assert later.input_bound > 15_000 > job.input_bound


@pytest.mark.parametrize(
    ("word", "more"), [("incomplete", []), ("completed", [CALL]), ("completed", [message("Done.")])]
)
def test_what_a_tool_returned_is_in_the_ceiling_unless_the_model_has_read_it(
    api: FakeApi, submit: Submit, word: str, more: list[dict[str, Any]]
) -> None:
    mcp = {"type": "mcp", "server_label": "arxiv", "server_url": "https://arxiv.example/mcp"}
    found = {"type": "mcp_call", "id": "mcp_1", "name": "read", "arguments": "{}", "output": "y" * 400_000}
    first = end(api, submit(tools=(mcp,), max_tool_calls=1), word, output=[found, *more])
    job = follow(first, tools=(), max_tool_calls=None)
    has_read_it = more == [message("Done.")]
    assert (job.input_bound < 100_000) == has_read_it


# --- What can be followed up ---------------------------------------------------------------------------


def refused(previous: Job, project: Project, **wanted: Any) -> dict[str, str]:
    wanted = {"model": "gpt-6-sol", "mode": "standard", "previous": previous, **wanted}
    return lifecycle.problems_of(a_spec(project, previous.submitted_by, **wanted))


def test_a_job_that_has_not_ended_cannot_be_followed_up(
    api: FakeApi, submit: Submit, project: Project
) -> None:
    job = submit()
    assert refused(job, project) == {
        "previous": "That job has not ended yet. It can be followed up when it has."
    }
    assert not lifecycle.can_be_followed(job)


def test_a_thread_stays_in_its_project(api: FakeApi, ended: Job, person: User) -> None:
    other = a_project("other", members={person: 4})  # type: ignore[dict-item]
    assert refused(ended, other) == {"previous": "A thread stays in its project."}


def test_a_thread_whose_prompts_are_gone_cannot_go_on(ended: Job, project: Project) -> None:
    Prompt.objects.all().delete()
    assert refused(ended, project) == {
        "previous": "A prompt of this thread is no longer stored, so it cannot go on."
    }


def test_a_thread_is_given_no_more_files_than_can_be_sent_again_at_once(
    api: FakeApi, ended: Job, project: Project
) -> None:
    second = end(api, follow(ended))
    found = Found(media_type="image/png", size=40_000_000, digest="d1" * 32, width=9, height=9)
    attachment = Attachment.objects.keep(project, b"plan", found, by=ended.submitted_by)
    for number, job in enumerate((ended, second, second), 1):
        JobAttachment.objects.create(job=job, attachment=attachment, position=number, name="plan.png")
    too_much = "The files of this thread are too large together: 120 MB, the limit is 100."
    assert refused(second, project) == {"previous": too_much}
    assert refused(ended, project) == {}
    JobAttachment.objects.filter(position=3).delete()
    assert refused(second, project) == {}
    given = (Given(attachment, "plan.png"),)
    assert refused(second, project, attachments=given) == {"previous": too_much}


def test_replies_need_calls_to_answer(project: Project, person: User, ended: Job) -> None:
    reply = lifecycle.Reply(key="call_1", output="42")
    spec = a_spec(project, person, model="gpt-6-sol", mode="standard", replies=(reply,))
    assert lifecycle.problems_of(spec) == {"replies": "There is no job whose calls these would answer."}
    assert list(refused(ended, project, replies=(reply,))) == ["replies"]


# --- The ceiling ---------------------------------------------------------------------------------------


def own(job: Job) -> int:
    """What a follow-up would be charged for on its own: its text and the wrapping of a message."""
    return len(job.prompt.text.encode()) + 1_000


def test_the_whole_thread_is_in_the_ceiling(api: FakeApi, ended: Job) -> None:
    second = follow(ended)
    read, made = USAGE["input_tokens"], USAGE["output_tokens"]
    assert second.input_bound == own(second) + read + made
    end(api, second, usage={**USAGE, "input_tokens": 3_050, "total_tokens": 5_050})
    third = follow(second)
    assert third.input_bound == own(third) + 3_050 + 2 * made, "reasoning may be carried on from any answer"


def test_a_thread_without_usage_is_bounded_by_its_bytes(api: FakeApi, submit: Submit) -> None:
    first = end(api, submit(prompt="ö" * 5_000), "failed", usage=None)
    second = follow(first, prompt="And?")
    assert 10_000 < second.input_bound - own(second) <= 10_000 + 2_000


def test_an_unknown_output_counts_as_all_it_may_have_been(api: FakeApi, submit: Submit) -> None:
    first = end(api, submit(), usage=None)
    second = follow(first)
    assert second.input_bound > own(second) + first.max_output_tokens + len(FIRST)


def test_another_model_counts_tokens_in_its_own_way(api: FakeApi, submit: Submit) -> None:
    text = "The lemma is true. " * 1_000
    first = end(api, submit(), output=[message(text)])
    second = follow(first, model="gpt-6-luna")
    carried = second.input_bound - own(second)
    assert carried > len(text) + USAGE["output_tokens"]
    assert carried > follow(first).input_bound - own(second)


def test_what_the_last_answer_read_is_known_the_rest_is_bounded(api: FakeApi, ended: Job) -> None:
    second = end(api, follow(ended), "failed", usage=None)
    third = follow(second)
    known = USAGE["input_tokens"] + USAGE["output_tokens"]
    assert third.input_bound == own(third) + known + len(second.prompt.text) + 2_000


@pytest.mark.parametrize("what", ["tools", "files"])
def test_a_thread_that_nobody_can_measure_may_fill_the_window(
    api: FakeApi, submit: Submit, project: Project, what: str
) -> None:
    from jobs.models import Attachment

    tools = {"tools": ({"type": "web_search"},), "max_tool_calls": 1} if what == "tools" else {}
    first = end(api, submit(**tools), usage=None)
    if what == "files":
        file = Attachment.objects.create(project=project, digest="d", media_type="image/png", size=1)
        JobAttachment.objects.create(job=first, attachment=file, position=1, name="a.png")
    window = first.model.context_window
    assert follow(first, tools=(), max_tool_calls=None).input_bound == window


def test_a_thread_fills_no_more_than_the_window(api: FakeApi, submit: Submit) -> None:
    usage = {**USAGE, "input_tokens": 1_040_000, "total_tokens": 1_042_000, "output_tokens": 20_000}
    assert follow(end(api, submit(), usage=usage)).input_bound == 1_050_000


def test_the_likely_cost_knows_what_the_thread_brings_along(api: FakeApi, ended: Job) -> None:
    assert forecast.guess_carried(ended) == 1_000 + 500, "read and answered; reasoning is left behind"
    Attempt.objects.update(usage=None)
    assert forecast.guess_carried(ended) == ended.input_bound // 4


def test_a_ceiling_asks_the_database_three_times_however_long_the_thread(
    api: FakeApi, ended: Job, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    job = ended
    for _ in range(3):
        job = end(api, follow(job))
    for previous in (ended, job):
        wanted = lifecycle.follow_up(previous, by=previous.submitted_by, prompt="x")
        spec = ModelSpec.objects.get(pk=wanted.model)
        with django_assert_num_queries(3):
            wanted.input_bound(spec)


# --- Reading a thread ----------------------------------------------------------------------------------


def test_a_thread_is_read_in_order_with_its_branches(
    api: FakeApi, submit: Submit, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    first = end(api, submit())
    second = end(api, follow(first))
    branch = end(api, follow(first, prompt="Or else?"))
    third = end(api, follow(second))
    later = follow(branch)
    stranger = submit(prompt="Something else")
    with django_assert_num_queries(1):
        found = list(Job.objects.thread_of(branch))
    assert found == [first, second, branch, third, later]
    assert stranger not in found
    assert list(Job.objects.thread_of(first)) == found
    assert Job.objects.chain_to(later) == [first, branch, later]
    assert lifecycle.outline(found, here=branch) == [
        Turn(first, 0, is_here=False, is_before=True),
        Turn(second, 0, is_here=False, is_before=False),
        Turn(third, 0, is_here=False, is_before=False),
        Turn(branch, 1, is_here=True, is_before=False),
        Turn(later, 1, is_here=False, is_before=False),
    ]


def test_what_hangs_from_a_job_that_is_not_shown_begins_anew(api: FakeApi, ended: Job) -> None:
    second = follow(ended)
    assert lifecycle.outline([second], here=ended) == [Turn(second, 0, is_here=False, is_before=False)]


def test_a_long_thread_is_no_deep_recursion(ended: Job) -> None:
    jobs = [Job(pk=number, previous_id=number - 1) for number in range(1, 3_000)]
    turns = lifecycle.outline(jobs, here=jobs[-1])
    assert [turn.job.pk for turn in turns] == [job.pk for job in jobs]
    assert all(turn.is_before for turn in turns[:-1])


def test_a_thread_without_its_job_has_no_chain(submit: Submit) -> None:
    assert Job.objects.none().chain_to(submit()) == []
    assert threads.obstacle(submit(), more=0) == ""
