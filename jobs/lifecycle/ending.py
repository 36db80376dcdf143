"""Finishes: turns the end of a response into status, charge, answer and timeline, in one transaction."""

import datetime as dt
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from jobs import pricing, spend
from jobs.lifecycle.doorbell import ring
from jobs.lifecycle.submission import plan_attempt
from jobs.lifecycle.text import content_of, keep_answer
from jobs.lifecycle.transition import move, step, tell
from jobs.models import (
    IN_FLIGHT,
    Answer,
    Attempt,
    AttemptState,
    Basis,
    Job,
    ModelSpec,
    Price,
    RawResponse,
    Status,
    Workspace,
)
from jobs.models.job import WATCH_CANCELLED
from jobs.notify import alarm
from jobs.pricing import Usage

ENDS = {"completed", "incomplete", "failed", "cancelled"}
RUNNING = {"queued", "in_progress"}
# A response that failed for one of these is worth another attempt; the rest need a changed request.
RETRYABLE_CODES = {"server_error", "rate_limit_exceeded", "vector_store_timeout", "failed_to_download_image"}
MOST_ATTEMPTS = 3
ASK_FOR_USAGE = dt.timedelta(minutes=10)
ASK_AGAIN = dt.timedelta(seconds=15)
WATCH_EVERY = dt.timedelta(seconds=60)
WATCH_STUCK = dt.timedelta(days=7)
PATIENCE_WITH_404 = dt.timedelta(minutes=5)
MISSES_TO_EXPIRE = 3
STUCK_AFTER_DEADLINE = dt.timedelta(hours=24)
# A final job that a response which turned up late may still change.
LATE_CODES = {"lost", "assumed_paid", "expired", "stuck"}


def observe_end(attempt_id: int, body: dict[str, Any], *, request_id: str = "") -> None:
    """Book and finish an attempt whose response has ended upstream, by whoever sees it first. Idempotent."""
    with transaction.atomic():
        job, attempt = _locked(attempt_id)
        if attempt.state != AttemptState.KNOWN:
            return
        now = timezone.now()
        status = str(body["status"])
        usage = Usage.from_wire(body)
        attempt.end_seen_at = attempt.end_seen_at or now
        attempt.end_status = status
        attempt.request_id = request_id or attempt.request_id
        attempt.usage = body.get("usage") if usage is not None else None
        attempt.service_tier = str(body.get("service_tier") or "")[:16]
        error = body.get("error") if isinstance(body.get("error"), dict) else {}
        attempt.error_code = str((error or {}).get("code") or "")[:80]
        attempt.error_message = str((error or {}).get("message") or "")[:600]
        _keep_raw(attempt, body)
        is_over = _settle(job, attempt, body, usage, now)
        attempt.state = AttemptState.ENDED if is_over else AttemptState.KNOWN
        attempt.ended_at = now if is_over else None
        attempt.save()
        if status == "failed" and _try_again(job, attempt):
            return
        _finish(job, attempt, body, now)
        _set_clock(job, now)


def observe_missing(attempt_id: int) -> None:
    """Count a 404 for a response; the third one after five minutes means that upstream holds it no longer."""
    with transaction.atomic():
        job, attempt = _locked(attempt_id)
        if attempt.state != AttemptState.KNOWN:
            return
        now = timezone.now()
        attempt.misses += 1
        Attempt.objects.filter(pk=attempt.pk).update(misses=attempt.misses)
        age = now - (attempt.sent_at or attempt.created_at)
        if age < PATIENCE_WITH_404 or attempt.misses < MISSES_TO_EXPIRE:
            Job.objects.filter(pk=job.pk).update(next_action_at=Now() + dt.timedelta(seconds=5))
            return
        note = f"404 for {attempt.response_id}, {attempt.misses} times, {int(age.total_seconds())} s after it was sent"
        step(attempt.pk, of=[AttemptState.KNOWN], to=AttemptState.ENDED, ended_at=Now(), error_code="expired")
        _book_bound(job, attempt, reason="expired: upstream no longer holds the response")
        if move(
            job.pk, of=IN_FLIGHT, to=Status.FAILED, next_action_at=None, finished_at=Now(), error_code="expired"
        ):
            tell(job.pk, "expired", attempt_id=attempt.pk, note=note)
            alarm("expired", f"{job.short_id}: {note}. Its ceiling was booked.", job_id=job.pk)
        _set_clock(job, now)


def observe_stuck(attempt_id: int) -> bool:
    """Give up waiting for a job long past its deadline: failed, bound booked, watched for a week more."""
    with transaction.atomic():
        job, attempt = _locked(attempt_id)
        overdue = job.deadline_at is not None and timezone.now() > job.deadline_at + STUCK_AFTER_DEADLINE
        if not overdue or not move(
            job.pk, of=IN_FLIGHT, to=Status.FAILED, finished_at=Now(), error_code="stuck", next_action_at=Now() + WATCH_EVERY
        ):
            return False
        Attempt.objects.filter(pk=attempt.pk).update(end_seen_at=Now(), error_code="stuck")
        _book_bound(job, attempt, reason="stuck: no end a day after its deadline")
        tell(job.pk, "stuck", attempt_id=attempt.pk)
        alarm("stuck", f"{job.short_id} did not end a day after its deadline. Its ceiling was booked.", job_id=job.pk)
        return True


def is_watched_long_enough(job: Job, attempt: Attempt, now: dt.datetime) -> bool:
    """Tell whether a final job's response needs no more asking."""
    if not job.is_final or attempt.end_seen_at is None:
        return False
    return now > attempt.end_seen_at + (WATCH_STUCK if job.error_code == "stuck" else WATCH_CANCELLED)


def stop_watching(attempt_id: int) -> None:
    """End an attempt that was watched long enough."""
    with transaction.atomic():
        job, attempt = _locked(attempt_id)
        step(attempt.pk, of=[AttemptState.KNOWN], to=AttemptState.ENDED, ended_at=Now())
        spend.settle(attempt, cost=None, reason="watched to the end")
        _set_clock(job, timezone.now())


def _locked(attempt_id: int) -> tuple[Job, Attempt]:
    """Lock the job of an attempt and read both."""
    job_id = Attempt.objects.values_list("job", flat=True).get(pk=attempt_id)
    job = Job.objects.select_for_update(of=("self",)).select_related("project__connection", "model").get(pk=job_id)
    return job, Attempt.objects.select_related("price", "connection").get(pk=attempt_id)


def _settle(job: Job, attempt: Attempt, body: dict[str, Any], usage: Usage | None, now: dt.datetime) -> bool:
    """Book what ended, by the table of 'Money'; True when nothing more is expected of the attempt."""
    status = attempt.end_status
    if usage is not None:
        price = _price_for(job, attempt, body)
        charge = pricing.charge(price.rates, usage, service_tier=body.get("service_tier"), window=job.window)
        if charge.unknown_tier:
            alarm("unknown_tier", f"{job.short_id}: tier {attempt.service_tier!r} has no price; the dearest was used.", job_id=job.pk)
        held = spend.held_for(attempt)
        if charge.total > held > 0:
            alarm("overrun", f"{job.short_id} cost {charge.total:.4f} USD; {held:.4f} were held.", job_id=job.pk)
        spend.settle(attempt, cost=charge.total, basis=Basis.USAGE, usage=usage, price=price, reason=f"{status}")
        return status != "cancelled" or _watched(attempt, now)
    if status == "failed":
        spend.settle(attempt, cost=Decimal(0), basis=Basis.NONE, price=attempt.price, reason="failed without usage")
        return True
    if status == "cancelled":
        spend.settle(
            attempt,
            cost=_estimate(job, attempt, now),
            basis=Basis.ESTIMATE,
            price=attempt.price,
            reason="cancelled without usage: time run × usual speed",
        )
        return _watched(attempt, now)
    assert attempt.end_seen_at is not None
    if now < attempt.end_seen_at + ASK_FOR_USAGE:
        return False
    _book_bound(job, attempt, reason=f"{status} without usage for ten minutes")
    alarm("no_usage", f"{job.short_id} ended {status} without usage. Its ceiling was booked.", job_id=job.pk)
    return True


def _watched(attempt: Attempt, now: dt.datetime) -> bool:
    """A cancelled response has been seen to become another end: it is watched for an hour."""
    return attempt.end_seen_at is not None and now >= attempt.end_seen_at + WATCH_CANCELLED


def _book_bound(job: Job, attempt: Attempt, *, reason: str) -> None:
    bound = spend.held_for(attempt)
    if bound > 0:
        spend.settle(attempt, cost=bound, basis=Basis.BOUND, price=attempt.price, reason=reason)


def _price_for(job: Job, attempt: Attempt, body: dict[str, Any]) -> Price:
    """The price row of the model that answered: the asked one's, for it and its snapshots."""
    name = str(body.get("model") or job.model_id)
    if job.model.answers_to(name):
        return attempt.price
    other = ModelSpec.objects.filter(pk=name).first()
    row = other.price_on(Workspace.objects.the().today()) if other else None
    if row is not None:
        return row
    alarm("unknown_model", f"{job.short_id}: answered by {name[:80]!r}, which has no price; {job.model_id}'s was used.", job_id=job.pk)
    return attempt.price


def _estimate(job: Job, attempt: Attempt, now: dt.datetime) -> Decimal:
    usual = job.model.usual(job.effort)
    tokens = float(usual["reasoning"][1]) + float(usual["answer"][1])
    ended = attempt.end_seen_at or now
    return pricing.estimate_cancelled(
        attempt.price.rates,
        elapsed_seconds=max(0.0, (ended - (attempt.sent_at or attempt.created_at)).total_seconds()),
        tokens_per_second=tokens / max(1.0, float(usual["seconds"][1])),
        input_tokens=attempt.input_tokens if attempt.input_tokens is not None else job.input_bound,
        max_output_tokens=job.max_output_tokens,
        bound=attempt.worst_case,
        window=job.window,
        mode_factor=job.model.mode_factor(job.mode),
    )


def _try_again(job: Job, attempt: Attempt) -> bool:
    """Plan another attempt after a failure that is not the request's fault; True if one was admitted."""
    worth_it = attempt.error_code in RETRYABLE_CODES and job.cancel_requested_at is None
    if not worth_it or job.status not in IN_FLIGHT or attempt.number >= MOST_ATTEMPTS:
        return False
    price = job.model.price_on(Workspace.objects.the().today())
    if price is None or job.model.is_off(Workspace.objects.the().today()):
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
            tell(job.pk, "tried_again", attempt_id=attempt.pk, note=f"{attempt.error_code}: {attempt.error_message}")
            ring("send")
            plan_attempt(job, number=attempt.number + 1, price=price)
    except (spend.BudgetRefused, spend.NoCap) as error:
        refused = error
    if refused is not None:
        tell(job.pk, "no_budget", attempt_id=attempt.pk, note=f"No budget for another attempt: {refused}")
        return False
    return True


def _finish(job: Job, attempt: Attempt, body: dict[str, Any], now: dt.datetime) -> None:
    """Give the job its end and its answer, unless another attempt already did."""
    content = content_of(body)
    to = Status.REQUIRES_ACTION if attempt.end_status == "completed" and content.calls else Status(attempt.end_status)
    details = body.get("incomplete_details")
    reason = str(details.get("reason") or "")[:40] if isinstance(details, dict) else ""
    open_now = [Status.SENDING, Status.WAITING, Status.UNCONFIRMED, *IN_FLIGHT]
    is_late = (
        job.status == Status.CANCELLED and attempt.end_status != "cancelled" and job.finished_at is not None
    ) or (
        job.status == Status.FAILED
        and job.error_code in LATE_CODES
        and attempt.end_status in ("completed", "incomplete")
        and not Answer.objects.filter(job=job).exists()
    )
    if not move(
        job.pk,
        of=[job.status] if is_late else open_now,
        to=to,
        claim_token=None,
        finished_at=now,
        error_code=attempt.error_code if to == Status.FAILED else "",
        incomplete_reason=reason if to == Status.INCOMPLETE else "",
    ):
        return
    tell(job.pk, attempt.end_status, attempt_id=attempt.pk, note=attempt.error_code or reason)
    keep_answer(job, attempt, content)
    _end_twins(job, attempt)
    if content.text:
        ring("render")


def _end_twins(job: Job, attempt: Attempt) -> None:
    """A final job holds nothing for sends nobody has heard of: if one turns up later, it is charged then."""
    twins = Attempt.objects.filter(job=job, state__in=[AttemptState.PLANNED, AttemptState.UNCONFIRMED]).exclude(pk=attempt.pk)
    for twin in twins:
        code = "lost" if twin.state == AttemptState.UNCONFIRMED else ""
        Attempt.objects.filter(pk=twin.pk).update(state=AttemptState.ENDED, ended_at=Now(), error_code=code)
        spend.settle(twin, cost=None, reason="another attempt of the job ended")


def _set_clock(job: Job, now: dt.datetime) -> None:
    """Set the next look at a job that just changed: soon for missing usage, slowly for a watch, else never."""
    known = list(Attempt.objects.filter(job=job, state=AttemptState.KNOWN))
    wait = None
    if known:
        is_asking = any(a.end_status in ("completed", "incomplete") or a.end_seen_at is None for a in known)
        wait = ASK_AGAIN if is_asking else WATCH_EVERY
    sent = Attempt.objects.filter(job=job, state__in=[AttemptState.SENDING, AttemptState.PLANNED]).exists()
    if not sent:
        Job.objects.filter(pk=job.pk).update(next_action_at=None if wait is None else Now() + wait, claim_token=None)


def _keep_raw(attempt: Attempt, body: dict[str, Any]) -> None:
    RawResponse.objects.update_or_create(attempt=attempt, defaults={"body": _without_nul(body)})


def _without_nul(value: Any) -> Any:
    """PostgreSQL's jsonb cannot hold NUL in a string; a model can write it."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    return value

