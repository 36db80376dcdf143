"""Gathers what the pages of one job show, and says how long such a page goes on asking for news."""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Exists, OuterRef
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.utils import timezone

from jobs import access, forecast, lifecycle, pricing
from jobs.access import Act
from jobs.forms import ResolveForm
from jobs.models import (
    IN_FLIGHT,
    Answer,
    Attempt,
    AttemptState,
    Connection,
    Event,
    Job,
    Kind,
    LedgerEntry,
    Status,
)
from jobs.rendering import RENDERER_VERSION
from jobs.views import causes, news, words
from jobs.views.bill import bill_of, held_by
from jobs.views.frame import frame_of, person_of
from jobs.views.timeline import lines_of

TABS = (("", "Answer"), ("prompt/", "Prompt"), ("activity/", "Activity"), ("raw/", "Raw JSON"))

_USAGE_AWAITED = Attempt.objects.filter(
    job=OuterRef("pk"), state=AttemptState.KNOWN, end_status__in=[Status.COMPLETED, Status.INCOMPLETE]
)


@dataclass(frozen=True, slots=True)
class Pace:
    """Where a running job stands among those like it: seconds, and places on a bar of 100 units."""

    low: float
    high: float
    low_at: float
    width: float
    high_at: float
    now_at: float
    is_slow: bool

    @property
    def words(self) -> str:
        """The usual time in words."""
        return words.usually(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Way:
    """A way on from a job that stopped too early: settings for a new one, and its ceiling in USD."""

    title: str
    why: str
    query: str
    button: str
    ceiling: Decimal | None


def find(user: Any, short_id: str) -> Job:
    """Return a job the person may see, with all that its head needs; a foreign or unknown one is a 404."""
    rows = Job.objects.visible_to(user).named(short_id).annotate(usage_awaited=Exists(_USAGE_AWAITED))
    return get_object_or_404(
        rows.select_related(
            "project__connection", "model", "submitted_by", "cancel_requested_by", "prompt", "answer"
        )
    )


def find_for_news(user: Any, short_id: str) -> Job:
    """Return a job with just enough to tell whether its page would look different, in one query."""
    rows = Job.objects.visible_to(user).named(short_id).annotate(usage_awaited=Exists(_USAGE_AWAITED))
    lean = rows.select_related("project__connection", "model", "answer").defer(
        "answer__text", "answer__html", "answer__parsed", "answer__calls", "answer__validation_errors"
    )
    return get_object_or_404(lean)


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


def pace_of(job: Job, now: dt.datetime) -> Pace:
    """Place a job in flight among those of its model and effort."""
    low, high = lifecycle.usual_seconds(job.model, job.effort)
    taken = job.seconds_taken(now)
    whole = max(high * 1.4, taken * 1.05, 1.0)
    return Pace(
        low=low,
        high=high,
        low_at=low / whole * 100,
        width=(high - low) / whole * 100,
        high_at=high / whole * 100,
        now_at=taken / whole * 100,
        is_slow=job.status in IN_FLIGHT and taken > high,
    )


def tag_of(job: Job, now: dt.datetime) -> str:
    """Return what tells one look of a job's page from the next: its version, and what the clock changes."""
    connection = job.project.connection
    paused = connection.paused_at.timestamp() if connection.paused_at else 0
    slow = int(job.is_in_flight and pace_of(job, now).is_slow)
    return f"{job.version}.{interval(job, now) or 0}.{slow}.{paused:.0f}"


def other_side(connection: Connection) -> str:
    """Return what the API at the other end of a connection is called in a sentence."""
    if connection.is_practice:
        return "the practice API"
    return {Kind.OPENAI: "OpenAI", Kind.AZURE: "Azure"}.get(Kind(connection.kind), connection.name)


def acts_open(job: Job, user: Any) -> set[Act]:
    """Return what the person may do to a job, for one look at their role."""
    role = job.project.role_of(user)
    return {
        act
        for act in (Act.CANCEL, Act.RERUN, Act.RESOLVE)
        if access.allowed(
            act, role=role, is_operator=user.is_superuser, is_own=job.submitted_by_id == user.pk
        )
    }


def head(job: Job, request: HttpRequest, tab: str) -> dict[str, Any]:
    """Return what the head of every page of a job shows."""
    acts = acts_open(job, person_of(request))
    now = timezone.now()
    is_slow = job.is_in_flight and pace_of(job, now).is_slow
    return {
        "job": job,
        "prompt": getattr(job, "prompt", None),
        "title": getattr(getattr(job, "prompt", None), "title", job.short_id),
        "badge": "slow" if is_slow and not job.is_cancelling else job.status,
        "api": other_side(job.project.connection),
        "tab": tab,
        "tabs": TABS,
        "may_cancel": Act.CANCEL in acts and job.can_be_cancelled,
        "may_rerun": Act.RERUN in acts,
        "may_resolve": Act.RESOLVE in acts,
        "page_url": request.build_absolute_uri(job.get_absolute_url()),
        "now": now,
    }


def body(job: Job, request: HttpRequest, form: ResolveForm | None = None) -> dict[str, Any]:
    """Return what a job's first page shows: its state with the next step, its bill and its timeline."""
    found = head(job, request, tab="")
    now, api = found["now"], found["api"]
    attempts = list(Attempt.objects.filter(job=job).select_related("price", "connection").order_by("number"))
    events = list(Event.objects.filter(job=job).select_related("actor"))
    rows = list(LedgerEntry.objects.filter(job=job).select_related("price").order_by("pk"))
    attempt = _shown(job, attempts)
    connection = attempt.connection if attempt else job.project.connection
    bill = bill_of(job, attempts, rows)
    found |= {
        "state_template": _template_of(job),
        "paused_because": words.paused_because(connection),
        "attempts": attempts,
        "attempt": attempt,
        "connection": connection,
        "bill": bill,
        "timeline": lines_of(job, events, api),
        "answer": answer_of(job),
        "is_rendered": getattr(answer_of(job), "renderer_version", 0) == RENDERER_VERSION,
        "poll": interval(job, now),
        "tag": tag_of(job, now),
    }
    answer = found["answer"]
    if answer is not None:
        # Read from the text again: the database does not keep the order of the fields.
        is_json = answer.parsed is not None and not answer.is_refusal
        found |= {
            "answer_json": pretty(answer.text) if is_json else "",
            "calls": [{**call, "arguments": pretty(call.get("arguments", ""))} for call in answer.calls],
        }
    if attempt and job.status in (Status.WAITING, Status.SENDING, *IN_FLIGHT):
        found |= {"pace": pace_of(job, now), "seconds": job.seconds_taken(now)}
        found |= {"likely": likely_of(job, attempt)}
    elif attempt and job.status == Status.UNCONFIRMED:
        doubtful = next((a for a in reversed(attempts) if a.state == AttemptState.UNCONFIRMED), attempt)
        since = next((event.at for event in reversed(events) if event.kind == "unconfirmed"), job.created_at)
        held = held_by(rows, doubtful)
        found |= {
            "attempt": doubtful,
            "doubt": causes.doubt_of(doubtful, api),
            "since": since,
            "seconds": (now - since).total_seconds(),
            "pace": pace_of(job, now),
            "held": held,
            "twice": bill.most + job.worst_case,
            "form": form or ResolveForm(),
        }
    elif job.status == Status.FAILED:
        kinds = {event.kind for event in events}
        found |= {
            "cause": causes.cause_of(job, attempt, kinds, api),
            "no_budget": next((event.note for event in events if event.kind == "no_budget"), ""),
        }
    elif job.status == Status.INCOMPLETE:
        found |= {"ways": ways_on(job, frame_of(request).today), "reasoning": reasoning_of(attempt)}
    elif job.status == Status.CANCELLED:
        found |= {
            "by_deadline": any(event.kind == "deadline" for event in events),
            "ran": job.seconds_taken(now),
        }
    return found


def likely_of(job: Job, attempt: Attempt) -> forecast.Likely:
    """Return the likely cost of a job that is on its way, at the price row of its attempt."""
    tokens = attempt.input_tokens
    if tokens is None:
        tokens = forecast.guess_input_tokens(getattr(getattr(job, "prompt", None), "text", ""))
    return forecast.likely_cost(
        job.project,
        job.model,
        attempt.price,
        effort=job.effort,
        input_tokens=tokens,
        max_output_tokens=job.max_output_tokens,
        mode=job.mode,
    )


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


def reasoning_of(attempt: Attempt | None) -> int | None:
    """Return the reasoning tokens an attempt reported, None where it reported none."""
    usage = pricing.Usage.from_wire({"usage": attempt.usage}) if attempt and attempt.usage else None
    return usage.reasoning_tokens if usage else None


def ways_on(job: Job, today: dt.date) -> Sequence[Way]:
    """Return the ways on from a job that used up its output limit: more room, or less thought."""
    if job.incomplete_reason != "max_output_tokens":
        return []
    ways = []
    more = min(job.max_output_tokens * 2, job.model.max_output_tokens)
    price = None if job.model.is_off(today) else job.model.price_on(today)

    def ceiling(limit: int) -> Decimal | None:
        if price is None:
            return None
        return pricing.worst_case(
            price.rates,
            input_tokens=job.input_bound,
            max_output_tokens=limit,
            mode_factor=job.model.mode_factor(job.mode),
        )

    if more > job.max_output_tokens:
        ways.append(
            Way(
                f"With {more:,} tokens",
                "The same job with more room to think and write.",
                f"max_output_tokens={more}",
                "Set it up",
                ceiling(more),
            )
        )
    efforts = job.model.efforts_offered()
    place = efforts.index(job.effort) if job.effort in efforts else 0
    if place > 0:
        lower = efforts[place - 1]
        ways.append(
            Way(
                f"With effort {lower}",
                "It thinks less, so more of the same limit is left for the answer.",
                f"effort={lower}",
                "Set it up",
                ceiling(job.max_output_tokens),
            )
        )
    return ways


def pretty(value: object) -> str:
    """Return JSON as people read it; a string that holds JSON is read first."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False)
