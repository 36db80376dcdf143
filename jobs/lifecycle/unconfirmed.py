"""Carries out what was decided about a job of which nobody knows whether it was accepted, with its reason."""

from enum import StrEnum

from django.db import transaction
from django.db.models.functions import Now

from jobs import spend
from jobs.lifecycle.adoption import adopt
from jobs.lifecycle.doorbell import ring
from jobs.lifecycle.ending import go_on
from jobs.lifecycle.submission import plan_attempt
from jobs.lifecycle.transition import move, step, tell
from jobs.models import Attempt, AttemptState, Basis, Job, Status, User, Workspace
from jobs.notify import alarm


class Decision(StrEnum):
    """What can be done about an unconfirmed job."""

    RESEND = "resend"  # send again; both may be charged
    LOST = "lost"  # it was not accepted: give the hold back; charged if it turns up
    PAID = "paid"  # count it as paid: the ceiling is booked, adjusted if usage appears
    ADOPT = "adopt"  # someone has the response id


class NotUnconfirmed(Exception):
    """The job is not unconfirmed any more."""


class NotAdoptable(NotUnconfirmed):
    """The response id is empty or belongs to another attempt."""


def resolve(
    job_id: int, decision: Decision, *, by: User | None = None, reason: str = "", response_id: str = ""
) -> Job:
    """Carry out a decision about an unconfirmed job: a person's, or without one that of its project's rule.

    Rules decide nothing about a job that was decided about before.
    A response id given by hand is believed once the response under it names this job's send; until then
    nothing of it is shown, booked or cancelled, and if it does not the job is unconfirmed again. Raises
    NotUnconfirmed (NotAdoptable for a response id that cannot be its own), and for a resend
    spend.BudgetRefused when a second hold does not fit, OverJobLimit when it is more than a job may cost and
    PromptGone when nothing is left to send.
    """
    try:
        with transaction.atomic():
            job = (
                Job.objects.select_for_update(no_key=True, of=("self",))
                .select_related("project__connection", "model")
                .get(pk=job_id)
            )
            attempt = (
                Attempt.objects.filter(job=job, state=AttemptState.UNCONFIRMED).order_by("-number").first()
            )
            if job.status != Status.UNCONFIRMED or attempt is None:
                raise NotUnconfirmed
            Attempt.objects.filter(job=job, rule_due_at__isnull=False).update(rule_due_at=None)
            tell(job_id, f"decided_{decision}", attempt_id=attempt.pk, actor=by, note=reason)
            if decision == Decision.ADOPT:
                if not response_id or not adopt(attempt.pk, response_id, how="by hand", is_unproven=True):
                    raise NotAdoptable
            elif decision == Decision.RESEND:
                _resend(job, attempt)
            else:
                _declare(job, attempt, decision, by=by, reason=reason)
    except spend.BudgetRefused as refused:
        spend.record_refusal(refused, job)
        raise
    job.refresh_from_db()
    return job


def _resend(job: Job, attempt: Attempt) -> None:
    """Plan a second send; the first one's hold stays until it turns up or its twin ends."""
    move(
        job.pk,
        of=[Status.UNCONFIRMED],
        to=Status.WAITING,
        next_action_at=Now(),
        error_code="",
        # Whoever asked for a cancel before has been overruled; a job to be cancelled is never sent.
        cancel_requested_at=None,
        cancel_requested_by=None,
    )
    ring("send")
    number = Attempt.objects.filter(job=job).count() + 1
    price = job.model.price_on(Workspace.objects.the().today()) or attempt.price
    plan_attempt(job, number=number, price=price)


def _declare(job: Job, attempt: Attempt, decision: Decision, *, by: User | None, reason: str) -> None:
    code = "lost" if decision == Decision.LOST else "assumed_paid"
    step(attempt.pk, of=[AttemptState.UNCONFIRMED], to=AttemptState.ENDED, ended_at=Now(), error_code=code)
    # Of several unconfirmed sends each is decided about: none keeps its hold unasked.
    go_on(job, end=Status.FAILED, code=code)
    if decision == Decision.LOST:
        spend.settle(attempt, cost=None, reason=f"declared lost: {reason}", actor=by)
        return
    bound = spend.held_for(attempt)
    spend.settle(
        attempt,
        cost=bound,
        basis=Basis.BOUND,
        price=attempt.price,
        reason=f"declared paid: {reason}",
        actor=by,
    )
    how = "by its project's rule" if by is None else "by hand"
    alarm("assumed_paid", f"{job.short_id}: its ceiling was booked {how}.", job_id=job.pk)
