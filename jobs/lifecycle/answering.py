"""Answers the calls a response stopped for: all of them at once, and the thread goes on as a new job."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import F

from jobs import schemas
from jobs.lifecycle import attaching, calls, tools
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


def cards(job: Job, replies: Iterable[Reply] | None = None) -> list[Card]:
    """Return the calls of a job with the replies given, or else those that were saved; two queries."""
    waiting = calls.calls_of(job)
    if replies is None:
        replies = saved_replies(job) if job.status == Status.REQUIRES_ACTION else ()
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
    if job.status != Status.REQUIRES_ACTION:
        raise NotWaiting
    if not wanted.replies:
        raise SpecError(calls.problems(calls.calls_of(job), ()))

    def complete(following: Job) -> None:
        if not move(job.pk, of=[Status.REQUIRES_ACTION], to=Status.COMPLETED):
            raise NotWaiting
        SavedReplies.objects.filter(job=job).delete()
        tell(job.pk, "answered", actor=by, note=following.short_id)

    return submit(wanted, along=complete)


def save_replies(job: Job, replies: Iterable[Reply], *, by: User) -> None:
    """Keep replies for later, whole or not, with their files. Raises NotWaiting, or SpecError for what cannot
    be stored.
    """
    given = [reply for reply in replies if not reply.is_empty]
    if reason := calls.unusable(calls.calls_of(job), given):
        raise SpecError({"replies": reason})
    with transaction.atomic():
        # Under the job's lock: what is saved late must not outlive the answer.
        current = Job.objects.select_for_update().get(pk=job.pk)
        if current.status != Status.REQUIRES_ACTION:
            raise NotWaiting
        files = attaching.locked(one for reply in given for one in reply.files)
        if files is None:
            raise SpecError({"attachments": attaching.GONE})
        saved, _ = SavedReplies.objects.update_or_create(
            job=job, defaults={"by": by, "replies": [_stored(reply) for reply in given]}
        )
        saved.files.set(files.values())
        Job.objects.filter(pk=job.pk).update(version=F("version") + 1)


def saved_replies(job: Job) -> tuple[Reply, ...]:
    """Return the replies that were saved for a job; one query, and one for files where there are any."""
    saved = SavedReplies.objects.filter(job=job).first()
    stored = saved.replies if saved else ()
    named = saved is not None and any(reply.get("files") for reply in stored)
    files = {one.digest: one for one in saved.files.kept()} if saved and named else {}
    return tuple(Reply(**{**reply, "files": _given(reply.get("files", ()), files)}) for reply in stored)


def finish_without_answering(job_id: int, *, by: User | None = None) -> bool:
    """End a job that waits for answers to its calls as completed; True if this call did it."""
    with transaction.atomic():
        done = move(job_id, of=[Status.REQUIRES_ACTION], to=Status.COMPLETED)
        if done:
            SavedReplies.objects.filter(job=job_id).delete()
            tell(job_id, "finished_without_answering", actor=by)
    return done


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
