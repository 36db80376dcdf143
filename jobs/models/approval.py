"""Jobs that a person must agree to before they are held and sent: why, and what was decided."""

from typing import Any

from django.db import models
from django.db.models.functions import Now

from jobs.models.job import Job
from jobs.models.money import AMOUNT, Budget


class AskedBecause(models.TextChoices):
    """What a job is in the way of."""

    LIMIT = "limit", "Over the limit per job"
    BUDGET = "budget", "No room in a budget"


class Ruling(models.TextChoices):
    """What became of it."""

    APPROVED = "approved", "Approved"
    REJECTED = "rejected", "Rejected"


class ApprovalQuerySet(models.QuerySet["Approval"]):
    """Approvals, read as phrases."""

    def undecided(self) -> "ApprovalQuerySet":
        """Those nobody has decided about, of jobs that still wait for it."""
        return self.filter(decision="", job__status="awaiting_approval")

    def for_room_in(self, budget: Budget) -> "ApprovalQuerySet":
        """Those that wait for room in a budget, oldest first."""
        return self.undecided().filter(budget=budget, reason=AskedBecause.BUDGET).order_by("asked_at", "pk")


class Approval(models.Model):
    """One job's leave to be sent. Has no CHECK: a violation would print people's words."""

    job = models.OneToOneField(Job, on_delete=models.PROTECT, primary_key=True)
    reason = models.CharField(max_length=8, choices=AskedBecause)
    budget = models.ForeignKey(
        Budget,
        on_delete=models.PROTECT,
        null=True,
        help_text="The one that had no room, if that is why.",
    )
    why = models.CharField(max_length=1000, blank=True, help_text="Why it is worth it, by whoever asks.")
    asked_at = models.DateTimeField(db_default=Now(), editable=False)
    mailed_at = models.DateTimeField(null=True, help_text="When the approvers were told by mail.")
    decision = models.CharField(max_length=8, choices=Ruling, blank=True)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey("jobs.User", on_delete=models.PROTECT, null=True, related_name="+")
    note = models.CharField(max_length=600, blank=True)
    ceiling = models.DecimalField(**AMOUNT, null=True, help_text="USD up to which it was approved.")
    told_at = models.DateTimeField(null=True, help_text="When whoever asked was told of it by mail.")
    cheaper = models.ForeignKey(
        Job,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        help_text="The same on a cheaper model, which an approver had run first.",
    )
    objects = ApprovalQuerySet.as_manager()

    def __str__(self) -> str:
        return f"approval of {self.job_id}"


def covers(job: Job, ceiling: Any) -> bool:
    """Tell whether a job was approved at a ceiling (USD) that is at least this one."""
    approved = Approval.objects.filter(job=job, decision=Ruling.APPROVED, ceiling__gte=ceiling)
    return approved.exists()
