"""The installations that work on this database, each a data directory with workers of its own."""

import datetime as dt

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

SILENT_AFTER = dt.timedelta(minutes=1)
# For so long bytes of a send may be on the wire, and its answer on the way to the journal.
ON_THE_WIRE = dt.timedelta(seconds=90)


class InstallationQuerySet(models.QuerySet["Installation"]):
    """Installations, read as phrases."""

    def at_work(self) -> "InstallationQuerySet":
        """Those that were not stopped in good order: their workers should answer."""
        return self.filter(stopped_at=None)

    def beating(self) -> "InstallationQuerySet":
        """Those whose workers answered within the last minute."""
        return self.at_work().filter(beat_at__gt=Now() - SILENT_AFTER)

    def who_may_know(self) -> "InstallationQuerySet":
        """Those other than this one whose journals may tell of an attempt, in a subquery of attempts.

        One that was stopped on purpose has told all, but for sends that were on the wire as it was.
        """
        sender = self.filter(instance=models.OuterRef("instance")).exclude(instance=settings.INSTANCE)
        was_sending = models.Q(stopped_at__lt=models.OuterRef("sent_at") + ON_THE_WIRE)
        return sender.filter(models.Q(stopped_at=None) | was_sending)

    def forgettable(self, silent: dt.timedelta) -> "InstallationQuerySet":
        """Those of which nothing was heard for so long."""
        return self.filter(beat_at__lte=Now() - silent)


class Installation(models.Model):
    """A data directory from which workers run, and when one of them last answered."""

    instance = models.CharField(max_length=64, unique=True)
    host = models.CharField(max_length=255, help_text="The machine's own name.")
    version = models.CharField(max_length=40)
    beat_at = models.DateTimeField(db_default=Now(), help_text="When one of its workers last answered.")
    stopped_at = models.DateTimeField(null=True, blank=True, help_text="When it was stopped in good order.")
    objects = InstallationQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.host} ({self.instance[:8]})"

    def is_away_with(self, sent_at: dt.datetime | None) -> bool:
        """Whether nobody answers there, and its journal may tell of what it sent at a moment."""
        if self.stopped_at is None:
            return timezone.now() - self.beat_at > SILENT_AFTER
        return sent_at is not None and self.stopped_at < sent_at + ON_THE_WIRE
