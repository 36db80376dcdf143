"""What happened to jobs, and what operators must see of it."""

from django.db import models
from django.db.models.functions import Now

from jobs.models.attempt import Attempt
from jobs.models.job import Job


class Event(models.Model):
    """One thing that happened to a job: its timeline. Never content."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE)
    attempt = models.ForeignKey(Attempt, on_delete=models.CASCADE, null=True, blank=True)
    kind = models.CharField(max_length=40)
    at = models.DateTimeField(db_default=Now())
    actor = models.ForeignKey("jobs.User", on_delete=models.SET_NULL, null=True, blank=True)
    note = models.CharField(max_length=600, blank=True)

    class Meta:
        ordering = ["at", "id"]
        indexes = [models.Index(fields=["job", "at", "id"], name="event_timeline")]

    def __str__(self) -> str:
        return f"{self.kind} at {self.at:%F %T}"


class Notice(models.Model):
    """An alarm for operators: something that must not pass unseen."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, null=True, blank=True)
    connection = models.ForeignKey("jobs.Connection", on_delete=models.CASCADE, null=True, blank=True)
    kind = models.CharField(max_length=40)
    message = models.CharField(max_length=600)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    seen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"
