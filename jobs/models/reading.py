"""What readers make of an answer: a verdict and notes."""

from django.db import models
from django.db.models.functions import Now

from jobs.models.job import Job


class VerdictValue(models.TextChoices):
    """Whether an answer was right, as a person judges it."""

    RIGHT = "right", "Right"
    WRONG = "wrong", "Wrong"
    UNSURE = "unsure", "Unsure"


class Verdict(models.Model):
    """The last word on a job's answer, and whose it is."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True)
    value = models.CharField(max_length=8, choices=VerdictValue)
    by = models.ForeignKey("jobs.User", on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(value__in=VerdictValue.values), name="verdict_known")
        ]
        indexes = [models.Index(fields=["-at"], name="verdict_newest")]

    def __str__(self) -> str:
        return f"{self.value} by {self.by}"


class JobNote(models.Model):
    """A remark on a job. A payload."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE)
    by = models.ForeignKey("jobs.User", on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_default=Now())
    text = models.TextField()

    class Meta:
        ordering = ["at", "id"]

    def __str__(self) -> str:
        return f"note on {self.job_id}"
