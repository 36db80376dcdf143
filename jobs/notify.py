"""Tells operators what must not pass unseen: each alarm is a row."""

from jobs.models import Notice


def alarm(kind: str, message: str, *, job_id: int | None = None, connection_id: int | None = None) -> Notice:
    """Raise an alarm about a job or a connection, in the caller's transaction; never content."""
    return Notice.objects.create(kind=kind, message=message[:600], job_id=job_id, connection_id=connection_id)
