"""Asks for more than a cap allows, decides about it, and lets the jobs go that waited for it."""

import datetime as dt
import logging
from decimal import Decimal

from django.conf import settings
from django.db import OperationalError, transaction
from django.db.models.functions import Now

from jobs import clock, spend
from jobs.lifecycle.approval import go_on
from jobs.lifecycle.doorbell import ring_for
from jobs.models import Approval, Budget, BudgetRequest, Job, RequestDecision, User, Workspace, trail
from jobs.models.requests import last_day

logger = logging.getLogger(__name__)


class AlreadyDecided(Exception):
    """Someone has decided about the request before."""


class BadUntil(ValueError):
    """A grant lasts until a day of this month, from today on."""


@transaction.atomic
def ask_for_budget(
    budget: Budget, amount: Decimal, *, until: dt.date, why: str, by: User, job: Job | None = None
) -> BudgetRequest:
    """Ask for `amount` USD more under a cap until a day; whoever may set the cap is told by mail."""
    made = BudgetRequest.objects.create(
        budget=budget, amount=amount, until=until, why=why, asked_by=by, job=job
    )
    if settings.IS_MAIL_SENT:
        ring_for("mail_budget_request", made.pk)
    return made


@transaction.atomic
def grant_budget(
    request_id: int, amount: Decimal, *, until: dt.date, by: User, note: str = ""
) -> BudgetRequest:
    """Let `amount` USD more be spent until a day of this month, and the jobs go that wait for room there.

    Raises AlreadyDecided, and BadUntil for a day that is over or in another month.
    """
    today = Workspace.objects.the().today()
    if not today <= until <= last_day(today):
        raise BadUntil
    made = _decided(request_id, RequestDecision.GRANTED, by=by, note=note, amount=amount, until=until)
    reason = f"until {until:%-d %B %Y}: {made.why}"
    entry = spend.grant(made.budget, amount, key=made.key, actor=by, reason=reason)
    if entry.month != clock.month_of(until):
        # Another month has begun while the money lock was waited for: all of it would have the grant.
        raise BadUntil
    row = made.budget.project or made.budget
    trail.note(by, row, f"Granted {amount:,.2f} USD until {until:%-d %B %Y}, asked by {made.asked_by}")
    ring_for("hand_on_grant", made.pk)
    return made


@transaction.atomic
def refuse_budget(request_id: int, *, by: User, note: str) -> BudgetRequest:
    """Say no to a request, and why. Raises AlreadyDecided."""
    return _decided(request_id, RequestDecision.REFUSED, by=by, note=note)


def hand_on(request_id: int) -> int:
    """Let the jobs go, oldest first, that waited for room when a grant was given; return how many went.

    One transaction each. What does not fit, or what only an approver can let go, waits on. Done once a grant.
    """
    found = BudgetRequest.objects.running().filter(pk=request_id, handed_on_at=None)
    made = found.select_related("budget").first()
    if made is None:
        return 0
    waiting = Approval.objects.for_room_in(made.budget).filter(asked_at__lte=made.decided_at)
    went = 0
    for job_id in list(waiting.values_list("pk", flat=True)):
        try:
            went += go_on(job_id)
        except OperationalError:  # the database's trouble, not a job's
            raise
        except Exception as error:
            # Only the kind of error: its text could hold a row. It keeps no other from going.
            logger.error("letting job %d go failed (%s)", job_id, type(error).__name__)
    found.update(handed_on_at=Now())
    return went


def mind_grants() -> None:
    """End the grants whose time is over, and hand on those whose message was lost: the watchdog's part."""
    today = Workspace.objects.the().today()
    for made in list(BudgetRequest.objects.running().filter(handed_on_at=None, until__gte=today)):
        hand_on(made.pk)
    for made in list(BudgetRequest.objects.running().filter(until__lt=today)):
        _end(made)


@transaction.atomic
def _end(made: BudgetRequest) -> None:
    if not BudgetRequest.objects.running().filter(pk=made.pk).update(ended_at=Now()):
        return
    # With its month it ends by itself, and the month stays as it was: nothing is admitted to it any more.
    if made.ends_early:
        spend.end_grant(made.key, reason=f"its time was over on {made.until:%-d %B %Y}")


def _decided(
    request_id: int, decision: RequestDecision, *, by: User, note: str, **more: object
) -> BudgetRequest:
    fields = {"decision": decision, "decided_by": by, "decided_at": Now(), "note": note[:600], **more}
    if not BudgetRequest.objects.filter(pk=request_id, decision="").update(**fields):
        raise AlreadyDecided
    if settings.IS_MAIL_SENT:
        ring_for("mail_budget_decision", request_id)
    return BudgetRequest.objects.with_all().get(pk=request_id)
