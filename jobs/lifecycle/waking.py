"""Wakes an installation: minds its key and its webhooks, and rings for overdue work nobody is doing."""

from jobs.lifecycle.connections import mind_key
from jobs.lifecycle.doorbell import ring_overdue
from jobs.lifecycle.relaxing import mind_webhooks


def wake() -> None:
    """Resume what waits for a key that is here, pause what nobody has one for, and ring for overdue work.

    Polls that are rare become usual again where webhooks have fallen silent.
    """
    mind_key()
    mind_webhooks()
    ring_overdue()
