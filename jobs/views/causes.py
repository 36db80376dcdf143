"""Says in plain words why a job failed, and why nobody knows whether one was accepted."""

from collections.abc import Collection
from dataclasses import dataclass

from jobs.lifecycle.ending import RETRYABLE_CODES
from jobs.models import Attempt, Job
from jobs.openai_client import WINDOW_REFUSED

POLICY_CODES = {
    "invalid_prompt",
    "bio_policy",
    "cyber_policy",
    "misalignment_policy_violation",
    "image_content_policy_violation",
    "content_policy_violation",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a job failed and what to do about it; the other side's own words stand beside it."""

    title: str
    text: str


DECIDED = {
    "lost": Cause(
        "This job was declared lost",
        "Nobody knows whether {api} took it. What was held is released. If it turns up after all, "
        "it is charged then and its answer appears here.",
    ),
    "assumed_paid": Cause(
        "This job was counted as paid",
        "Nobody knows whether {api} took it. Its ceiling is booked. If it turns up after all, the charge "
        "is adjusted to what it used and its answer appears here.",
    ),
    "expired": Cause(
        "{api} no longer holds this response",
        "It was accepted, but then its address answered 404 and nothing else for ten minutes. Its ceiling is "
        "booked, because what it used cannot be read any more. We go on looking for a week, and adjust the "
        "charge if it turns up.",
    ),
    "price_changed": Cause(
        "The price changed while this job waited",
        "The budget has no room for its ceiling at the new price, so it was not sent and cost nothing. Run "
        "it again when there is room.",
    ),
    "prompt_missing": Cause(
        "What this job asks is no longer stored",
        "Its prompt was removed before it was sent, so it was not sent and cost nothing.",
    ),
    "tools_unbounded": Cause(
        "What this job’s tools cost is not bounded any more",
        "Its connection or its price has changed while it waited, so its ceiling would not hold. It was not "
        "sent and cost nothing. Run it again where its tools have a price, or without them.",
    ),
    WINDOW_REFUSED: Cause(
        "This model has no waiting discount",
        "{api} refused to answer it later for less. It was not accepted and cost nothing. Run it as soon as "
        "possible?",
    ),
    "files_refused": Cause(
        "This job’s connection does not take its files",
        "A call of its thread is answered with a file, and its project sends through another connection "
        "since. It was not sent and cost nothing. Send the project through OpenAI, or ask in a new job.",
    ),
    "stuck": Cause(
        "This job never ended",
        "A day after its deadline {api} still calls it unfinished. Its ceiling is booked. We go on looking "
        "for a week, and adjust the charge if it ends.",
    ),
}
REFUSED = Cause(
    "{api} refused this job",
    "It was not accepted and it would be refused again as it is. Change what the words below name, then run "
    "it again.",
)
POLICY = Cause(
    "{api} stopped this job over its usage policy",
    "The same prompt will be stopped again, so it was not tried a second time. Change the prompt first.",
)
UNSENDABLE = Cause(
    "This job cannot be sent",
    "Its request cannot be put together, so it was not sent and cost nothing.",
)
FAULT = Cause(
    "{api} failed while it worked on this job",
    "The fault is on that side, not in the job. Running it again often works.",
)
INPUT = Cause(
    "{api} could not work with what this job asks",
    "The same job would fail again. Change what the words below name, then run it again.",
)
SILENT = Cause("This job failed at {api}", "No reason was given. Running it again may work.")

DOUBTS = {
    "connection_lost": "The connection broke",
    "timeout": "No answer in time",
    "interrupted": "Sending was cut off",
    "not_its_own": "The response id that was given is not its own",
}


def cause_of(job: Job, attempt: Attempt | None, kinds: Collection[str], api: str) -> Cause:
    """Return why a failed job failed; `kinds` are its events', `api` is what the other side is called."""
    found = _cause(job, attempt, kinds)
    title = found.title.format(api=api)
    return Cause(title[:1].upper() + title[1:], found.text.format(api=api))


def doubt_of(attempt: Attempt, api: str) -> str:
    """Return what happened to a send of which nobody knows whether it was accepted."""
    return DOUBTS.get(attempt.error_code, f"{api[:1].upper()}{api[1:]} gave no clear answer")


def _cause(job: Job, attempt: Attempt | None, kinds: Collection[str]) -> Cause:
    if job.error_code in DECIDED:
        return DECIDED[job.error_code]
    if "unsendable" in kinds:
        return UNSENDABLE
    if "rejected" in kinds and not (attempt and attempt.response_id):
        return REFUSED
    if job.error_code in POLICY_CODES:
        return POLICY
    if job.error_code in RETRYABLE_CODES:
        return FAULT
    return INPUT if job.error_code else SILENT
