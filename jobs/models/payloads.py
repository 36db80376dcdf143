"""What a job asks and what came back: payloads, which can be emptied without the job or its money."""

from django.db import models

from jobs.models.attempt import Attempt
from jobs.models.job import Job


class Prompt(models.Model):
    """What a job asks. A payload: no CHECK constraints, for a violation would print the row."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True)
    title = models.CharField(max_length=200)
    text = models.TextField()
    instructions = models.TextField(blank=True)
    input_items = models.JSONField(null=True, blank=True)
    schema_name = models.CharField(max_length=64, blank=True)
    schema = models.JSONField(null=True, blank=True)
    tools = models.JSONField(null=True, blank=True)

    class Meta:
        indexes = [
            # All results of one schema, newest first; most prompts have none.
            models.Index(
                fields=["schema_name", "-job"], name="prompt_schema", condition=~models.Q(schema_name="")
            )
        ]

    def __str__(self) -> str:
        return f"prompt of {self.job_id}"


class Answer(models.Model):
    """What came back, as text, as JSON, and rendered. A payload."""

    PLAIN = -1  # rendering took too long once: shown as plain text from then on

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True)
    attempt = models.ForeignKey(Attempt, on_delete=models.PROTECT)
    text = models.TextField()
    is_refusal = models.BooleanField(default=False)
    parsed = models.JSONField(null=True, blank=True)
    validation_errors = models.JSONField(default=list, blank=True)
    calls = models.JSONField(default=list, blank=True, help_text="Function calls and approvals it asks for.")
    html = models.TextField(blank=True)
    renderer_version = models.SmallIntegerField(
        default=0, help_text="0 is not rendered, -1 is plain for good."
    )

    class Meta:
        indexes = [models.Index(fields=["renderer_version"], name="answer_renderer")]

    def __str__(self) -> str:
        return f"answer of {self.job_id}"
