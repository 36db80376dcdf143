"""Threads, calls and tools against the practice API over HTTP, through the real SDK."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Sum
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.lifecycle import Reply
from jobs.models import (
    Answer,
    Attempt,
    Connection,
    EntryKind,
    Event,
    Job,
    Kind,
    LedgerEntry,
    Project,
    RawResponse,
    Secret,
    Status,
    User,
)
from tests.factories import a_spec
from tests.sandbox_process import SandboxProcess

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

SAGE = {
    "type": "function",
    "name": "run_sage",
    "parameters": {
        "type": "object",
        "properties": {"code": {"type": "string"}},
        "required": ["code"],
        "additionalProperties": False,
    },
    "strict": True,
}
LOOK_UP = {**SAGE, "name": "look_up"}
ARXIV = {"type": "mcp", "server_label": "arxiv", "server_url": "https://mcp.arxiv-tools.org/sse"}
SOON = "[[sandbox: seconds=0]]"

type Ask = Callable[..., Job]


@pytest.fixture
def ask(person: User, wired: Project) -> Ask:
    """Submit a job that ends at once, and see it end."""

    def ask(prompt: str = f"Is lemma 4.7 true? {SOON}", **wanted: Any) -> Job:
        wanted = {"model": "gpt-6-sol", "mode": "standard", **wanted}
        return run(lifecycle.submit(a_spec(wired, person, prompt=prompt, **wanted)))

    return ask


def run(job: Job) -> Job:
    """Send a job and poll it to its end."""
    for kind in ("send", "poll"):
        Job.objects.filter(next_action_at__isnull=False).update(next_action_at=Now())
        lifecycle.run_pump(kind)  # type: ignore[arg-type]
    job.refresh_from_db()
    return job


def follow(job: Job, prompt: str = f"And lemma 4.8? {SOON}", **changes: Any) -> Job:
    return run(lifecycle.submit(lifecycle.follow_up(job, by=job.submitted_by, prompt=prompt, **changes)))


def body_of(job: Job) -> dict[str, Any]:
    body: dict[str, Any] = RawResponse.objects.get(attempt__job=job).body
    return body


def response_id(job: Job) -> str:
    return Attempt.objects.get(job=job).response_id


def read_by(sandbox: SandboxProcess, job: Job) -> list[str]:
    """Return what the API was sent as input: role or type of each item."""
    items = sandbox.call("GET", f"/responses/{response_id(job)}/input_items?order=asc&limit=100").json["data"]
    return [item["role"] if item["type"] == "message" else item["type"] for item in items]


def within_its_hold(job: Job) -> bool:
    rows = LedgerEntry.objects.filter(job=job)
    hold = rows.filter(kind=EntryKind.HOLD).aggregate(all=Sum("amount"))["all"]
    return Decimal(0) < job.cost <= hold


def test_a_thread_goes_on_by_the_id_of_its_last_response(ask: Ask, sandbox: SandboxProcess) -> None:
    first = ask()
    second = follow(first)
    third = follow(second)
    for job, before in ((second, first), (third, second)):
        assert job.status == Status.COMPLETED
        assert body_of(job)["previous_response_id"] == response_id(before)
        assert read_by(sandbox, job) == ["user"]
        assert within_its_hold(job)
    read = [body_of(job)["usage"]["input_tokens"] for job in (first, second, third)]
    assert read == sorted(set(read)), "the chain is read again and charged again"


def test_a_forgotten_thread_is_sent_again_and_paid_once(ask: Ask, sandbox: SandboxProcess) -> None:
    first = ask()
    second = follow(first)
    sandbox.call("DELETE", f"/responses/{response_id(second)}")
    third = follow(second)
    assert third.status == Status.COMPLETED
    assert body_of(third)["previous_response_id"] is None
    assert read_by(sandbox, third) == ["user", "assistant", "user", "assistant", "user"]
    results = [post["result"] for post in sandbox.log()["posts"]]
    assert results == ["accepted", "accepted", "400", "accepted"]
    assert Event.objects.filter(job=third, kind="replayed").count() == 1
    assert within_its_hold(third)


def test_the_api_refuses_what_we_never_send(ask: Ask, sandbox: SandboxProcess) -> None:
    """The thread that an unanswered call poisons, and the same thread as it is followed up here."""
    first = ask("Compute it. [[sandbox: seconds=0 calls=2]]", tools=(SAGE, LOOK_UP))
    assert first.status == Status.REQUIRES_ACTION
    refused = sandbox.create("Go on.", model="gpt-6-sol", previous_response_id=response_id(first))
    assert (refused.status, refused.error["message"][:41]) == (
        400,
        "No tool output found for function call ca",
    )
    second = follow(first)
    assert second.status == Status.COMPLETED
    assert body_of(second)["previous_response_id"] == response_id(first)
    assert read_by(sandbox, second) == ["function_call_output", "function_call_output", "user"]


def test_calls_are_answered_and_the_thread_goes_on(ask: Ask, sandbox: SandboxProcess) -> None:
    first = ask("Compute it. [[sandbox: seconds=0 calls=2]]", tools=(SAGE, LOOK_UP))
    cards = lifecycle.cards(first)
    assert [card.call.name for card in cards] == ["run_sage", "look_up"]
    assert [argument.name for argument in cards[0].arguments] == ["code"]
    replies = [
        Reply(key=cards[0].call.key, output='{"norm": 1}'),
        Reply(key=cards[1].call.key, error="It is not there."),
    ]
    second = run(lifecycle.answer(first, replies, by=first.submitted_by))
    first.refresh_from_db()
    assert (first.status, second.status) == (Status.COMPLETED, Status.COMPLETED)
    assert read_by(sandbox, second) == ["function_call_output", "function_call_output"]
    assert within_its_hold(second)


@pytest.mark.parametrize("kind", [Kind.OPENAI, Kind.AZURE])
def test_calls_are_answered_with_all_items_where_the_id_is_not_to_be_trusted(
    ask: Ask, sandbox: SandboxProcess, kind: Kind
) -> None:
    first = ask("Compute it. [[sandbox: seconds=0 calls=1]]", tools=(SAGE,))
    Connection.objects.update(kind=kind)
    if kind == Kind.OPENAI:
        sandbox.call("DELETE", f"/responses/{response_id(first)}")
    (card,) = lifecycle.cards(first)
    first.project.connection.refresh_from_db()
    replies = [Reply(key=card.call.key, output="1")]
    second = lifecycle.answer(first, replies, by=first.submitted_by)
    # Its own prompt comes along, and with it what it asks of the sandbox.
    run(second)
    assert second.status == Status.REQUIRES_ACTION
    assert body_of(second)["previous_response_id"] is None
    assert read_by(sandbox, second) == ["user", "function_call", "function_call_output"]


@pytest.mark.parametrize("approve", [True, False])
def test_an_mcp_call_is_approved_or_refused(ask: Ask, sandbox: SandboxProcess, approve: bool) -> None:
    first = ask("Find it. [[sandbox: seconds=0 approvals=1]]", tools=(ARXIV,), max_tool_calls=2)
    (card,) = lifecycle.cards(first)
    assert (first.status, card.host) == (Status.REQUIRES_ACTION, "mcp.arxiv-tools.org")
    second = run(lifecycle.answer(first, [Reply(key=card.call.key, approve=approve)], by=first.submitted_by))
    kinds = [item["type"] for item in body_of(second)["output"]]
    assert ("mcp_call" in kinds) == approve
    # Later the server has forgotten all: what was found is told, and called no second time.
    sandbox.call("DELETE", f"/responses/{response_id(second)}")
    third = follow(second)
    told = ["function_call", "function_call_output"] if approve else []
    assert read_by(sandbox, third) == ["user", *told, "assistant", "user"]


def test_an_approval_the_api_never_asked_for_is_refused(sandbox: SandboxProcess) -> None:
    stray = {"type": "mcp_approval_response", "approval_request_id": "mcpr_9", "approve": True}
    refused = sandbox.create("", input=[stray])
    assert (refused.status, refused.error["param"]) == (400, "input")


def test_another_connection_is_told_the_whole_thread(
    ask: Ask, sandbox: SandboxProcess, wired: Project
) -> None:
    first = ask()
    wired.connection = Connection.objects.create(
        name="other", is_practice=True, base_url=sandbox.base_url, key=Secret.of("sk-test-key")
    )
    wired.save()
    second = follow(Job.objects.get(pk=first.pk))
    assert read_by(sandbox, second) == ["user", "assistant", "user"]


def test_searches_are_charged_within_the_ceiling_to_the_last_digit(ask: Ask, sandbox: SandboxProcess) -> None:
    job = ask(
        "Search for it. [[sandbox: seconds=0 searches=5 reasoning=640]]",
        tools=({"type": "web_search"},),
        max_tool_calls=3,
    )
    body = body_of(job)
    assert body["tool_usage"]["web_search"]["num_requests"] == 3
    assert within_its_hold(job)
    (billed,) = sandbox.log()["responses"]
    assert job.cost == Decimal(billed["bill"]["amount"])
    assert Answer.objects.get(job=job).calls == []


def test_no_thread_costs_more_than_was_held_for_it(ask: Ask, sandbox: SandboxProcess) -> None:
    """Ten turns of every kind, some forgotten by the server: each within the ceiling of its own."""
    job = ask("Why? [[sandbox: seconds=0 answer_tokens=30]]")
    turns = [job]
    for number in range(9):
        if number % 3 == 2:
            sandbox.call("DELETE", f"/responses/{response_id(job)}")
        wish = ("", "outcome=incomplete", "outcome=failed code=invalid_prompt usage=full", "calls=1")[
            number % 4
        ]
        job = follow(
            job,
            prompt=f"Why is that, {number}? [[sandbox: seconds=0 times=1 {wish}]]",
            model=("gpt-6-sol", "gpt-6-luna")[number % 5 == 4],
            max_output_tokens=2_000,
            tools=(SAGE,),
        )
        assert job.status in ("completed", "incomplete", "failed", "requires_action"), number
        turns.append(job)
    assert all(within_its_hold(job) for job in turns)
    assert [one.pk for one in Job.objects.chain_to(job)] == [one.pk for one in turns]
