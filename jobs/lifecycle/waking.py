"""Wakes an installation: minds its key and its webhooks, rings for overdue work, lets rules decide."""

from jobs.lifecycle.connections import mind_key
from jobs.lifecycle.doorbell import ring_overdue
from jobs.lifecycle.relaxing import mind_webhooks
from jobs.lifecycle.ruling import decide_due


def wake() -> None:
    """Resume what waits for a key that is here, pause what nobody has one for, and ring for overdue work.

    Polls that are rare become usual again where webhooks have fallen silent, and projects' rules decide about
    sends that nobody has told of in time.
    """
    mind_key()
    mind_webhooks()
    ring_overdue()
    decide_due()
