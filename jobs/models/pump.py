"""The leases under which pumps run."""

from django.db import models
from django.db.models.functions import Now


class PumpLease(models.Model):
    """The right to run the pump of one kind in one installation, for a few seconds at a time."""

    kind = models.CharField(max_length=10)
    instance = models.CharField(max_length=64)
    holder = models.UUIDField(null=True, blank=True)
    expires_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "instance"], name="one_lease_a_pump")]

    def __str__(self) -> str:
        return f"{self.kind} pump of {self.instance}"
