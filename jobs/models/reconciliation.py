"""Reconciliations: our charges against an organization's bill, what differs, and which jobs that is about."""

import datetime as dt
from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models.functions import Now

# A reconciliation takes some seconds; after this long no worker is there to do it.
PATIENCE = dt.timedelta(minutes=10)
USD: dict[str, Any] = {"max_digits": 20, "decimal_places": 10, "default": Decimal(0), "help_text": "USD"}


class Cause(models.TextChoices):
    """Why a bill and our charges are what they are."""

    MATCHED = "matched", "Matched"
    ROUNDING = "rounding", "Rounding"
    LATE = "late", "Late"
    NO_USAGE = "no_usage", "Ended without usage"
    PRICE = "price", "Price change"
    TWIN = "twin", "Twin"
    OUTSIDE = "outside", "Outside this tool"
    UNEXPLAINED = "unexplained", "Not explained"


class ReconciliationQuerySet(models.QuerySet["Reconciliation"]):
    """Reconciliations, read as phrases."""

    def of(self, *, is_practice: bool) -> "ReconciliationQuerySet":
        """Those of real bills, or of the sandbox's, newest first."""
        return self.filter(is_practice=is_practice).order_by("-pk")

    def under_way(self) -> "ReconciliationQuerySet":
        """Those that a worker may still end."""
        return self.filter(ended_at=None, asked_at__gt=Now() - PATIENCE)


class Reconciliation(models.Model):
    """One comparison of what was charged here with what one account was billed, by days in UTC."""

    is_practice = models.BooleanField(help_text="Of the sandbox's bill.")
    asked_at = models.DateTimeField(db_default=Now(), editable=False)
    asked_by = models.ForeignKey(
        "jobs.User", on_delete=models.PROTECT, null=True, help_text="Empty for the daily one."
    )
    ended_at = models.DateTimeField(null=True)
    since = models.DateField(help_text="The first day, in UTC.")
    until = models.DateField(help_text="The last day, in UTC.")
    problem = models.CharField(max_length=600, blank=True, help_text="Why there is no result.")
    billed = models.DecimalField(**USD)
    booked = models.DecimalField(**USD)
    residual = models.DecimalField(**USD)
    objects = ReconciliationQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["is_practice", "-id"], name="reconciliation_newest")]

    def __str__(self) -> str:
        return f"reconciliation {self.pk}"

    @property
    def difference(self) -> Decimal:
        """What was billed beyond what is booked, USD."""
        return self.billed - self.booked


class ReconciliationLineQuerySet(models.QuerySet["ReconciliationLine"]):
    """Lines of reconciliations, read as phrases."""

    def in_order(self) -> "ReconciliationLineQuerySet":
        """What nobody can explain first, then by day, what needs nobody last."""
        settled = models.Q(cause__in=[Cause.MATCHED, Cause.ROUNDING])
        rank = models.Case(
            models.When(cause=Cause.UNEXPLAINED, then=0), models.When(settled, then=2), default=1
        )
        return self.order_by(rank, models.F("day").desc(nulls_last=True), "model", "pk")

    def bookable(self) -> "ReconciliationLineQuerySet":
        """Those that name the jobs to adjust, and are not booked yet."""
        return self.filter(self._is_bookable())

    def with_bookable(self) -> "ReconciliationLineQuerySet":
        """Each with whether the ledger can be adjusted to it: `is_bookable`."""
        return self.annotate(is_bookable=self._is_bookable())

    def _is_bookable(self) -> models.Q:
        parts = ReconciliationPart.objects.filter(line=models.OuterRef("pk"), should_be__isnull=False)
        return models.Q(models.Exists(parts), booked_at=None, booked_by=None)

    def with_jobs(self, most: int) -> "ReconciliationLineQuerySet":
        """Each with its first parts, their attempts and jobs: `named`."""
        parts = ReconciliationPart.objects.select_related("attempt__job").order_by("pk")[:most]
        return self.prefetch_related(models.Prefetch("parts", parts, to_attr="named"))


class ReconciliationLine(models.Model):
    """One difference with its cause, or what agrees; those of a run add up to its `billed` and `booked`."""

    reconciliation = models.ForeignKey(Reconciliation, on_delete=models.CASCADE, related_name="lines")
    cause = models.CharField(max_length=12, choices=Cause)
    day = models.DateField(null=True, help_text="In UTC; empty where several are added up.")
    connection = models.ForeignKey("jobs.Connection", on_delete=models.PROTECT, null=True)
    openai_project = models.CharField(max_length=100, blank=True)
    api_key = models.CharField(max_length=100, blank=True, help_text="The id of a key, as the bill has it.")
    model = models.CharField(max_length=200, help_text="A model, or what the bill calls it.")
    billed = models.DecimalField(**USD)
    booked = models.DecimalField(**USD)
    jobs = models.PositiveIntegerField(default=0)
    note = models.CharField(max_length=600, blank=True)
    booked_at = models.DateTimeField(null=True, help_text="When the ledger was adjusted to it.")
    booked_by = models.ForeignKey("jobs.User", on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.CharField(max_length=600, blank=True)
    objects = ReconciliationLineQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.cause} {self.model}"

    @property
    def difference(self) -> Decimal:
        """What was billed beyond what is booked, USD."""
        return self.billed - self.booked


class ReconciliationPart(models.Model):
    """One attempt that a difference is about: what is booked for it and, if it can be told, what it cost."""

    line = models.ForeignKey(ReconciliationLine, on_delete=models.CASCADE, related_name="parts")
    attempt = models.ForeignKey("jobs.Attempt", on_delete=models.PROTECT)
    was = models.DecimalField(**USD)
    should_be = models.DecimalField(max_digits=20, decimal_places=10, null=True, help_text="USD")
    input_tokens = models.BigIntegerField(default=0, help_text="That the bill has beyond what is booked.")
    cached_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"part {self.attempt_id} of {self.line_id}"
