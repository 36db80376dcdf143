"""Lets a project's rule decide about a send nobody knows of, once all that could tell of it had its time."""

import logging

from django.db import OperationalError, transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now

from jobs import spend
from jobs.lifecycle.journal import replay
from jobs.lifecycle.submission import OverJobLimit, PromptGone
from jobs.lifecycle.transition import tell
from jobs.lifecycle.unconfirmed import Decision, resolve
from jobs.models import Attempt, DeliveryState, Job, UnconfirmedRule, WebhookDelivery, Workspace
from jobs.models.attempt import TOLD_WITHIN, AttemptQuerySet
from jobs.notify import alarm

# At most so many at once: a beat that lasted would pass for a worker that hangs.
MOST_AT_ONCE = 20

_SAID = {
    UnconfirmedRule.RESEND: "sent again by its project's rule; if both sends turn up, both are charged",
    UnconfirmedRule.LOST: "taken for lost by its project's rule; its hold is released",
}

logger = logging.getLogger(__name__)


def decide_due() -> int:
    """Do what projects' rules say about the unconfirmed sends that are due; return how many were decided.

    What a rule cannot do is left to people, who are told so once.
    """
    due = list(_due().order_by("rule_due_at").values_list("pk", flat=True)[:MOST_AT_ONCE])
    if not due:
        return 0
    # This machine may have been away until now, and know; what another may know is left to it.
    replay()
    decided = 0
    for attempt_id in due:
        try:
            decided += _decide(attempt_id)
        except OperationalError:  # the database's trouble, not a job's
            raise
        except Exception as error:
            # Only the kind of error: its text could hold a row. It is put off, or it would be first for ever.
            logger.error("deciding about attempt %d by rule failed (%s)", attempt_id, type(error).__name__)
            Attempt.objects.filter(pk=attempt_id).update(rule_due_at=Now() + TOLD_WITHIN)
    return decided


def _due() -> AttemptQuerySet:
    """Return the sends that rules decide about here and now: none that an event not read may be about."""
    unread = WebhookDelivery.objects.filter(
        connection=OuterRef("connection"),
        state=DeliveryState.PENDING,
        received_at__lte=OuterRef("rule_due_at"),
    )
    return Attempt.objects.due_by_rule().exclude(Exists(unread))


def _decide(attempt_id: int) -> bool:
    with transaction.atomic():
        # Who has it locked decides about it, or has heard of it.
        locked = Job.objects.select_for_update(no_key=True, skip_locked=True, of=("self",))
        job = locked.select_related("project", "model").filter(attempt=attempt_id).first()
        if job is None or not _due().filter(pk=attempt_id).exists():
            return False
        rule = UnconfirmedRule(job.project.unconfirmed_rule)
        why = _why_not(job, rule)
        if not why:
            try:
                resolve(job.pk, Decision(rule), reason="the project's rule")
            except (spend.BudgetRefused, spend.NoCap, OverJobLimit, PromptGone) as refused:
                why = f"Not sent again: {str(refused) or 'the project has no cap'}"
        if why:
            _leave(job, attempt_id, why)
        elif rule in _SAID:
            alarm(f"ruled_{rule}", f"{job.short_id}: {_SAID[rule]}.", job_id=job.pk)
    return not why


def _why_not(job: Job, rule: UnconfirmedRule) -> str:
    """Return why people must decide about a job whatever the rule says, in a sentence; empty if not."""
    if job.project.archived_at is not None:
        return "The project is archived."
    if job.model.is_off(Workspace.objects.the().today()):
        return f"{job.model_id} is switched off."
    if rule == UnconfirmedRule.RESEND and job.cancel_requested_at is not None:
        return "Someone has asked to stop it."
    return ""


def _leave(job: Job, attempt_id: int, why: str) -> None:
    Attempt.objects.filter(pk=attempt_id).update(rule_due_at=None)
    Job.objects.filter(pk=job.pk).update(version=F("version") + 1)
    tell(job.pk, "rule_refused", attempt_id=attempt_id, note=why)
    said = f"{job.short_id}: its project's rule was not carried out, so a person must decide. {why}"
    alarm("rule_refused", said, job_id=job.pk)
