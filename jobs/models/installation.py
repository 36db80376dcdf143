"""The installations that work on this database, each a data directory with workers of its own."""

import datetime as dt

from django.db import models
from django.db.models.functions import Now


class InstallationQuerySet(models.QuerySet["Installation"]):
    """Installations, read as phrases."""

    def at_work(self) -> "InstallationQuerySet":
        """Those that were not stopped in good order: their workers should answer."""
        return self.filter(stopped_at=None)

    def beating(self) -> "InstallationQuerySet":
        """Those whose workers answered within the last minute."""
        return self.at_work().filter(beat_at__gt=Now() - dt.timedelta(minutes=1))

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
