"""Holds anew what waits at a price that is no longer in force: nothing is sent that is not held."""

import logging
from decimal import Decimal
from functools import lru_cache

from django.db import OperationalError, transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now

from jobs import clock, spend
from jobs.lifecycle.sending import end_unsent
from jobs.lifecycle.submission import PROMPT_GONE, OverJobLimit, plan_attempt, worst_case
from jobs.lifecycle.transition import step, tell
from jobs.models import Attempt, AttemptState, EntryKind, Job, LedgerEntry, Price, Status, Workspace
from jobs.models.connections import sources_here
from jobs.models.questions import Blank, Question
from jobs.openai_client import Rejected

MOST_AT_ONCE = 100

logger = logging.getLogger(__name__)


def replan_due() -> int:
    """Replan the jobs due to be sent whose price was succeeded while they waited; return how many."""
    replanned = 0
    # One transaction each, for each locks budgets of its own.
    for job_id in _outdated(tuple(sources_here())).ask(day=Workspace.objects.the().today()):
        try:
            replanned += replan(job_id)
        except OperationalError:  # the database's trouble, not a job's
            raise
        except Exception as error:
            # It keeps no other from being sent. Only the kind of error: its text could hold a row.
            logger.error("replanning job %d failed (%s)", job_id, type(error).__name__)
    return replanned


@lru_cache
def _outdated(here: tuple[str, ...]) -> Question[int]:  # noqa: ARG001 - what is due depends on it
    outdated = Attempt.objects.outdated(Blank("day")).filter(job=OuterRef("pk"))
    return Question(
        Job.objects.to_send().filter(Exists(outdated)).values_list("pk", flat=True)[:MOST_AT_ONCE]
    )


def replan(job_id: int) -> bool:
    """Hold a waiting job's ceiling at today's price; True if its price has changed.

    What is held for this month and is enough is kept, and the rest given back. Else the planned attempt ends
    unsent, and the next one takes its place. A job whose new ceiling does not fit fails and says so, as one
    does that has no budget for another attempt; the refusal of a budget is recorded.
    """
    with transaction.atomic():
        job = (
            Job.objects.select_for_update(no_key=True, of=("self",))
            .select_related("project__connection", "model")
            .get(pk=job_id)
        )
        price = job.model.price_on(Workspace.objects.the().today())
        planned = Attempt.objects.filter(job=job, state=AttemptState.PLANNED).exclude(price=price).first()
        if job.status != Status.WAITING or price is None or planned is None:
            return False
        if not hasattr(job, "prompt"):
            gone = Rejected(PROMPT_GONE, code="prompt_missing")
            end_unsent(job, planned, status=Status.FAILED, kind="unsendable", error=gone)
            return True
        if _is_held(price, job, planned):
            _keep(price, job, planned)
            return True
        try:
            with transaction.atomic():
                _hold_at(price, job, planned)
        except (spend.BudgetRefused, spend.NoCap, OverJobLimit) as refused:
            why = str(refused) or "the project has no cap"
            message = f"Its price has changed since it was submitted, and it does not fit any more: {why}"
            error = Rejected(message, code="price_changed")
            end_unsent(job, planned, status=Status.FAILED, kind="price_changed", error=error)
            if isinstance(refused, spend.BudgetRefused):
                spend.record_refusal(refused, job)
    return True


def _is_held(price: Price, job: Job, planned: Attempt) -> bool:
    """Tell whether what is held covers a send at this price, in the month it would be admitted to."""
    month = clock.month_of(Workspace.objects.the().today())
    hold = LedgerEntry.objects.filter(attempt=planned, kind=EntryKind.HOLD, month=month)
    return hold.exists() and worst_case(job, price) <= spend.held_for(planned)


def _keep(price: Price, job: Job, planned: Attempt) -> None:
    worst = worst_case(job, price)
    Attempt.objects.filter(pk=planned.pk).update(price=price, worst_case=worst)
    Job.objects.filter(pk=job.pk).update(worst_case=worst, version=F("version") + 1)
    _tell(job, planned, worst, before=planned.worst_case)
    spend.release_part(planned, to=worst, reason="its price changed while it waited")


def _hold_at(price: Price, job: Job, planned: Attempt) -> None:
    step(
        planned.pk,
        of=[AttemptState.PLANNED],
        to=AttemptState.ENDED,
        ended_at=Now(),
        error_code="price_changed",
    )
    spend.settle(planned, cost=None, reason="its price changed while it waited")
    number = Attempt.objects.filter(job=job).count() + 1
    attempt = plan_attempt(job, number=number, price=price)
    Job.objects.filter(pk=job.pk).update(worst_case=attempt.worst_case, version=F("version") + 1)
    _tell(job, attempt, attempt.worst_case, before=planned.worst_case)


def _tell(job: Job, attempt: Attempt, now: Decimal, *, before: Decimal) -> None:
    note = f"Its price changed: {now:.4f} USD are held now, {before:.4f} were."
    tell(job.pk, "held_anew", attempt_id=attempt.pk, note=note)
