"""Submits: makes job, attempt, hold and message in one transaction, or refuses and leaves none of them."""

import dataclasses
import datetime as dt
import hashlib
from decimal import Decimal

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from jobs import pricing, spend
from jobs.lifecycle.doorbell import ring
from jobs.lifecycle.spec import Ceiling, JobSpec, check
from jobs.lifecycle.transition import tell
from jobs.models import Attempt, Job, ModelSpec, Price, Prompt, Status


class OverJobLimit(Exception):
    """What a send can cost by now is more than a job of its project may; both in USD."""

    def __init__(self, *, ceiling: Decimal, limit: Decimal) -> None:
        self.ceiling = ceiling
        self.limit = limit
        super().__init__(f"limit per job: {limit:f} USD, {ceiling:f} needed")


def submit(wanted: JobSpec) -> Job:
    """Make a job that is waiting to be sent, with its worst case held.

    Raises SpecError with field names, or spend.BudgetRefused, which is recorded. A second call with the same
    submission key returns the first one's job.
    """
    earlier = _submitted_before(wanted)
    if earlier is not None:
        return earlier
    ceiling = check(wanted)
    job = _new_job(wanted, ceiling)
    try:
        with transaction.atomic():
            job.save(force_insert=True)
            record(job, wanted)
            tell(job.pk, "submitted", actor=wanted.by)
            ring("send")
            plan_attempt(job, number=1, price=ceiling.price)
    except spend.BudgetRefused as refused:
        spend.record_refusal(refused, job)
        raise
    except IntegrityError:
        twin = _submitted_before(wanted)
        if twin is None:
            raise
        return twin
    return job


def plan_attempt(job: Job, *, number: int, price: Price) -> Attempt:
    """Make the next attempt together with its hold; last before the commit, for it locks the budgets.

    What it can cost is bounded at its own price row, which may be a later one than the job's first. Raises
    spend.BudgetRefused or NoCap, and OverJobLimit when it is more than the project lets one job cost.
    """
    worst = bound_at(price, job)
    limit = job.project.job_limit
    if limit is not None and worst > limit:
        raise OverJobLimit(ceiling=worst, limit=limit)
    attempt = Attempt.objects.create(
        job=job, number=number, connection=job.project.connection, price=price, worst_case=worst
    )
    spend.admit(job, attempt)
    return attempt


def bound_at(price: Price, job: Job) -> Decimal:
    """Return the most one send of a job can cost at a price row, in USD."""
    return pricing.worst_case(
        price.rates,
        input_tokens=job.input_bound,
        max_output_tokens=job.max_output_tokens,
        service_tier=job.service_tier,
        window=job.window,
        mode_factor=job.model.mode_factor(job.mode),
    )


def record(job: Job, wanted: JobSpec) -> Prompt:
    """Store what the job asks."""
    return Prompt.objects.create(
        job=job,
        title=wanted.shown_title,
        text=wanted.prompt,
        instructions=wanted.instructions,
        schema_name=wanted.schema_name if wanted.schema is not None else "",
        schema=wanted.schema,
    )


def successor_spec(wanted: JobSpec, spec: ModelSpec, day: dt.date) -> JobSpec:
    """Return `wanted` on the successor of its model, `spec`, that lives on `day`, with an effort and a limit
    that one has; as it is while its own model lives.
    """
    successor = spec.living_successor(day) if spec.is_off(day) else None
    if successor is None:
        return wanted
    mode = spec.successor_mode if spec.successor_mode in successor.modes else successor.modes[0]
    return dataclasses.replace(
        wanted,
        model=successor.pk,
        mode=mode,
        effort=wanted.effort if wanted.effort in successor.efforts else successor.default_effort,
        max_output_tokens=min(wanted.max_output_tokens, successor.max_output_tokens),
    )


def _new_job(wanted: JobSpec, ceiling: Ceiling) -> Job:
    return Job(
        project=wanted.project,
        submitted_by=wanted.by,
        token=wanted.token,
        model=ceiling.spec,
        effort=wanted.effort,
        mode=wanted.mode,
        max_output_tokens=wanted.max_output_tokens,
        tags=sorted({tag.strip() for tag in wanted.tags}),
        rerun_of=wanted.rerun_of,
        status=Status.WAITING,
        next_action_at=Now(),
        input_bound=ceiling.input_bound,
        worst_case=ceiling.worst_case,
        fingerprint=wanted.fingerprint,
        submission_key=_key(wanted),
    )


def _submitted_before(wanted: JobSpec) -> Job | None:
    key = _key(wanted)
    return Job.objects.filter(submission_key=key).first() if key else None


def _key(wanted: JobSpec) -> str | None:
    """Return what a repeated send of the same form shares; a changed one, or another person's, does not."""
    if not wanted.submission_key:
        return None
    parts = (wanted.by.pk, wanted.submission_key, wanted.fingerprint, wanted.max_output_tokens)
    return hashlib.sha256(repr(parts).encode()).hexdigest()
