"""Asks people first: a job above its limit or without budget waits, with nothing held, until one agrees."""

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Literal

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from jobs import spend
from jobs.access import Act
from jobs.lifecycle import replying, threads
from jobs.lifecycle.doorbell import ring, ring_for
from jobs.lifecycle.spec import JobSpec, SpecError, check, not_used
from jobs.lifecycle.submission import (
    OverJobLimit,
    PromptGone,
    as_it_is,
    insert,
    new_job,
    plan_attempt,
    submit,
    submitted_before,
    worst_case,
)
from jobs.lifecycle.transition import move, tell
from jobs.models import Approval, AskedBecause, Budget, Job, Ruling, Status, User, Workspace

PRICE_HAS_RISEN = "Its price has risen since you looked. Look at its ceiling again."


class NotAwaiting(Exception):
    """The job does not wait for approval any more."""


def ask(wanted: JobSpec, *, why: str = "", along: Callable[[Job], object] | None = None) -> Job:
    """Submit a job, or have it wait for an approver where its limit or a budget is in its way.

    What waits holds nothing and has no attempt. Raises SpecError and spend.NoCap as `submit` does; a refusal
    of a budget is recorded. `along` is as there.
    """
    earlier = submitted_before(wanted)
    if earlier is not None:
        return earlier
    ceiling = check(wanted, may_ask=True)
    limit = wanted.project.job_limit
    job = new_job(wanted, ceiling, status=Status.AWAITING_APPROVAL)
    if limit is None or ceiling.worst_case <= limit:
        reason = AskedBecause.BUDGET
        try:
            return submit(wanted, along=along)
        except spend.BudgetRefused as recorded:
            refusal: spend.BudgetRefused | None = recorded
    else:
        reason, refusal = AskedBecause.LIMIT, spend.refusal_of(job)
    budget = refusal.budget if refusal else None
    try:
        with transaction.atomic():
            insert(job, wanted, along=along)
            Approval.objects.create(job=job, reason=reason, budget=budget, why=why)
            if refusal is not None and reason == AskedBecause.LIMIT:
                spend.record_refusal(refusal, job)
            tell(job.pk, "approval_asked", actor=wanted.by, note=str(reason.label))
            _mail("mail_approvers", job)
    except IntegrityError:
        twin = submitted_before(wanted)
        if twin is None:
            raise
        return twin
    return job


def approve(job_id: int, *, by: User, note: str = "", seen: Decimal | None = None) -> Job:
    """Admit a job that waits for approval, at today's price, and have it sent.

    It may then cost what its ceiling is now, whatever the limit per job. Raises NotAwaiting,
    spend.BudgetRefused (recorded) or spend.NoCap where it does not fit, SpecError where its project or its
    model takes no jobs any more, where the project does not use that model or effort any more, or where its
    ceiling is above what the approver has `seen` (USD), or its thread is no longer stored, and PromptGone;
    whatever it raises, nothing has changed.
    """
    try:
        with transaction.atomic():
            job = _awaiting(job_id)
            # A yes covers what it says the job can cost, whatever the limit per job.
            worst = _admit(job, by=by, note=note, is_covered=True)
            if seen is not None and worst > seen:
                raise SpecError({"ceiling": PRICE_HAS_RISEN})
    except spend.BudgetRefused as refused:
        spend.record_refusal(refused, job)
        _wait_for_room_in(refused.budget, job_id)
        raise
    job.refresh_from_db()
    return job


def go_on(job_id: int) -> bool:
    """Admit a job that waited for room, now that there is some; False where it has to wait on.

    Nobody has looked at it, so the limit per job holds, and whoever asked must still be let submit.
    """
    try:
        with (
            suppress(NotAwaiting, SpecError, PromptGone, OverJobLimit, spend.NoCap),
            transaction.atomic(),
        ):
            job = _awaiting(job_id)
            if job.may(job.submitted_by, Act.SUBMIT):
                _admit(job, by=None, note="More budget was granted.", is_covered=False)
                return True
    except spend.BudgetRefused as refused:
        _wait_for_room_in(refused.budget, job_id)
    return False


def reject(job_id: int, *, by: User, note: str) -> Job:
    """End a job that waits for approval: it is cancelled, and nothing is booked. Raises NotAwaiting."""
    with transaction.atomic():
        job = _awaiting(job_id)
        _decide(job, Ruling.REJECTED, by=by, note=note)
        move(
            job.pk,
            of=[Status.AWAITING_APPROVAL],
            to=Status.CANCELLED,
            finished_at=Now(),
            error_code="not_approved",
        )
        tell(job.pk, "not_approved", actor=by, note=note)
        replying.give_back(job, by=by)
    job.refresh_from_db()
    return job


def run_cheaper(job_id: int, wanted: JobSpec) -> Job:
    """Submit `wanted` before it is decided about a job, which goes on waiting; its price is its submitter's.

    Once a job, whoever asks for it. Raises NotAwaiting, and what `submit` raises.
    """

    def note(made: Job) -> None:
        # The job first, as whoever decides about it does.
        Job.objects.filter(pk=job_id).update(version=F("version") + 1)
        if not Approval.objects.undecided().filter(pk=job_id, cheaper=None).update(cheaper=made):
            raise NotAwaiting
        tell(job_id, "cheaper_first", actor=wanted.by, note=f"{made.short_id} on {made.model_id}")

    return submit(wanted, along=note)


def _wait_for_room_in(budget: Budget, job_id: int) -> None:
    """Note of a job that waits which budget is in its way by now."""
    Approval.objects.undecided().filter(pk=job_id).exclude(budget=budget).update(budget=budget)


def _awaiting(job_id: int) -> Job:
    """Lock a job that waits for approval. Raises NotAwaiting."""
    locked = Job.objects.select_for_update(no_key=True, of=("self",)).select_related(
        "project__connection", "model"
    )
    job = locked.get(pk=job_id)
    if job.status != Status.AWAITING_APPROVAL:
        raise NotAwaiting
    return job


def _admit(job: Job, *, by: User | None, note: str, is_covered: bool) -> Decimal:
    """Plan a job's first attempt, and return what that can cost, USD."""
    # As it is now: the lock was waited for, and the project may have gone to the archive meanwhile.
    job.project = as_it_is(job.project)
    today = Workspace.objects.the().today()
    price = None if job.model.is_off(today) else job.model.price_on(today)
    if price is None:
        raise SpecError({"model": f"{job.model_id} cannot be chosen any more."})
    if unused := not_used(job.project, job.model, effort=job.effort):
        raise SpecError(unused)
    if not hasattr(job, "prompt"):
        raise PromptGone
    if job.previous is not None and (reason := threads.obstacle(job.previous, more=0)):
        raise SpecError({"previous": reason})
    replying.complete_reserved(job)
    worst = worst_case(job, price)
    _decide(job, Ruling.APPROVED, by=by, note=note, ceiling=worst if is_covered else None)
    move(
        job.pk,
        of=[Status.AWAITING_APPROVAL],
        to=Status.WAITING,
        next_action_at=Now(),
        worst_case=worst,
    )
    tell(job.pk, "approved", actor=by, note=note)
    ring("send")
    plan_attempt(job, number=1, price=price)
    return worst


def _decide(job: Job, decision: Ruling, *, by: User | None, note: str, **more: object) -> None:
    decided = {"decision": decision, "decided_at": Now(), "decided_by": by, "note": note[:600], **more}
    Approval.objects.filter(job=job).update(**decided)
    if by is None or by.pk != job.submitted_by_id:
        _mail("mail_decision", job)


def _mail(task: Literal["mail_approvers", "mail_decision"], job: Job) -> None:
    """Have people told by mail, in the caller's transaction."""
    if settings.IS_MAIL_SENT:
        ring_for(task, job.pk)
