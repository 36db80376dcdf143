"""Pauses and resumes connections: their jobs wait meanwhile, nothing is lost."""

import datetime as dt

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from jobs.lifecycle.doorbell import ring
from jobs.models import Connection, SecretUnreadable, User
from jobs.notify import alarm
from jobs.openai_client import Blocked, BorderError, Endpoint


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
    """Go on sending through a connection; True if it was paused."""
    with transaction.atomic():
        resumed = Connection.objects.filter(pk=connection_id, paused_at__isnull=False).update(
            paused_at=None, paused_reason="", paused_by=None, not_before=None
        )
        if resumed:
            ring("send")
    return bool(resumed)


def hold_back(connection_id: int, seconds: float) -> None:
    """Keep every cluster from sending through a connection for a while, as its Retry-After asks."""
    Connection.objects.filter(pk=connection_id).update(not_before=Now() + dt.timedelta(seconds=seconds))


def is_stopping() -> bool:
    """Tell whether the installation is being stopped: then nothing more is claimed."""
    stopping: bool = settings.STOP_FILE.exists()
    return stopping
