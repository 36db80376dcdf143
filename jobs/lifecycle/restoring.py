"""Keeps a copy that was restored from a backup from acting beside its original, or for a second time."""

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from jobs.lifecycle.ending import go_on
from jobs.lifecycle.transition import step, tell
from jobs.models import Alert, Attempt, AttemptState, Connection, Delivery, Job, Status
from jobs.models.connections import RESTORED
from jobs.notify import alarm

PERHAPS_SENT = "It waited when the backup was made, and may have been sent since."


@transaction.atomic
def hold_restored(made_at: str) -> tuple[int, int]:
    """Send and ask for nothing through any connection until someone resumes it.

    What waited to be sent is unconfirmed: the original may have sent it after the backup. No rule decides
    about what is unconfirmed, and no alert that was on its way is sent, for the original may have done so
    already. `made_at` says when it was made.
    Returns how many connections are held, and how many jobs need a choice.
    """
    reason = (
        f"{RESTORED} This is a copy, restored from a backup of {made_at}. Resume once the original is off"
        " for good: both would ask for, cancel and send the same jobs."
    )
    held = Connection.objects.update(
        paused_at=Now(), paused_reason=reason, paused_by=None, is_paused_with_all=False
    )
    waiting = (
        Job.objects.select_for_update(no_key=True, of=("self",)).filter(status=Status.WAITING).order_by("pk")
    )
    doubtful = 0
    for job in waiting.select_related("model"):
        for attempt in Attempt.objects.filter(job=job, state=AttemptState.PLANNED):
            _lose_sight(job, attempt)
            doubtful += 1
    unconfirmed = Attempt.objects.filter(state=AttemptState.UNCONFIRMED, rule_due_at__isnull=False)
    unconfirmed.update(rule_due_at=None)
    Alert.objects.filter(mail=Delivery.PENDING).update(mail=Delivery.NONE)
    Alert.objects.filter(chat=Delivery.PENDING).update(chat=Delivery.NONE)
    Alert.objects.filter(next_try_at__isnull=False).update(next_try_at=None)
    if doubtful:
        alarm("restored", f"{doubtful} jobs waited when the backup was made: were they sent since?")
    return held, doubtful


def _lose_sight(job: Job, attempt: Attempt) -> None:
    step(
        attempt.pk,
        of=[AttemptState.PLANNED],
        to=AttemptState.UNCONFIRMED,
        # The journal that came with the backup is newer than the database, and may know better.
        instance=settings.INSTANCE,
        error_code="restored",
        error_message=PERHAPS_SENT,
    )
    tell(job.pk, "unconfirmed", attempt_id=attempt.pk, note=f"restored: {PERHAPS_SENT}")
    go_on(job, end=Status.FAILED)
