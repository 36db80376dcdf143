"""Tells a job's events in plain words."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.models import Event, Job

WORDS = {
    "submitted": "Submitted",
    "accepted": "Accepted by {api}",
    "put_off": "Not accepted, tried again later",
    "queued": "Queued at {api}",
    "in_progress": "Started thinking",
    "tried_again": "Failed there, tried again",
    "held_anew": "Held anew at its new price",
    "no_budget": "No budget for another attempt",
    "price_changed": "Not sent: over budget at its new price",
    "not_accepted": "Not accepted by {api}",
    "cancel_refused": "{api} would not stop it",
    "unreadable": "{api}'s answer could not be stored",
    "unconfirmed": "Sent perhaps: no clear answer",
    "adopted": "Turned up at {api}",
    "disowned": "That response is not this job's",
    "decided_resend": "Sent again on request",
    "decided_adopt": "Response id given by hand",
    "decided_lost": "Declared lost",
    "decided_paid": "Counted as paid",
    "cancel_requested": "Asked to stop",
    "deadline": "Deadline passed, asked to stop",
    "unknown_status": "{api} uses an unknown status",
    "rejected": "Refused by {api}",
    "completed": "Finished",
    "incomplete": "Stopped before the end",
    "failed": "Failed at {api}",
    "cancelled": "Cancelled",
    "expired": "{api} no longer holds it",
    "stuck": "Given up: it never ended",
    "finished_without_answering": "Ended without answering",
}
STOPS = {
    "put_off", "tried_again", "no_budget", "unconfirmed", "deadline", "unknown_status", "rejected",
    "price_changed", "incomplete", "failed", "expired", "stuck", "disowned",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One event: our words, what was noted beside it, and how its dot looks (done, stop or now)."""

    event: Event
    words: str
    look: str


def lines_of(job: Job, events: Sequence[Event], api: str) -> list[Line]:
    """Return the timeline, oldest first; `api` is what the other side is called."""
    return [
        Line(event, _words(event.kind, api), _look(job, event, is_last=event is events[-1]))
        for event in events
    ]


def _words(kind: str, api: str) -> str:
    words = WORDS.get(kind, kind.replace("_", " ")).format(api=api)
    return words[:1].upper() + words[1:]


def _look(job: Job, event: Event, *, is_last: bool) -> str:
    if event.kind in STOPS:
        return "stop"
    return "now" if is_last and not job.is_final else "done"
