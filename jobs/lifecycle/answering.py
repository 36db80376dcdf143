"""Answers the calls a response stopped for: all of them at once, and the thread goes on as a new job."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import F

from jobs import schemas
from jobs.lifecycle import attaching, calls, replying, tools
from jobs.lifecycle.approval import ask
from jobs.lifecycle.calls import Call, Reply
from jobs.lifecycle.spec import JobSpec, SpecError
from jobs.lifecycle.submission import follow_up, submit, submitted_before
from jobs.lifecycle.transition import move, tell
from jobs.models import Attachment, Given, Job, SavedReplies, Status, User

BLOCK = 80  # characters from which on a text among the arguments is shown as a block


class NotWaiting(Exception):
    """The job does not wait for replies any more."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call: a short JSON value, or a text that reads better as a block."""

    name: str
    value: str = field(repr=False)
    is_block: bool


@dataclass(frozen=True, slots=True)
class Card:
    """A call as it is shown: what it asks, and what has been replied so far.

    `field` begins the names of its inputs and is where its error is found. `arguments` is empty where the
    model wrote no JSON object; `call.arguments` is then shown as it is. `host` is where an approval sends
    the arguments, '' if the job's tools do not say.
    """

    call: Call
    field: str
    arguments: Sequence[Argument]
    host: str
    reply: Reply

    @property
    def is_approval(self) -> bool:
        return self.call.kind == "approval"

    @property
    def is_answered(self) -> bool:
        return self.reply.answers(self.call)

    @property
    def state(self) -> str:
        """Say what it waits for."""
        if self.is_answered:
            return "Answered"
        return "Needs a decision" if self.is_approval else "Needs an output"


@dataclass(frozen=True, slots=True)
class Draft:
    """Replies that were saved for later, and why they are worth their price, should that be asked.

    `asked_in` is the job that waits for approval with such, if one does.
    """

    replies: tuple[Reply, ...] = ()
    why: str = ""
    asked_in: Job | None = None


def cards(job: Job, replies: Iterable[Reply] | None = None) -> list[Card]:
    """Return the calls of a job with the replies given, or else those that were saved; two queries."""
    waiting = calls.calls_of(job)
    if replies is None:
        replies = saved_draft(job).replies
    by_key = {reply.key: reply for reply in replies}
    given = job.prompt.tools if hasattr(job, "prompt") else None
    return [
        Card(
            call=call,
            field=calls.field_of(number),
            arguments=_arguments(call.arguments),
            host=tools.host_of(given, call.server_label) if call.kind == "approval" else "",
            reply=by_key.get(call.key, Reply(key=call.key)),
        )
        for number, call in enumerate(waiting, 1)
    ]


def reply_spec(job: Job, replies: Iterable[Reply], *, by: User, submission_key: str = "") -> JobSpec:
    """Return what `answer` would submit: the job's settings, also to show the ceiling before all is answered.

    Replies that are empty are left out. Raises SpecError where what the job asked is no longer stored.
    """
    given = tuple(reply for reply in replies if not reply.is_empty)
    wanted = follow_up(job, by=by, replies=given, submission_key=submission_key)
    return dataclasses.replace(wanted, title=job.prompt.title)


def answer(job: Job, replies: Iterable[Reply], *, by: User, submission_key: str = "") -> Job:
    """Submit a job that goes on with a reply to every call, and complete the one that waited for them.

    Raises NotWaiting if it does not wait (any more); SpecError with `replies` and a field for each call that
    lacks its reply; spend.BudgetRefused or spend.NoCap. Whatever it raises, nothing has changed.
    """
    wanted = reply_spec(job, replies, by=by, submission_key=submission_key)
    if twin := submitted_before(wanted):
        return twin
    _check(job, wanted)

    def be_first(_: Job) -> None:
        if not _is_waiting(job.pk):
            raise NotWaiting

    return submit(wanted, along=be_first)


def ask_to_answer(
    job: Job, replies: Iterable[Reply], *, by: User, why: str = "", submission_key: str = ""
) -> Job:
    """Answer a job's calls, or have the answer wait for an approver where a limit or a budget is in its way.

    The job then goes on waiting, with the replies saved, and is completed when the answer is approved; if it
    is not, its calls can be answered again. Raises as `answer` does.
    """
    wanted = reply_spec(job, replies, by=by, submission_key=submission_key)
    if twin := submitted_before(wanted):
        return twin
    _check(job, wanted)
    return ask(wanted, why=why, along=lambda _: save_replies(job, wanted.replies, by=by, why=why))


def save_replies(job: Job, replies: Iterable[Reply], *, by: User, why: str = "") -> None:
    """Keep replies for later, whole or not, with their files and why they are worth their price.

    Raises NotWaiting, or SpecError for what cannot be stored and while an answer waits for approval.
    """
    given = [reply for reply in replies if not reply.is_empty]
    if reason := calls.unusable(calls.calls_of(job), given):
        raise SpecError({"replies": reason})
    with transaction.atomic():
        # Before the job, as a new one takes its attachments before it ends the wait of the one before it.
        files = attaching.locked(one for reply in given for one in reply.files)
        # Under the job's lock: what is saved late must not outlive the answer.
        current = Job.objects.select_for_update(no_key=True).get(pk=job.pk)
        if current.status != Status.REQUIRES_ACTION:
            raise NotWaiting
        # An answer that is just being asked for is stored here first, and has the calls kept for it then.
        if replying.is_reserved(job=job.pk):
            raise SpecError({"replies": replying.ASKED_ALREADY})
        if files is None:
            raise SpecError({"attachments": attaching.GONE})
        saved, _ = SavedReplies.objects.update_or_create(
            job=job, defaults={"by": by, "replies": [_stored(reply) for reply in given], "why": why}
        )
        saved.files.set(files.values())
        Job.objects.filter(pk=job.pk).update(version=F("version") + 1)


def saved_draft(job: Job) -> Draft:
    """Return what was saved for a job that waits; one query, and one for files where there are any."""
    kept = SavedReplies.objects.filter(job=job).select_related("asked_in")
    saved = kept.first() if job.status == Status.REQUIRES_ACTION else None
    if saved is None:
        return Draft()
    named = any(reply.get("files") for reply in saved.replies)
    files = {one.digest: one for one in saved.files.kept()} if named else {}
    replies = (Reply(**{**reply, "files": _given(reply.get("files", ()), files)}) for reply in saved.replies)
    return Draft(tuple(replies), saved.why, saved.asked_in)


def finish_without_answering(job_id: int, *, by: User | None = None) -> bool:
    """End a job that waits for answers to its calls as completed; True if this call did it.

    Raises SpecError while an answer waits for approval: that is withdrawn first.
    """
    with transaction.atomic():
        if not _is_waiting(job_id):
            return False
        if replying.is_reserved(job=job_id):
            raise SpecError({"replies": replying.ASKED_ALREADY})
        SavedReplies.objects.filter(job=job_id).delete()
        tell(job_id, "finished_without_answering", actor=by)
        return move(job_id, of=[Status.REQUIRES_ACTION], to=Status.COMPLETED)


def _check(job: Job, wanted: JobSpec) -> None:
    """Raise NotWaiting where a job does not wait for replies, SpecError where there are none."""
    if job.status != Status.REQUIRES_ACTION:
        raise NotWaiting
    if not wanted.replies:
        raise SpecError(calls.problems(calls.calls_of(job), ()))


def _is_waiting(job_id: int) -> bool:
    """Tell whether a job waits for replies, and lock it: of two who answer it, one is too late."""
    locked = Job.objects.select_for_update(no_key=True)
    return locked.filter(pk=job_id, status=Status.REQUIRES_ACTION).exists()


def _stored(reply: Reply) -> dict[str, Any]:
    """Return a reply as it is saved: its files as a form holds them."""
    fields = {"key": reply.key, "output": reply.output, "error": reply.error, "approve": reply.approve}
    return {**fields, "files": [file.value for file in reply.files]}


def _given(values: Iterable[str], files: Mapping[str, Attachment]) -> tuple[Given, ...]:
    """Read files as they are saved; those that are no longer kept are left out."""
    named = (value.partition(" ") for value in values)
    return tuple(Given(files[digest], name) for digest, _, name in named if digest in files)


def _arguments(text: str) -> list[Argument]:
    """Read a call's arguments, as far as they are the JSON object they should be."""
    try:
        found = schemas.parse(text)
    except schemas.SchemaTextError:
        return []
    return [_argument(name, value) for name, value in found.items()] if isinstance(found, dict) else []


def _argument(name: str, value: Any) -> Argument:
    is_block = isinstance(value, str) and (len(value) > BLOCK or "\n" in value)
    return Argument(name, value if is_block else json.dumps(value, ensure_ascii=False), is_block)
