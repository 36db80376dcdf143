"""Keeps what every machine can see of the others: which installations work here, and when they last did."""

import datetime as dt
import socket

from django.conf import settings
from django.db.models.functions import Now

from jobs import VERSION
from jobs.lifecycle.journal import replay
from jobs.models import Installation

# What was silent for so long is gone for good; until then it is an alarm, for its journal may be needed.
FORGET_AFTER = dt.timedelta(days=7)


def note_beat() -> None:
    """Note that a worker of this installation answered just now."""
    seen = {"host": socket.gethostname()[:255], "version": VERSION, "beat_at": Now(), "stopped_at": None}
    Installation.objects.update_or_create(instance=settings.INSTANCE, defaults=seen)


def note_stop() -> None:
    """Note that this installation is stopped in good order: its silence is no alarm, its journal is told.

    Raises OSError where the journal cannot be read: then nobody may take it for told.
    """
    replay()
    Installation.objects.filter(instance=settings.INSTANCE).update(stopped_at=Now())


def forget_silent() -> int:
    """Forget installations of which nothing was heard for a week; return how many."""
    return Installation.objects.forgettable(FORGET_AFTER).delete()[0]
