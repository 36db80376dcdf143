"""Replies that are being written: what someone saved before all calls of a job were answered."""

from django.db import models

from jobs.models.job import Job


class SavedReplies(models.Model):
    """The replies to a job's calls as they were last saved; gone once the job goes on. A payload."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True)
    replies = models.JSONField(default=list)
    files = models.ManyToManyField(
        "jobs.Attachment", related_name="+", help_text="What the replies name, kept for as long as these are."
    )
    why = models.CharField(
        max_length=1000,
        blank=True,
        db_default="",
        help_text="Why they are worth it, if it is asked.",
    )
    asked_in = models.OneToOneField(
        Job,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        help_text="The job that answers with such, while it waits for approval.",
    )
    by = models.ForeignKey("jobs.User", on_delete=models.PROTECT, related_name="+")
    saved_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "saved replies"

    def __str__(self) -> str:
        return f"saved replies to {self.pk}"
