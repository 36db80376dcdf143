"""Gathers what the pages of one job show, and says how long such a page goes on asking for news."""

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Count, Exists, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest
from django.utils import timezone

from jobs import access, lifecycle
from jobs.access import Act, Role
from jobs.forms import ResolveForm
from jobs.models import (
    IN_FLIGHT,
    Answer,
    Attempt,
    AttemptState,
    Connection,
    Event,
    Job,
    JobAttachment,
    Kind,
    LedgerEntry,
    Membership,
    RawResponse,
    Status,
)
from jobs.models.questions import AS_JOINED, Anyone, Blank, Question
from jobs.rendering import RENDERER_VERSION, results
from jobs.rendering.results import Spot
from jobs.views import news, states, words
from jobs.views.answer import remarks_on, shown, value_of
from jobs.views.attachments import ATTACHING
from jobs.views.bill import bill_of
from jobs.views.correction import correction_of
from jobs.views.frame import frame_of, person_of
from jobs.views.pace import pace_of
from jobs.views.states import Story
from jobs.views.timeline import lines_of

# What the card of a thread shows of each job.
TURN_FIELDS = ("short_id", "status", "model", "cost", "previous", "created_at", "prompt__title")
ACTS = (Act.APPROVE, Act.SUBMIT, Act.CANCEL, Act.RERUN, Act.RESOLVE, Act.JUDGE, Act.TAG, Act.CHANGE_PROJECT)
# What the first tab shows, where that is no answer.
FIRST_TABS = {
    Status.AWAITING_APPROVAL: "Status",
    Status.UNCONFIRMED: "Status",
    Status.REQUIRES_ACTION: "Calls",
    Status.FAILED: "What happened",
    Status.CANCELLED: "What happened",
}

_USAGE_AWAITED = Attempt.objects.filter(
    job=OuterRef("pk"), state=AttemptState.KNOWN, end_status__in=[Status.COMPLETED, Status.INCOMPLETE]
)


@dataclass(frozen=True, slots=True)
class Tab:
    """One page of a job, with how much is on it where that says something."""

    path: str
    name: str
    count: int | None = None


def find(user: Any, short_id: str) -> Job:
    """Return a job the person may see, with all that its head needs; a foreign or unknown one is a 404."""
    return _one(_found(is_superuser=user.is_superuser), user, short_id)


def allowed(request: HttpRequest, short_id: str, act: Act) -> Job:
    """Return a job the person may do this to: 404 if they may not see it, 403 if they may not do it."""
    found = find(person_of(request), short_id)
    if act not in acts_open(found, person_of(request)):
        raise PermissionDenied
    return found


def find_for_news(user: Any, short_id: str) -> Job:
    """Return a job with just enough to tell whether its page would look different, in one query."""
    return _one(_found_for_news(is_superuser=user.is_superuser), user, short_id)


def answer_of(job: Job) -> Answer | None:
    """Return the answer that was read with the job."""
    return getattr(job, "answer", None)


def interval(job: Job, now: dt.datetime) -> int | None:
    """Return the seconds until a page should ask for news again; None when nothing can change any more.

    A final job still changes while its answer is not rendered, and while its missing usage is asked for.
    """
    answer = answer_of(job)
    is_rendered = answer is None or answer.renderer_version in (RENDERER_VERSION, Answer.PLAIN)
    if job.is_final and is_rendered and not getattr(job, "usage_awaited", False):
        return None
    age = (now - (job.finished_at or job.sent_at or job.created_at)).total_seconds()
    return news.wait(age)


def tag_of(job: Job, now: dt.datetime) -> str:
    """Return what tells one look of a job's page from the next: its version, and what changes without it."""
    connection = job.project.connection
    paused = connection.paused_at.timestamp() if connection.paused_at else 0
    slow = int(job.is_in_flight and pace_of(job, now).is_slow)
    place = f"{getattr(job, 'ahead', None)}/{getattr(job, 'slots_in_use', None)}"
    return f"{job.version}.{interval(job, now) or 0}.{slow}.{paused:.0f}.{place}"


def other_side(connection: Connection) -> str:
    """Return what the API at the other end of a connection is called in a sentence."""
    if connection.is_practice:
        return "the practice API"
    return {Kind.OPENAI: "OpenAI", Kind.AZURE: "Azure"}.get(Kind(connection.kind), connection.name)


def acts_open(job: Job, user: Any) -> set[Act]:
    """Return what the person that `find` found the job for may do to it."""
    mine: int | None = getattr(job, "my_role", None)
    role, is_own = Role(mine) if mine else None, job.submitted_by_id == user.pk
    return {
        act for act in ACTS if access.allowed(act, role=role, is_operator=user.is_superuser, is_own=is_own)
    }


def may_follow(job: Job, acts: Collection[Act]) -> bool:
    """Tell whether the page offers to ask on: from a job that is over, in a project that takes jobs."""
    is_open = job.project.archived_at is None and hasattr(job, "prompt")
    return Act.SUBMIT in acts and is_open and job.is_final and lifecycle.can_be_followed(job)


def head(job: Job, request: HttpRequest, tab: str) -> dict[str, Any]:
    """Return what the head of every page of a job shows."""
    acts = acts_open(job, person_of(request))
    now = timezone.now()
    is_slow = job.is_in_flight and pace_of(job, now).is_slow
    value = value_of(job)
    spots = results.spots(value)
    return {
        "job": job,
        "prompt": getattr(job, "prompt", None),
        "title": getattr(getattr(job, "prompt", None), "title", job.short_id),
        "badge": "slow" if is_slow and not job.is_cancelling else job.status,
        "api": other_side(job.project.connection),
        "tab": tab,
        "tabs": _tabs(job, spots),
        "value": value,
        "spots": spots,
        "may_cancel": Act.CANCEL in acts and job.can_be_cancelled,
        "may_rerun": Act.RERUN in acts,
        "may_approve": Act.APPROVE in acts,
        "may_resolve": Act.RESOLVE in acts,
        "may_change_rule": Act.CHANGE_PROJECT in acts,
        "acts": acts,
        "page_url": request.build_absolute_uri(job.get_absolute_url()),
        "now": now,
    }


def body(job: Job, request: HttpRequest, form: ResolveForm | None = None) -> dict[str, Any]:
    """Return what a job's first page shows: its state with the next step, its bill and its thread."""
    found = head(job, request, tab="")
    now, person = found["now"], person_of(request)
    rows = _ledger().ask(job=job.pk)
    # Every attempt has its hold in the ledger, and is read with it.
    made = {row.attempt.pk: row.attempt for row in rows if row.attempt}
    attempts = sorted(made.values(), key=lambda attempt: attempt.number)
    events = _events().ask(job=job.pk)
    turns = thread_of(job, person)
    attempt = _shown(job, attempts)
    bill = bill_of(job, attempts, rows, _bodies(job, attempts))
    story = Story(
        job=job,
        api=found["api"],
        now=now,
        frame=frame_of(request),
        attempts=attempts,
        attempt=attempt,
        events=events,
        rows=rows,
        bill=bill,
        previous=next((turn.job for turn in turns if turn.job.pk == job.previous_id), None),
        may_rerun=found["may_rerun"],
        may_approve=found["may_approve"],
    )
    answer = answer_of(job)
    connection = attempt.connection if attempt else job.project.connection
    found |= {
        "state_template": _template_of(job),
        "paused_because": words.paused_because(connection),
        "attempts": attempts,
        "attempt": attempt,
        "connection": connection,
        "bill": bill,
        "timeline": lines_of(job, events, found["api"], now),
        "turns": turns if len(turns) > 1 else (),
        "is_followed": any(turn.job.previous_id == job.pk for turn in turns),
        "may_follow": may_follow(job, found["acts"]),
        "submission_key": uuid.uuid4(),
        "attaching": ATTACHING,
        "tools": words.tools_given(getattr(found["prompt"], "tools", None) or ()),
        "answer": answer,
        "poll": interval(job, now),
        "tag": tag_of(job, now),
    }
    found |= shown(job, answer, found["value"], found["spots"], request.GET)
    if found["may_follow"]:
        found["fix"] = correction_of(job, found.get("result"), frame_of(request))
    noted = any(event.kind == "noted" for event in events)
    found |= remarks_on(job, answer, by=person, acts=found["acts"], has_notes=noted)
    if answer is not None:
        found["calls"] = [{**call, "arguments": pretty(call.get("arguments", ""))} for call in answer.calls]
    found |= states.told(story, form)
    return found | {"may_answer": found["may_resolve"] and found.get("asked_in") is None}


def thread_of(job: Job, user: Any) -> Sequence[lifecycle.Turn]:
    """Return the thread a job belongs to, in the order in which it is read; one query."""
    question = _thread(is_superuser=user.is_superuser)
    return lifecycle.outline(question.ask(person=user.pk, first=job.root_id or job.pk), job)


def replies_of(job: Job) -> Sequence[lifecycle.Card]:
    """Return what a job answered to the calls of the one before it."""
    items = getattr(getattr(job, "prompt", None), "input_items", None)
    if not items or job.previous is None or not hasattr(job.previous, "prompt"):
        return []
    return lifecycle.cards(job.previous, lifecycle.replies_of(job))


def files_of(job: Job) -> dict[str, list[JobAttachment]]:
    """Return the files of a job: beside its prompt (''), and by the call to whose output they belong."""
    found: dict[str, list[JobAttachment]] = {}
    for row in JobAttachment.objects.of(job):
        found.setdefault(row.call_key, []).append(row)
    return found


def pretty(value: object) -> str:
    """Return JSON as people read it; a string that holds JSON is read first."""
    if isinstance(value, str):
        try:
            value = results.read(value)
        except ValueError:
            return str(value)
    return results.pretty(value)


def _one(question: Question[Job], user: Any, short_id: str) -> Job:
    # PostgreSQL refuses a NUL even to look for it.
    found = [] if "\x00" in short_id else question.ask(person=user.pk, short_id=short_id)
    if not found:
        raise Http404
    return found[0]


@lru_cache
def _found(*, is_superuser: bool) -> Question[Job]:
    role = Membership.objects.filter(project=OuterRef("project"), user=Blank("person")).values("role")
    rows = Job.objects.visible_to(Anyone(is_superuser)).filter(short_id=Blank("short_id")).with_place()
    rows = rows.annotate(
        usage_awaited=Exists(_USAGE_AWAITED),
        has_result=Q(answer__parsed__isnull=False),
        my_role=Subquery(role[:1]),
        event_count=_count_of(Event),
        attachment_count=_count_of(JobAttachment),
    )
    rows = rows.select_related(
        "project__connection",
        "model",
        "submitted_by",
        "cancel_requested_by",
        "prompt",
        "answer",
        "verdict__by",
    ).defer("answer__parsed")
    return Question(rows, hint=AS_JOINED)


@lru_cache
def _found_for_news(*, is_superuser: bool) -> Question[Job]:
    rows = Job.objects.visible_to(Anyone(is_superuser)).filter(short_id=Blank("short_id")).with_place()
    rows = rows.annotate(usage_awaited=Exists(_USAGE_AWAITED))
    lean = rows.select_related("project__connection", "model", "answer").defer(
        "answer__text", "answer__html", "answer__parsed", "answer__calls", "answer__validation_errors"
    )
    return Question(lean, hint=AS_JOINED)


@lru_cache
def _ledger() -> Question[LedgerEntry]:
    rows = LedgerEntry.objects.filter(job=Blank("job")).order_by("pk")
    return Question(rows.select_related("price", "attempt__price", "attempt__connection"))


@lru_cache
def _events() -> Question[Event]:
    return Question(Event.objects.filter(job=Blank("job")).select_related("actor"))


@lru_cache
def _thread(*, is_superuser: bool) -> Question[Job]:
    rows = Job.objects.visible_to(Anyone(is_superuser)).thread_from(Blank("first"))
    return Question(rows.select_related("prompt").only(*TURN_FIELDS))


def _tabs(job: Job, spots: Sequence[Spot]) -> list[Tab]:
    answer, status = answer_of(job), Status(job.status)
    has_text = answer is not None and answer.text != ""
    count: int | None = None
    name = FIRST_TABS.get(status, "Answer" if job.is_final else "Progress")
    if status == Status.INCOMPLETE and not has_text:
        name = "What happened"
    elif status == Status.COMPLETED and getattr(job, "has_result", False):
        name = "Result"
        count = len(spots[0].rows) if spots else None
    is_asking = status == Status.REQUIRES_ACTION
    if is_asking and answer is not None:
        count = len(answer.calls)
    found = [
        Tab("", name, count),
        Tab("prompt/", "Prompt"),
        Tab("activity/", "Activity", getattr(job, "event_count", None)),
    ]
    return [*found, Tab("raw/", "Raw JSON")] if job.is_final or is_asking else found


def _bodies(job: Job, attempts: Sequence[Attempt]) -> dict[int, dict[str, Any]]:
    """Return the raw responses of a job that may have used tools: only they say how often."""
    if not job.max_tool_calls:
        return {}
    return dict(RawResponse.objects.filter(attempt__in=attempts).values_list("attempt", "body"))


def _shown(job: Job, attempts: Sequence[Attempt]) -> Attempt | None:
    """Return the attempt a page speaks of: the one that answered, or ended as the job did, or the last."""
    answer = answer_of(job)
    for attempt in reversed(attempts):
        if attempt.pk == answer.attempt_id if answer else attempt.end_status == job.status:
            return attempt
    return attempts[-1] if attempts else None


def _template_of(job: Job) -> str:
    if job.is_cancelling and job.status in (Status.SENDING, *IN_FLIGHT):
        return "_job_state_cancelling.html"
    return f"_job_state_{'running' if job.is_in_flight else job.status}.html"


def _count_of(record: type[Event] | type[JobAttachment]) -> Coalesce:
    """Count a job's rows of a record beside it."""
    rows = record._default_manager.filter(job=OuterRef("pk")).order_by().values("job")
    return Coalesce(Subquery(rows.annotate(count=Count("pk")).values("count")), 0)
