"""Reads the calls a response waits for, and writes people's replies as the items that answer them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jobs.lifecycle import attaching
from jobs.models import Answer, Attempt, Connection, Given, Job, Kind, Status
from jobs.schemas.reading import UNSTORABLE

KEY_LIMIT = 256  # characters of a call's id; the API's own have at most 64
OUTPUT_LIMIT = 2_000_000  # characters of all outputs together; the API takes 10 MB each
NOT_ANSWERED = "Not answered."
ANSWERED_MEANWHILE = (
    "These calls have been answered or given up meanwhile, so these answers to them cannot be sent."
)

_KINDS: dict[str, tuple[Literal["function", "approval"], str]] = {
    "function_call": ("function", "call_id"),
    "mcp_approval_request": ("approval", "id"),
}
_ANSWERS = {"function_call_output": "call_id", "mcp_approval_response": "approval_request_id"}
_KEPT = ("type", "id", "call_id", "name", "arguments", "server_label")


@dataclass(frozen=True, slots=True)
class Call:
    """Something a response stopped for: a function's output, or leave to call a tool of an MCP server."""

    kind: Literal["function", "approval"]
    key: str  # the call_id of a function call, the id of an approval request
    name: str
    arguments: str = field(repr=False)  # JSON as the model wrote it, which may be none
    server_label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What someone answers to one call: an output or an error to a function, yes or no to an approval.

    Files may come with either, and are an output by themselves.
    """

    key: str
    output: str = field(default="", repr=False)
    error: str = field(default="", repr=False)
    approve: bool | None = None
    files: tuple[Given, ...] = field(default=(), repr=False)

    @property
    def is_empty(self) -> bool:
        return not (self.output.strip() or self.error.strip() or self.files) and self.approve is None

    def answers(self, call: Call) -> bool:
        """Tell whether it is a whole answer to a call."""
        if call.kind == "approval":
            return self.approve is not None
        said = bool(self.output.strip()) + bool(self.error.strip())
        return said == 1 or (said == 0 and bool(self.files))


def kept(item: Mapping[str, Any]) -> dict[str, str] | None:
    """Return what is kept of an output item that waits for an answer; None for any other item.

    An item without the id that an answer has to name cannot be answered, so it is none.
    """
    found = _KINDS.get(str(item.get("type")))
    if found is None or not all(isinstance(item.get(name), str) for name in (found[1], "name")):
        return None
    if not 0 < len(item[found[1]]) <= KEY_LIMIT:
        return None
    return {name: item[name] for name in _KEPT if isinstance(item.get(name), str)}


def calls_in(stored: Iterable[Mapping[str, Any]]) -> list[Call]:
    """Read an answer's `calls`, each once."""
    found: dict[str, Call] = {}
    for item in stored:
        entry = kept(item)
        if entry is not None:
            kind, id_field = _KINDS[entry["type"]]
            call = Call(
                kind,
                entry[id_field],
                entry["name"],
                entry.get("arguments", ""),
                entry.get("server_label", ""),
            )
            found.setdefault(call.key, call)
    return list(found.values())


def calls_of(job: Job) -> list[Call]:
    """Return what the job's response waits for, also once it was answered; one query.

    What broke off before its end (incomplete) waits for nothing: its calls were never made.
    """
    if job.status not in (Status.REQUIRES_ACTION, Status.COMPLETED):
        return []
    stored = Answer.objects.filter(job=job).values_list("calls", flat=True).first()
    return calls_in(stored or [])


def field_of(number: int) -> str:
    """Return under which name the error of a call, counted from 1, is found."""
    return f"call{number}"


def unusable(calls: Sequence[Call], replies: Sequence[Reply]) -> str:
    """Say why replies cannot even be kept; '' if they can."""
    if {reply.key for reply in replies} - {call.key for call in calls}:
        return "One of these replies belongs to a call that this job does not wait for."
    texts = [text for reply in replies for text in (reply.output, reply.error)]
    if sum(map(len, texts)) > OUTPUT_LIMIT:
        return f"Too long: at most {OUTPUT_LIMIT:,} characters in all."
    if any(map(UNSTORABLE.search, texts)):
        return "A reply cannot contain NUL characters or halves of a surrogate pair."
    return ""


def problems(calls: Sequence[Call], replies: Sequence[Reply]) -> dict[str, str]:
    """Return what is wrong with replies to calls: a field for each call, and `replies` for all of them.

    All or nothing: the API refuses a request that leaves one function call without its output.
    """
    if reason := unusable(calls, replies):
        return {"replies": reason}
    by_key = {reply.key: reply for reply in replies}
    found, missing = {}, []
    for number, call in enumerate(calls, 1):
        reply = by_key.get(call.key)
        if reply is not None and reply.answers(call):
            continue
        missing.append(call.name[:60])
        if call.kind == "approval":
            found[field_of(number)] = "Approve this call or refuse it."
        elif reply is not None and not reply.is_empty:
            found[field_of(number)] = "Send either an output or an error."
        else:
            found[field_of(number)] = "Write what the function returned, or send an error instead."
    if missing:
        answered = f"{len(calls) - len(missing)} of {len(calls)} answered"
        found["replies"] = f"{answered}. Still missing: {', '.join(missing)}."
    return found


def items_for(calls: Iterable[Call], replies: Iterable[Reply]) -> list[dict[str, Any]]:
    """Return one input item for each call; a call without a reply is told so, never left open."""
    by_key = {reply.key: reply for reply in replies}
    return [_item(call, by_key.get(call.key)) for call in calls]


def takes_files(connection: Connection) -> bool:
    """Tell whether outputs of calls may have files: of servers other than OpenAI's that is not known."""
    return connection.kind == Kind.OPENAI


def has_files(items: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether the output of a call among input items has files."""
    outputs = (item.get("output") for item in items if item.get("type") == "function_call_output")
    return any(isinstance(output, list) for output in outputs)


def replies_of(job: Job) -> tuple[Reply, ...]:
    """Return what a job answered to the calls of the one before it, to be answered once more."""
    items = job.prompt.input_items or ()
    return replies_in(items, attaching.given_with(job)) if items else ()


def replies_in(
    items: Iterable[Mapping[str, Any]], files: Mapping[str, tuple[Given, ...]]
) -> tuple[Reply, ...]:
    """Read replies back from the items that were sent, with the files of each by the key of its call."""
    return tuple(
        Reply(key=item["call_id"], output=item["output"], files=files.get(item["call_id"], ()))
        if item["type"] == "function_call_output"
        else Reply(key=item["approval_request_id"], approve=item["approve"])
        for item in items
        if item.get("type") in _ANSWERS
    )


def is_answer(job: Job) -> bool:
    """Tell whether a job answers the calls of the one before it; False once what it asked is not stored.

    A follow-up tells the model of each call that nobody answered it, and unlike answers has a prompt.
    """
    prompt = getattr(job, "prompt", None)
    if prompt is None:
        return False
    items = [item for item in prompt.input_items or () if item.get("type") in _ANSWERS]
    return bool(items) and (not prompt.text.strip() or not all(map(_is_left_open, items)))


def were_sent(job: Job | None) -> bool:
    """Tell whether a job, or one that it ran again, was admitted: what it answers was then answered."""
    while job is not None:
        if Attempt.objects.filter(job=job).exists():
            return True
        job = job.rerun_of
    return False


def keys_answered(items: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the keys of the calls that items answer."""
    return {str(item.get(_ANSWERS[item["type"]])) for item in items if item.get("type") in _ANSWERS}


def _is_left_open(item: Mapping[str, Any]) -> bool:
    return item.get("approve") is False or item.get("output") == _error(NOT_ANSWERED)


def _error(text: str) -> str:
    """Write an error as an output: the API has no field for it."""
    return json.dumps({"error": text}, ensure_ascii=False)


def _item(call: Call, reply: Reply | None) -> dict[str, Any]:
    if call.kind == "approval":
        return {
            "type": "mcp_approval_response",
            "approval_request_id": call.key,
            "approve": reply is not None and reply.approve is True,
        }
    output, error = (reply.output, reply.error.strip()) if reply is not None else ("", "")
    if not output.strip() and (error or reply is None or not reply.files):
        output = _error(error or NOT_ANSWERED)
    return {"type": "function_call_output", "call_id": call.key, "output": output}
