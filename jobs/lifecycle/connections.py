"""Pauses and resumes connections: their jobs wait meanwhile, nothing is lost."""

import datetime as dt

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from jobs.lifecycle.doorbell import ring
from jobs.models import (
    Attempt,
    AttemptState,
    Connection,
    Job,
    KeySource,
    SecretUnreadable,
    Status,
    User,
)
from jobs.notify import alarm
from jobs.openai_client import Blocked, BorderError, Endpoint

# A job that is due for so long while its connection has nothing under way is nobody's.
LEFT_LYING = dt.timedelta(minutes=1)


def endpoint_of(connection: Connection) -> Endpoint:
    """Return what the border needs to reach a connection. Raises Blocked when its key cannot be read."""
    try:
        key = connection.reveal_key()
    except SecretUnreadable:
        raise Blocked(
            "Its key does not decrypt with PONDER_KEYS. Set the key again.", code="key_unreadable"
        ) from None
    if not key:
        raise Blocked("It has no key.", code="no_key")
    return Endpoint(
        kind=connection.kind,
        base_url=connection.base_url,
        key=key,
        organization=connection.organization,
        project=connection.openai_project,
    )


def pause(connection_id: int, reason: str, *, by: User | None = None) -> bool:
    """Send nothing more through a connection until someone resumes it; True if this call paused it."""
    with transaction.atomic():
        paused = Connection.objects.filter(pk=connection_id, paused_at=None).update(
            paused_at=Now(), paused_reason=reason[:600], paused_by=by
        )
        if paused and by is None:
            alarm("connection_paused", reason, connection_id=connection_id)
    return bool(paused)


def pause_for(connection_id: int, error: BorderError) -> None:
    """Pause a connection because of what the API said."""
    pause(connection_id, f"{error.code}: {error.message}")


def resume(connection_id: int) -> bool:
    """Go on sending through a connection; True if it was paused.

    What was unknown there is asked for afresh: whoever resumes has looked.
    """
    with transaction.atomic():
        resumed = Connection.objects.filter(pk=connection_id, paused_at__isnull=False).update(
            paused_at=None, paused_reason="", paused_by=None, not_before=None
        )
        if resumed:
            missing = Attempt.objects.filter(connection=connection_id, missed_since__isnull=False)
            missing.update(misses=0, missed_since=None)
            ring("send")
    return bool(resumed)


def mind_key() -> None:
    """Resume what paused for want of OPENAI_API_KEY where it is set; pause where it is not and nobody has it.

    An installation without the key leaves that connection's jobs to the others (`Job.objects.to_send`), for
    one machine's environment must not stop them all. When nobody takes them, it pauses: people see why.
    """
    from_environment = Connection.objects.filter(key_source=KeySource.ENVIRONMENT)
    if settings.OPENAI_API_KEY:
        for found in from_environment.filter(paused_by=None, paused_reason__startswith="no_key:"):
            resume(found.pk)
        return
    for found in _left_lying(from_environment):
        pause(found.pk, "no_key: OPENAI_API_KEY is not set where Ponder runs. Set it there and start again.")


def _left_lying(connections: QuerySet[Connection]) -> QuerySet[Connection]:
    """Those that may be sent to and whose jobs nobody sends or asks for."""
    since = Now() - LEFT_LYING
    waiting = Job.objects.filter(
        project__connection=OuterRef("pk"), status=Status.WAITING, next_action_at__lte=since
    )
    # Final ones too: one that is asked for its usage holds money. And the attempt's connection, for a project
    # may have moved to another since.
    unasked = Job.objects.to_poll_anywhere(-LEFT_LYING).filter(
        attempt__connection=OuterRef("pk"), attempt__state=AttemptState.KNOWN
    )
    under_way = Attempt.objects.filter(
        connection=OuterRef("pk"), state__in=[AttemptState.SENDING, AttemptState.KNOWN], end_seen_at=None
    )
    # While polls are on time someone has the key: what waits then waits for room.
    is_waiting = Exists(waiting) & ~Exists(under_way)
    return connections.filter(
        Q(not_before=None) | Q(not_before__lte=since),
        Exists(unasked) | is_waiting,
        paused_at=None,
    )


def hold_back(connection_id: int, seconds: float) -> None:
    """Keep every cluster from sending through a connection for a while, as its Retry-After asks."""
    Connection.objects.filter(pk=connection_id).update(not_before=Now() + dt.timedelta(seconds=seconds))


def is_stopping() -> bool:
    """Tell whether the installation is being stopped: then nothing more is claimed."""
    stopping: bool = settings.STOP_FILE.exists()
    return stopping
