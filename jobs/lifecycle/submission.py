"""Submits: makes job, attempt, hold and message in one transaction, or refuses and leaves none of them."""

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from jobs import pricing, spend
from jobs.lifecycle import attaching, replying, threads, tools
from jobs.lifecycle.calls import is_answer, replies_in
from jobs.lifecycle.doorbell import ring
from jobs.lifecycle.spec import Ceiling, JobSpec, SpecError, check, over_limit
from jobs.lifecycle.transition import tell
from jobs.models import (
    Attempt,
    Job,
    JobText,
    Kind,
    ModelSpec,
    Price,
    Project,
    Prompt,
    Status,
    User,
    Workspace,
    approval,
)
from jobs.models.catalogue import SOONEST
from jobs.models.questions import Blank, Question

PROMPT_GONE = "What it asks is no longer stored."


class OverJobLimit(Exception):
    """What a send can cost by now is more than a job of its project may; both in USD."""

    def __init__(self, *, ceiling: Decimal, limit: Decimal) -> None:
        self.ceiling = ceiling
        self.limit = limit
        super().__init__(f"limit per job: {limit:f} USD, {ceiling:f} needed")


class PromptGone(Exception):
    """What a job asks is no longer stored, so it can never be sent again."""

    def __init__(self) -> None:
        super().__init__(PROMPT_GONE)


def submit(wanted: JobSpec, *, along: Callable[[Job], object] | None = None) -> Job:
    """Make a job that is waiting to be sent, with its worst case held.

    Raises SpecError with field names, or spend.BudgetRefused, which is recorded. A second call with the same
    submission key returns the first one's job. `along` gets the job in the transaction that makes it; what it
    raises undoes all.
    """
    earlier = submitted_before(wanted)
    if earlier is not None:
        return earlier
    ceiling = check(wanted)
    job = new_job(wanted, ceiling, status=Status.WAITING)
    try:
        with transaction.atomic():
            insert(job, wanted, along=along)
            ring("send")
            plan_attempt(job, number=1, price=ceiling.price)
    except spend.BudgetRefused as refused:
        spend.record_refusal(refused, job)
        raise
    except OverJobLimit as over:
        raise SpecError(over_limit(over.limit)) from None
    except IntegrityError:
        twin = submitted_before(wanted)
        if twin is None:
            raise
        return twin
    return job


def insert(job: Job, wanted: JobSpec, *, along: Callable[[Job], object] | None) -> None:
    """Store a new job with what it asks, in the caller's transaction. Raises SpecError."""
    job.save(force_insert=True)
    job.project = as_it_is(wanted.project)
    record(job, wanted)
    if along is not None:
        along(job)
    if wanted.replies and job.status == Status.AWAITING_APPROVAL:
        replying.reserve(job)
    elif wanted.replies:
        replying.complete(job)
    tell(job.pk, "submitted", actor=wanted.by)


def plan_attempt(job: Job, *, number: int, price: Price) -> Attempt:
    """Make the next attempt together with its hold; last before the commit, for it locks the budgets.

    What it can cost is bounded at its own price row, which may be a later one than the job's first. Raises
    spend.BudgetRefused or NoCap, OverJobLimit when it is more than the project lets one job cost and than it
    was approved at, and PromptGone.
    """
    if not hasattr(job, "prompt"):
        raise PromptGone
    worst = worst_case(job, price)
    limit = job.project.job_limit
    if limit is not None and worst > limit and not approval.covers(job, worst):
        raise OverJobLimit(ceiling=worst, limit=limit)
    attempt = Attempt.objects.create(
        job=job, number=number, connection=job.project.connection, price=price, worst_case=worst
    )
    spend.admit(job, attempt)
    return attempt


def worst_case(
    job: Job, price: Price, *, max_output_tokens: int | None = None, window: str | None = None
) -> Decimal:
    """Return the most one send of a job can cost at a price row, in USD.

    By its own output limit and completion window, unless others are given.
    """
    return pricing.worst_case(
        price.rates,
        input_tokens=job.input_bound,
        max_output_tokens=job.max_output_tokens if max_output_tokens is None else max_output_tokens,
        service_tier=job.service_tier,
        window=job.window if window is None else window,
        mode_factor=job.model.mode_factor(job.mode),
        tool_calls=tools.billed_calls(
            job.prompt.tools or [] if job.max_tool_calls else [], job.max_tool_calls, price.rates.tool_fees
        ),
    )


def record(job: Job, wanted: JobSpec) -> Prompt:
    """Store what the job asks, with its words for search. Raises SpecError if an attachment has gone."""
    of_calls = {reply.key: reply.files for reply in wanted.replies if reply.files}
    if not attaching.attach(job, wanted.attachments, of_calls):
        raise SpecError({"attachments": attaching.GONE})
    prompt = Prompt.objects.create(
        job=job,
        title=wanted.shown_title,
        text=wanted.prompt,
        instructions=wanted.instructions,
        schema_name=wanted.schema_name if wanted.schema is not None else "",
        schema=wanted.schema,
        tools=tools.normalised(wanted.tools) or None,
        input_items=wanted.reply_items() or None,
    )
    JobText.objects.keep(job.pk)
    return prompt


def asked(job: Job, *, by: User, project: Project | None = None) -> JobSpec:
    """Return what a job asked, as someone's own: its settings, its place in the thread and its replies.

    Raises SpecError where that is no longer stored.
    """
    if not hasattr(job, "prompt"):
        raise SpecError({"previous": threads.FORGOTTEN})
    prompt, files = job.prompt, attaching.given_with(job)
    wanted = JobSpec(
        project=project or job.project,
        by=by,
        prompt=prompt.text,
        instructions=prompt.instructions,
        schema_name=prompt.schema_name,
        schema=prompt.schema,
        tags=tuple(job.tags),
        model=job.model_id,
        mode=job.mode,
        # A project that sends through another connection since has no discount there.
        window=job.window if (project or job.project).connection.kind == Kind.OPENAI else SOONEST,
        effort=job.effort,
        max_output_tokens=job.max_output_tokens,
        tools=tuple(prompt.tools or ()),
        max_tool_calls=job.max_tool_calls,
        previous=job.previous,
        replies=replies_in(prompt.input_items or (), files) if is_answer(job) else (),
        attachments=files.get("", ()),
    )
    # A title that was made from the prompt is made again, also from a changed one.
    return dataclasses.replace(wanted, title="" if prompt.title == wanted.shown_title else prompt.title)


def follow_up(job: Job, *, by: User, prompt: str = "", **changes: Any) -> JobSpec:
    """Return a spec that goes on from a job with its settings, on the successor of a model that is gone.

    Raises SpecError where what it asked is no longer stored.
    """
    wanted = dataclasses.replace(
        asked(job, by=by),
        prompt=prompt,
        title="",
        previous=job,
        replies=(),
        attachments=(),
        # Whoever began the thread has confirmed its effort.
        accepts_undocumented=True,
    )
    today = Workspace.objects.the().today()
    return dataclasses.replace(successor_spec(wanted, job.model, today), **changes)


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
        window=wanted.window if wanted.window in successor.completion_windows else SOONEST,
        effort=wanted.effort if wanted.effort in successor.efforts else successor.default_effort,
        max_output_tokens=min(wanted.max_output_tokens, successor.max_output_tokens),
    )


def as_it_is(project: Project) -> Project:
    """Return a project's row of now. Raises SpecError where the job was not meant for such a one.

    Call it when the job is in: from then on the project can no longer change between practice and real. Until
    then it could, and money of a practice job would be held in none of the caps of real ones.
    """
    now = _as_it_is().get(project=project.pk)
    if now.archived_at is not None:
        raise SpecError({"project": "This project is archived."})
    if now.is_practice != project.is_practice:
        kind = "practice" if now.is_practice else "real money"
        raise SpecError({"project": f"This project is {kind} since a moment ago. Look at the price again."})
    return now


@lru_cache
def _as_it_is() -> Question[Project]:
    return Question(Project.objects.select_related("connection").filter(pk=Blank("project")))


def new_job(wanted: JobSpec, ceiling: Ceiling, *, status: Status) -> Job:
    """Return the job that a spec makes, not stored yet; only one that waits to be sent has a clock."""
    return Job(
        project=wanted.project,
        submitted_by=wanted.by,
        token=wanted.token,
        model=ceiling.spec,
        effort=wanted.effort,
        mode=wanted.mode,
        window=wanted.window,
        max_output_tokens=wanted.max_output_tokens,
        max_tool_calls=wanted.max_tool_calls,
        tags=sorted({tag.strip() for tag in wanted.tags}),
        rerun_of=wanted.rerun_of,
        previous=wanted.previous,
        root_id=(wanted.previous.root_id or wanted.previous.pk) if wanted.previous else None,
        status=status,
        next_action_at=Now() if status == Status.WAITING else None,
        input_bound=ceiling.input_bound,
        worst_case=ceiling.worst_case,
        fingerprint=wanted.fingerprint,
        submission_key=_key(wanted),
    )


def submitted_before(wanted: JobSpec) -> Job | None:
    """Return the job that the same form made when it was sent before, if it was."""
    key = _key(wanted)
    return Job.objects.filter(submission_key=key).first() if key else None


def _key(wanted: JobSpec) -> str | None:
    """Return what a repeated send of the same form shares; a changed one, or another person's, does not."""
    if not wanted.submission_key:
        return None
    parts = (wanted.by.pk, wanted.submission_key, wanted.fingerprint, wanted.max_output_tokens, wanted.window)
    return hashlib.sha256(repr(parts).encode()).hexdigest()
