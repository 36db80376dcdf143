"""What readers make of an answer: a verdict and notes."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.db import models
from django.db.models.functions import Now

from jobs.models.job import Job
from jobs.models.people import name_of
from jobs.models.questions import Among, Blank


class VerdictValue(models.TextChoices):
    """Whether an answer was right, as a person judges it."""

    RIGHT = "right", "Right"
    WRONG = "wrong", "Wrong"
    UNSURE = "unsure", "Unsure"


class VerdictQuerySet(models.QuerySet["Verdict"]):
    """Verdicts, read as phrases."""

    def judged(
        self, projects: Sequence[int] | Blank, *, since: dt.datetime | Blank, until: dt.datetime | Blank
    ) -> "VerdictQuerySet":
        """Those that call an answer of some projects right or wrong, given in a time, newest first."""
        said = self.filter(value__in=[VerdictValue.RIGHT, VerdictValue.WRONG])
        rows = said.filter(Among("job__project", projects), at__gte=since, at__lt=until)
        return rows.order_by("-at", "-pk")

    def with_job(self) -> "models.QuerySet[Verdict, Any]":
        """Each with who gave it, and its job's short id, title, model, effort, cost in USD and project."""
        return self.annotate(
            person=name_of("by"),
            short_id=models.F("job__short_id"),
            title=models.F("job__prompt__title"),
            model=models.F("job__model"),
            effort=models.F("job__effort"),
            cost=models.F("job__cost"),
            project_name=models.F("job__project__name"),
        )


class Verdict(models.Model):
    """The last word on a job's answer, and whose it is."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True)
    value = models.CharField(max_length=8, choices=VerdictValue)
    by = models.ForeignKey("jobs.User", on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_default=Now())
    objects = VerdictQuerySet.as_manager()

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
