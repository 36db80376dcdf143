"""Tells a job's events in plain words."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from jobs.models import Event, Job, Status
from jobs.templatetags import ui

WORDS = {
    "submitted": "Submitted",
    "accepted": "Accepted by {api}",
    "put_off": "Not accepted, tried again later",
    "not_sent": "Not sent yet: Ponder stopped where it was to go out",
    "replayed": "{api} had forgotten the thread: all of it is sent again",
    "approval_asked": "Asked for approval",
    "approved": "Approved",
    "not_approved": "Not approved",
    "cheaper_first": "Tried on a cheaper model first",
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
    "rule_refused": "Left to people: the project's rule was not carried out",
    "cancel_requested": "Asked to stop",
    "poll_asked": "Asked for its state",
    "deadline": "Deadline passed, asked to stop",
    "unknown_status": "{api} uses an unknown status",
    "rejected": "Refused by {api}",
    "unsendable": "Not sent: it cannot be",
    "completed": "Finished",
    "incomplete": "Stopped before the end",
    "failed": "Failed at {api}",
    "cancelled": "Cancelled",
    "expired": "{api} no longer holds it",
    "stuck": "Given up: it never ended",
    "finished_without_answering": "Ended without answering",
    "answered": "Answered: the thread goes on",
    "answer_asked": "Answered, once that is approved",
    "answer_given_back": "Its answer was not approved or was withdrawn",
    "noted": "Note added",
    "note_removed": "Note removed",
    "tagged": "Tags changed",
}
# Without anyone who decided, the project's rule did.
BY_RULE = {
    "decided_resend": "Sent again by the project's rule",
    "decided_lost": "Taken for lost by the project's rule",
    "decided_paid": "Counted as paid by the project's rule",
}
STOPS = {
    "put_off", "tried_again", "no_budget", "unconfirmed", "deadline", "unknown_status", "rejected",
    "unsendable", "price_changed", "incomplete", "failed", "expired", "stuck", "disowned",
    "rule_refused", "not_approved",
}  # fmt: skip


# What is being done while a job waits for something outside.
STILL = {
    Status.AWAITING_APPROVAL: "Waiting for an approver",
    Status.UNCONFIRMED: "Looking for the answer",
    Status.REQUIRES_ACTION: "Waiting for you",
}
BEGINNINGS = {"accepted", "adopted", "queued", "in_progress"}
# What becomes of an answer that needs approval, of a job that waits for it.
ASKED_FOR = {
    "answer_asked": STILL[Status.AWAITING_APPROVAL],
    "answer_given_back": STILL[Status.REQUIRES_ACTION],
}
ASKS = {"approval_asked", "unconfirmed", "disowned", "completed", *ASKED_FOR}


@dataclass(frozen=True, slots=True)
class Line:
    """One event in our words, and how its dot looks (done, stop or now); or what is being done, without one.

    `seconds` is how long it has been going on so far, None for what is over.
    """

    event: Event | None
    words: str
    look: str
    seconds: float | None = None


def lines_of(job: Job, events: Sequence[Event], api: str, now: dt.datetime) -> list[Line]:
    """Return the timeline, oldest first; `api` is what the other side is called."""
    if not events:
        return []
    lines, began = [Line(events[0], _words(events[0], api), _look(events[0]))], None
    for before, event in pairwise(events):
        took = (event.at - before.at).total_seconds()
        thought = (event.at - began).total_seconds() if began else None
        lines.append(Line(event, _words(event, api, took=took, thought=thought), _look(event)))
        if event.kind in BEGINNINGS:
            began = event.at
    last, still = events[-1], STILL.get(Status(job.status))
    if still is not None:
        since = next((event for event in reversed(events) if event.kind in ASKS), last)
        still = ASKED_FOR.get(since.kind, still)
        lines.append(Line(None, still, "now", (now - since.at).total_seconds()))
    elif last.kind == "in_progress" and job.is_in_flight:
        lines[-1] = Line(last, "Thinking", "now", (now - last.at).total_seconds())
    elif not job.is_final and lines[-1].look == "done":
        lines[-1] = Line(last, lines[-1].words, "now")
    return lines


def _words(event: Event, api: str, *, took: float = 0.0, thought: float | None = None) -> str:
    """Say an event: `took` seconds after the one before, at the end of `thought` seconds of work."""
    words = WORDS.get(event.kind, event.kind.replace("_", " ")).format(api=api)
    if event.actor_id is None and event.kind in BY_RULE:
        words = BY_RULE[event.kind]
    elif event.kind == "incomplete" and event.note == "max_output_tokens":
        words = "Hit the output limit"
    elif event.kind == "completed" and thought is not None:
        words = f"Thought for {ui.duration(thought)}"
    elif event.kind in ("accepted", "queued") and took >= 1:
        words = f"{words}, {ui.duration(took)}"
    return words[:1].upper() + words[1:]


def _look(event: Event) -> str:
    return "stop" if event.kind in STOPS else "done"
