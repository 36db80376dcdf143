"""Carries a thread on: whether it can go on, how it is read, and which items are sent again for it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Exists, OuterRef, Sum, prefetch_related_objects
from django.db.models.functions import Coalesce

from jobs import attachments
from jobs.lifecycle import attaching, calls
from jobs.models import (
    FINAL,
    Answer,
    Attempt,
    Connection,
    Job,
    JobAttachment,
    Kind,
    RawResponse,
    Status,
)

# Ends whose response has output that a thread goes on from.
ANSWERED = (Status.COMPLETED, Status.INCOMPLETE, Status.REQUIRES_ACTION)
FORGOTTEN = "A prompt of this thread is no longer stored, so it cannot go on."
# Parts of a message and where their words are.
_SPOKEN = {"output_text": "text", "refusal": "refusal"}


@dataclass(frozen=True, slots=True)
class Turn:
    """One job of a thread as it is shown: `level` counts the branches it hangs from, 0 on the main line."""

    job: Job
    level: int
    is_here: bool  # the job that was asked for
    is_before: bool  # what that job builds on


def can_be_followed(job: Job) -> bool:
    """Tell whether a thread may go on from a job: once it has ended, at OpenAI or here."""
    return job.status in (*FINAL, Status.REQUIRES_ACTION)


def outline(jobs: Sequence[Job], here: Job) -> list[Turn]:
    """Put the jobs of a thread (`Job.objects.thread_of`) in the order in which they are read.

    Each job is followed by those that build on it: the earliest on the same level, every later one, a
    branch, one level deeper after all that came of the earlier.
    """
    following: dict[int | None, list[Job]] = {}
    by_id = {job.pk: job for job in jobs}
    for job in jobs:
        # Whoever cannot see a job's previous one sees it as a beginning.
        following.setdefault(job.previous_id if job.previous_id in by_id else None, []).append(job)
    before, link = set[int](), by_id.get(here.pk)
    while link is not None:
        before.add(link.pk)
        link = by_id.get(link.previous_id or 0)
    turns = []
    rest = [(job, 0) for job in reversed(following.get(None, []))]
    while rest:
        job, level = rest.pop()
        turns.append(Turn(job, level, job.pk == here.pk, job.pk in before - {here.pk}))
        nexts = following.get(job.pk, [])
        rest += [(branch, level + 1) for branch in reversed(nexts[1:])]
        rest += [(first, level) for first in nexts[:1]]
    return turns


def obstacle(previous: Job, *, more: int) -> str:
    """Say why a thread cannot go on from a job with `more` bytes of files; '' if it can."""
    chain = Job.objects.filter(pk__in=[job.pk for job in Job.objects.chain_to(previous)])
    found = chain.aggregate(
        asked=Count("pk", distinct=True),
        stored=Count("prompt", distinct=True),
        size=Coalesce(Sum("jobattachment__attachment__size"), 0),
    )
    if found["stored"] < found["asked"]:
        return FORGOTTEN
    size = found["size"] + more
    return attachments.too_large_in_thread(size) if size > attachments.MOST_BYTES_A_THREAD else ""


def is_told_with_files(previous: Job) -> bool:
    """Tell whether a call of the thread up to a job was answered with a file."""
    chain = [job.pk for job in Job.objects.chain_to(previous)]
    return JobAttachment.objects.filter(job__in=chain).exclude(call_key="").exists()


def items_asked(job: Job) -> list[dict[str, Any]]:
    """Return what a job itself asks, as input items: its replies to calls, then its message."""
    return attaching.input_of(job, job.prompt.input_items or (), job.prompt.text)


def continuation(job: Job, connection: Connection) -> dict[str, Any]:
    """Return `input`, and `previous_response_id` where the thread is held at the other end.

    It is taken to be held where OpenAI itself answered through the same connection and every call it waits
    for gets its output here. Else (Azure loses the calls of background responses, another account never had
    them, a server that has said so has forgotten) all items of the thread are sent again.
    """
    own = items_asked(job)
    if job.previous is None:
        return {"input": own}
    if not job.replays_thread and (response_id := _held_at(connection, job, job.previous, own)):
        return {"previous_response_id": response_id, "input": own}
    return {"input": _answerable([*_said_before(job, job.previous), *own], own)}


def used(chain: Sequence[Job], *, known_to: Job | None = None) -> dict[int, Attempt]:
    """Return the send of each job whose response it took; jobs without an answer have none.

    Nor have those whose answer turned up only after `known_to` was submitted: its ceiling does not hold it.
    """
    answered = [job for job in chain if job.status in ANSWERED]
    if known_to is not None:
        made_at = known_to.created_at
        answered = [job for job in answered if job.finished_at is not None and job.finished_at <= made_at]
    ended = Attempt.objects.filter(
        job__in=[job.pk for job in answered],
        end_status__in=[Status.COMPLETED, Status.INCOMPLETE],
    ).exclude(response_id="")
    ordered = ended.annotate(is_taken=Exists(Answer.objects.filter(attempt=OuterRef("pk"))))
    return {attempt.job_id: attempt for attempt in ordered.order_by("is_taken", "number")}


def _held_at(connection: Connection, job: Job, previous: Job, own: Sequence[Mapping[str, Any]]) -> str:
    """Return the id under which a connection still has the response that a job goes on from; '' if none."""
    if connection.kind != Kind.OPENAI:
        return ""
    attempt = used([previous], known_to=job).get(previous.pk)
    if attempt is None or attempt.connection_id != connection.pk:
        return ""
    stored = Answer.objects.filter(job=previous).values_list("calls", flat=True).first()
    waiting = {call.key for call in calls.calls_in(stored or [])}
    return "" if waiting - calls.keys_answered(own) else attempt.response_id


def _said_before(job: Job, previous: Job) -> Iterator[dict[str, Any]]:
    """Yield what was asked and answered before a job; what is no longer stored is passed over."""
    chain = Job.objects.chain_to(previous)
    prefetch_related_objects(chain, "prompt")
    sends = used(chain, known_to=job)
    bodies = dict(RawResponse.objects.filter(attempt__in=sends.values()).values_list("attempt", "body"))
    for one in chain:
        if hasattr(one, "prompt"):
            yield from items_asked(one)
        attempt = sends.get(one.pk)
        output = bodies.get(attempt.pk, {}).get("output") if attempt else None
        for item in output if isinstance(output, list) else []:
            if isinstance(item, dict):
                yield from _again(item)


def _again(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an output item as input for a server that does not know it; nothing where that cannot be done.

    Ids are left out: an item named by its id is refused without the reasoning item before it. Reasoning is
    left out: without its encrypted content nobody can read it. So are searches and lists of tools, whose
    finds are in the answer.
    """
    kind = item.get("type")
    if kind == "message":
        if texts := list(_texts(item.get("content"))):
            phase = {"phase": item["phase"]} if isinstance(item.get("phase"), str) else {}
            yield {"role": "assistant", "content": "\n\n".join(texts), **phase}
    elif kind == "function_call" and (call := calls.kept(item)):
        yield {name: call.get(name, "") for name in ("type", "call_id", "name", "arguments")}
    elif kind == "mcp_approval_request" and (call := calls.kept(item)):
        yield {name: call.get(name, "") for name in ("type", "id", "server_label", "name", "arguments")}
    elif kind == "mcp_call" and all(isinstance(item.get(name), str) for name in ("id", "name")):
        # Sent as it is, its output is accepted and dropped unread; as a function's it is read.
        key, result = item["id"][:64], item.get("output")
        yield {
            "type": "function_call",
            "call_id": key,
            "name": item["name"],
            "arguments": str(item.get("arguments") or "{}"),
        }
        yield {
            "type": "function_call_output",
            "call_id": key,
            "output": result if isinstance(result, str) else "The call failed.",
        }


def _texts(parts: object) -> Iterator[str]:
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, dict):
            text = part.get(_SPOKEN.get(str(part.get("type")), ""))
            if isinstance(text, str):
                yield text


def _answerable(items: Sequence[dict[str, Any]], own: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Leave out calls without an output and outputs without a call: the API refuses the whole request.

    Of approvals only those that are answered now are kept: what was approved before was called then, and
    must not be called again.
    """
    called = {item.get("call_id") for item in items if item.get("type") == "function_call"}
    returned = {item.get("call_id") for item in items if item.get("type") == "function_call_output"}
    decided = {item.get("approval_request_id") for item in own if item.get("type") == "mcp_approval_response"}
    wanted = {
        "function_call": ("call_id", returned),
        "function_call_output": ("call_id", called),
        "mcp_approval_request": ("id", decided),
        "mcp_approval_response": ("approval_request_id", decided),
    }

    def has_partner(item: dict[str, Any]) -> bool:
        name, keys = wanted.get(str(item.get("type")), ("", set()))
        return not name or item.get(name) in keys

    return [item for item in items if has_partner(item)]
