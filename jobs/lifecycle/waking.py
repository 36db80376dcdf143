"""Wakes an installation: minds its key and its webhooks, rings for overdue work, lets rules decide."""

from django.conf import settings
from django.db.models.functions import Now

from jobs.lifecycle.connections import mind_key
from jobs.lifecycle.doorbell import PumpKind, ring
from jobs.lifecycle.pump import falls_due
from jobs.lifecycle.relaxing import mind_webhooks
from jobs.lifecycle.ruling import decide_due
from jobs.models import Answer, PumpLease
from jobs.rendering import RENDERER_VERSION

PUMPS: tuple[PumpKind, ...] = ("send", "poll")
OVERDUE = 2.0  # seconds


def wake() -> None:
    """Resume what waits for a key that is here, pause what nobody has one for, and ring for overdue work.

    Polls that are rare become usual again where webhooks have fallen silent, and projects' rules decide about
    sends that nobody has told of in time.
    """
    mind_key()
    mind_webhooks()
    ring_overdue()
    decide_due()


def ring_overdue() -> None:
    """Ring for every pump that has overdue work and no holder: the watchdog's and the beat's part."""
    held = PumpLease.objects.filter(instance=settings.INSTANCE, expires_at__gt=Now(), holder__isnull=False)
    running = set(held.values_list("kind", flat=True))
    for kind in PUMPS:
        if kind not in running and falls_due(kind, within=-OVERDUE):
            ring(kind)
    if Answer.objects.filter(renderer_version__gte=0).exclude(renderer_version=RENDERER_VERSION).exists():
        ring("render")
