"""Wakes an installation: minds the key that it has or lacks, and rings for overdue work nobody is doing."""

from jobs.lifecycle.connections import mind_key
from jobs.lifecycle.doorbell import ring_overdue


def wake() -> None:
    """Resume what waits for a key that is here, pause what nobody has one for, and ring for overdue work."""
    mind_key()
    ring_overdue()
