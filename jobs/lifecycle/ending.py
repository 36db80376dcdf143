"""Finishes: turns the end of a response into status, charge, answer and timeline, in one transaction."""

import datetime as dt
from decimal import Decimal
from functools import lru_cache
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now

from jobs import pricing, spend
from jobs.lifecycle import twins
from jobs.lifecycle.adoption import adopt
from jobs.lifecycle.counting import count_detection
from jobs.lifecycle.doorbell import ring
from jobs.lifecycle.submission import OverJobLimit, plan_attempt
from jobs.lifecycle.text import content_of, keep, keep_answer
from jobs.lifecycle.transition import move, step, tell
from jobs.models import (
    IN_FLIGHT,
    Attempt,
    AttemptState,
    Basis,
    Job,
    Kind,
    LedgerEntry,
    ModelSpec,
    Price,
    RawResponse,
    Status,
    Workspace,
)
from jobs.models.questions import Blank, Question
from jobs.notify import alarm
from jobs.pricing import Usage

ENDS = {"completed", "incomplete", "failed", "cancelled"}
RUNNING = {"queued", "in_progress"}
# A response that failed for one of these is worth another attempt; the rest need a changed request.
RETRYABLE_CODES = {"server_error", "rate_limit_exceeded", "vector_store_timeout", "failed_to_download_image"}
MOST_ATTEMPTS = 3
# A response that was given up without an end: its ceiling is booked, and it is watched for a week.
GIVEN_UP = {"expired", "stuck"}
# Where a job whose money is not settled can be.
LIVE = (Status.WAITING, Status.SENDING, Status.UNCONFIRMED, *IN_FLIGHT)
ASK_FOR_USAGE = dt.timedelta(minutes=10)
ASK_AGAIN = dt.timedelta(seconds=15)
WATCH_EVERY = dt.timedelta(seconds=60)
WATCH_CANCELLED = dt.timedelta(minutes=60)


def observe_end(attempt_id: int, body: dict[str, Any], *, request_id: str = "") -> None:
    """Book and finish an attempt whose response has ended upstream, by whoever sees it first. Idempotent."""
    with transaction.atomic():
        job, attempt, now = locked(attempt_id)
        if attempt.state != AttemptState.KNOWN:
            return
        refused = _refused(attempt, body)
        if refused:
            disown(job, attempt, refused)
            return
        status = str(body["status"])
        usage = Usage.from_wire(body)
        is_news = usage is not None and body.get("usage") != attempt.usage
        is_new_end = attempt.end_status != status
        ended = now if is_new_end else attempt.end_seen_at or now
        attempt.end_seen_at = ended
        attempt.end_status = status
        attempt.request_id = request_id or attempt.request_id
        attempt.usage = body.get("usage") if usage is not None else attempt.usage
        attempt.service_tier = str(body.get("service_tier") or "")[:16]
        error = body.get("error") if isinstance(body.get("error"), dict) else {}
        attempt.error_code = str((error or {}).get("code") or "")[:80]
        attempt.error_message = str((error or {}).get("message") or "")[:600]
        attempt.misses, attempt.missed_since = 0, None
        keep(RawResponse(attempt=attempt, body=body), by="attempt")
        if usage is not None:
            _settle(job, attempt, body, usage, is_news=is_news)
            is_over = status != "cancelled"
        else:
            is_over = _settle_without_usage(job, attempt, ended, now)
        # A cancelled response has been seen to become another end: it is watched for an hour.
        is_over = is_over or now >= ended + WATCH_CANCELLED
        attempt.state = AttemptState.ENDED if is_over else AttemptState.KNOWN
        attempt.ended_at = now if is_over else None
        attempt.save()
        if is_new_end:
            count_detection(attempt.connection_id, body)
        if status == "failed" and _try_again(job, attempt):
            return
        _finish(job, attempt, body, now, is_new_end=is_new_end)
        set_clock(job)


def prove(attempt_id: int, response_id: str, body: dict[str, Any]) -> bool:
    """Tell whether the response under an id given by hand is the attempt's own; if not, give it up again."""
    with transaction.atomic():
        job, attempt, _ = locked(attempt_id)
        if attempt.state != AttemptState.KNOWN or attempt.response_id != response_id:
            return False
        refused = _refused(attempt, body)
        if refused:
            disown(job, attempt, refused, heir=_named_in(body, job))
            return False
        Attempt.objects.filter(pk=attempt_id).update(is_unproven=False)
    return True


def disown(job: Job, attempt: Attempt, message: str, *, heir: Attempt | None = None) -> None:
    """Give a response that is not this attempt's up again: nothing of it is shown or booked here.

    Needs the job's lock. The attempt is unconfirmed as before, with its hold, and left to people. Where
    another send of the job may be the one that the response belongs to, its `heir`, that one is asked for
    under the same id.
    """
    step(
        attempt.pk,
        of=[AttemptState.KNOWN],
        to=AttemptState.UNCONFIRMED,
        rule_due_at=None,
        response_id="",
        is_unproven=False,
        misses=0,
        missed_since=None,
        error_code="not_its_own",
        error_message=message,
    )
    if heir is not None and adopt(heir.pk, attempt.response_id, how="by hand", is_unproven=True):
        return
    tell(job.pk, "disowned", attempt_id=attempt.pk, note=message)
    alarm("disowned", f"{job.short_id}: {message}", job_id=job.pk)
    go_on(job, end=Status.FAILED)
    set_clock(job)


def go_on(job: Job, *, end: Status, code: str = "") -> Status | None:
    """Decide what a job goes on with once one of its sends has brought nothing. Needs the job's lock.

    While another send is open it goes on with that one: None. It is unconfirmed when all that is left are
    sends that nobody knows of, and without any it ends as `end`, with an error code; returns which of both.
    """
    if job.status not in LIVE:
        # It has its end: nobody would ever decide about a send that nobody knows of.
        twins.end_unheard(job)
        return None
    if twins.is_any_open(job):
        return None
    unheard = Attempt.objects.filter(job=job, state=AttemptState.UNCONFIRMED).order_by("-number").first()
    to = end if unheard is None else Status.UNCONFIRMED
    fields = (
        {"finished_at": Now(), "error_code": code} if unheard is None else {"error_code": unheard.error_code}
    )
    move(job.pk, of=LIVE, to=to, claim_token=None, **fields)
    set_clock(job)
    return to


def used_by(job: Job, attempt: Attempt, moment: dt.datetime) -> Decimal:
    """Estimate what an attempt has cost by a moment, USD: the time it ran at the model's usual speed."""
    _, tokens, _ = job.model.usual_output(job.effort, job.mode)
    seconds = float(job.model.usual(job.effort)["seconds"][1])
    return pricing.estimate_cancelled(
        attempt.price.rates,
        elapsed_seconds=max(0.0, (moment - (attempt.sent_at or attempt.created_at)).total_seconds()),
        tokens_per_second=tokens / max(1.0, seconds),
        input_tokens=attempt.input_tokens if attempt.input_tokens is not None else job.input_bound,
        max_output_tokens=job.max_output_tokens,
        bound=attempt.worst_case,
        window=job.window,
        mode_factor=job.model.mode_factor(job.mode),
    )


def locked(attempt_id: int) -> tuple[Job, Attempt, dt.datetime]:
    """Lock the job of an attempt and read both, with the moment by the database's clock.

    What ends or costs by time rests on that one: machines may disagree about their own.
    """
    job = _locked().get(attempt=attempt_id)
    attempt: Any = _attempt().get(attempt=attempt_id)
    attempt.job = job
    return job, attempt, attempt.read_at


@lru_cache
def _locked() -> Question[Job]:
    jobs = Job.objects.select_for_update(no_key=True, of=("self",)).select_related(
        "project__connection", "model"
    )
    return Question(jobs.filter(attempt=Blank("attempt")))


@lru_cache
def _attempt() -> Question[Attempt]:
    attempts = Attempt.objects.select_related("price", "connection").annotate(read_at=Now())
    return Question(attempts.filter(pk=Blank("attempt")))


def book_bound(attempt: Attempt, *, reason: str) -> None:
    """Charge what is held for an attempt (its ceiling if that was given back), unless it is charged."""
    bound = spend.held_for(attempt) or (Decimal(0) if spend.is_charged(attempt) else attempt.worst_case)
    if bound > 0:
        spend.settle(attempt, cost=bound, basis=Basis.BOUND, price=attempt.price, reason=reason)


def set_clock(job: Job) -> None:
    """Set the next look at a job that changed: soon for missing usage, slowly for a watch, else never.

    The clock of a job that waits or is being sent says when to send it, and stays.
    """
    with connection.cursor() as cursor:
        # The ORM takes three milliseconds to write this, at the end of every job.
        cursor.execute(
            _CLOCK,
            {
                "job": job.pk,
                "known": AttemptState.KNOWN.value,
                "owes_usage": [Status.COMPLETED.value, Status.INCOMPLETE.value],
                "given_up": sorted(GIVEN_UP),
                "soon": ASK_AGAIN.total_seconds(),
                "slowly": WATCH_EVERY.total_seconds(),
                "unsent": [Status.WAITING.value, Status.SENDING.value],
            },
        )


_CLOCK = """
UPDATE jobs_job SET claim_token = NULL, goes_first = false,
next_action_at = statement_timestamp() + interval '1 second' * (
  SELECT CASE
    WHEN bool_or(end_seen_at IS NULL OR end_status = ANY(%(owes_usage)s) AND error_code <> ALL(%(given_up)s))
      THEN %(soon)s
    WHEN count(*) > 0 THEN %(slowly)s
  END FROM jobs_attempt WHERE job_id = jobs_job.id AND state = %(known)s
)
WHERE id = %(job)s AND status <> ALL(%(unsent)s)
"""


def _named_in(body: dict[str, Any], job: Job) -> Attempt | None:
    """Return the send of a job that a response names."""
    nonce = _nonce_in(body)
    return next((one for one in Attempt.objects.filter(job=job) if str(one.nonce) == nonce), None)


def _nonce_in(body: dict[str, Any]) -> object:
    metadata = body.get("metadata")
    return metadata.get("ponder_attempt") if isinstance(metadata, dict) else None


def _refused(attempt: Attempt, body: dict[str, Any]) -> str:
    """Return why a response is not this attempt's, in a sentence; empty when it may be.

    A response that names another attempt is never its own. One that names none is, where the API's own answer
    gave the id (a compatible server may drop metadata). Where a person gave it, the response has to name this
    attempt: OpenAI and Azure keep metadata, so one without is another system's in the same account. Only a
    compatible server that shows no metadata whatever is taken at the person's word: it has no proof to give.
    """
    nonce = _nonce_in(body)
    if nonce == str(attempt.nonce):
        return ""
    if nonce is not None:
        return "The response with that id belongs to another job."
    if not attempt.is_unproven or (attempt.connection.kind == Kind.COMPATIBLE and not body.get("metadata")):
        return ""
    return "The response with that id does not name this job in its metadata, so it was not sent from here."


def _settle(job: Job, attempt: Attempt, body: dict[str, Any], usage: Usage, *, is_news: bool) -> None:
    """Book the usage, and say what is odd about it when it is first seen."""
    price, oddities = _price_for(job, attempt, body)
    charge = pricing.charge(price.rates, usage, service_tier=body.get("service_tier"), window=job.window)
    if charge.unknown_tier:
        oddities["unknown_tier"] = f"tier {attempt.service_tier!r} has no price; the dearest was used."
    booked = attempt.cost
    committed = booked + spend.settle(
        attempt, cost=charge.total, basis=Basis.USAGE, usage=usage, price=price, reason=attempt.end_status
    )
    if charge.total > committed:
        oddities["overrun"] = f"it cost {charge.total:.4f} USD; {committed:.4f} were held or booked for it."
    for kind, message in oddities.items() if is_news else ():
        alarm(kind, f"{job.short_id}: {message}", job_id=job.pk)


def _settle_without_usage(job: Job, attempt: Attempt, ended: dt.datetime, now: dt.datetime) -> bool:
    """Book what ended without usage, by the table of 'Money'; True when nothing more is expected of it."""
    status = attempt.end_status
    if status == "failed":
        spend.settle(
            attempt, cost=Decimal(0), basis=Basis.NONE, price=attempt.price, reason="failed without usage"
        )
        return True
    if status == "cancelled":
        spend.settle(
            attempt,
            cost=used_by(job, attempt, ended),
            basis=Basis.ESTIMATE,
            price=attempt.price,
            reason="cancelled without usage: time run × usual speed",
        )
        return False
    if now < ended + ASK_FOR_USAGE:
        return False
    # What was held when it expired stands: a part of the ceiling may have been given back by then.
    is_bound = LedgerEntry.objects.filter(attempt=attempt, basis=Basis.BOUND).exists()
    bound = spend.held_for(attempt) or (attempt.cost if is_bound else attempt.worst_case)
    reason = f"{status} without usage for ten minutes"
    spend.settle(attempt, cost=bound, basis=Basis.BOUND, price=attempt.price, reason=reason)
    alarm("no_usage", f"{job.short_id} ended {status} without usage. Its ceiling was booked.", job_id=job.pk)
    return True


def _price_for(job: Job, attempt: Attempt, body: dict[str, Any]) -> tuple[Price, dict[str, str]]:
    """The price row of the model that answered (the asked one's for its snapshots), and what is odd."""
    name = str(body.get("model") or job.model_id)
    # A deployment may be called like another model, or like none.
    if job.model.answers_to(name) or name == attempt.sent_as:
        return attempt.price, {}
    other = ModelSpec.objects.filter(pk=name).first()
    row = other.price_on(Workspace.objects.the().today()) if other else None
    if row is not None:
        return row, {}
    odd = f"answered by {name[:80]!r}, which has no price; {job.model_id}'s was used."
    return attempt.price, {"unknown_model": odd}


def _try_again(job: Job, attempt: Attempt) -> bool:
    """Plan another attempt after a failure that is not the request's fault; True if one was admitted."""
    worth_it = attempt.error_code in RETRYABLE_CODES and job.cancel_requested_at is None
    made = Attempt.objects.filter(job=job)
    sent = made.exclude(sent_at=None)
    if not worth_it or job.status not in IN_FLIGHT or sent.count() >= MOST_ATTEMPTS:
        return False
    today = Workspace.objects.the().today()
    price = job.model.price_on(today)
    if price is None or job.model.is_off(today) or twins.is_another_running(job, attempt):
        return False
    if not hasattr(job, "prompt"):
        # What it asks is no longer stored: it fails with its cause.
        return False
    refused = None
    try:
        with transaction.atomic():
            back_off = dt.timedelta(seconds=5 * attempt.number)
            move(
                job.pk,
                of=IN_FLIGHT,
                to=Status.WAITING,
                next_action_at=Now() + back_off,
                claim_token=None,
                deadline_at=None,
            )
            tell(
                job.pk,
                "tried_again",
                attempt_id=attempt.pk,
                note=f"{attempt.error_code}: {attempt.error_message}",
            )
            ring("send")
            plan_attempt(job, number=made.count() + 1, price=price)
    except (spend.BudgetRefused, spend.NoCap, OverJobLimit) as error:
        refused = error
    if refused is not None:
        why = str(refused) or "the project has no cap"
        tell(job.pk, "no_budget", attempt_id=attempt.pk, note=f"No budget for another attempt: {why}")
        if isinstance(refused, spend.BudgetRefused):
            spend.record_refusal(refused, job)
        return False
    return True


def _finish(job: Job, attempt: Attempt, body: dict[str, Any], now: dt.datetime, *, is_new_end: bool) -> None:
    """Give the job its end and its answer, unless another attempt already did or may bring one yet."""
    content = content_of(body)
    to = (
        Status.REQUIRES_ACTION
        if attempt.end_status == "completed" and content.calls
        else Status(attempt.end_status)
    )
    details = body.get("incomplete_details")
    reason = str(details.get("reason") or "")[:40] if isinstance(details, dict) else ""
    is_late = (job.status == Status.CANCELLED and attempt.end_status != "cancelled") or (
        job.status == Status.FAILED and attempt.end_status in ("completed", "incomplete")
    )
    code = attempt.error_code if to == Status.FAILED else ""
    note = attempt.error_code or reason
    if job.status not in LIVE and not is_late:
        return
    if not is_late and to in (Status.FAILED, Status.CANCELLED):
        if go_on(job, end=to, code=code) != to:
            if is_new_end:
                tell(job.pk, attempt.end_status, attempt_id=attempt.pk, note=note)
            return
    else:
        move(
            job.pk,
            of=[Status(job.status)],
            to=to,
            claim_token=None,
            finished_at=now,
            error_code=code,
            incomplete_reason=reason if to == Status.INCOMPLETE else "",
        )
    tell(job.pk, attempt.end_status, attempt_id=attempt.pk, note=note)
    keep_answer(job, attempt, content)
    twins.end_rest(job)
    if content.text:
        ring("render")
