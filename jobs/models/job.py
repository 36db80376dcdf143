"""Jobs: one prompt with its settings. What it asks and answers lives in payload tables."""

import datetime as dt
import secrets
import uuid
from decimal import Decimal
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from jobs import access
from jobs.access import Act
from jobs.models.job_queries import JobQuerySet
from jobs.models.list_indexes import LIST_INDEXES
from jobs.models.projects import Project
from jobs.models.status import FINAL, IN_FLIGHT, UNFINISHED, Status

SHORT_ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: nothing to misread


def make_short_id() -> str:
    return "j_" + "".join(secrets.choice(SHORT_ID_ALPHABET) for _ in range(8))


class Job(models.Model):
    """One prompt with its settings. Holds no content: that lives in payload tables.

    `next_action_at` is the clock that drives everything; `claim_token` fences a worker's write-back;
    `version` rises with what people can see.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    short_id = models.CharField(max_length=12, unique=True, default=make_short_id, editable=False)
    # Indexes of lists begin with these three columns: one of their own would only be written.
    project = models.ForeignKey(Project, on_delete=models.PROTECT, db_index=False)
    submitted_by = models.ForeignKey("jobs.User", on_delete=models.PROTECT, db_index=False)
    token = models.ForeignKey("jobs.ApiToken", on_delete=models.PROTECT, null=True, blank=True)
    model = models.ForeignKey("jobs.ModelSpec", on_delete=models.PROTECT, db_index=False)
    effort = models.CharField(max_length=16)
    mode = models.CharField(max_length=16, default="standard")
    max_output_tokens = models.PositiveIntegerField()
    max_tool_calls = models.PositiveSmallIntegerField(null=True, blank=True)
    service_tier = models.CharField(max_length=16, default="default")
    window = models.CharField(max_length=16, default="soonest")
    tags = ArrayField(models.CharField(max_length=60), default=list, blank=True)
    previous = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="following"
    )
    root = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="thread",
        help_text="The first job of its thread; empty for the first itself.",
    )
    replays_thread = models.BooleanField(
        default=False,
        db_default=False,
        help_text="The API has forgotten what came before: all of it is sent again.",
    )
    rerun_of = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="reruns"
    )
    status = models.CharField(max_length=20, choices=Status, default=Status.WAITING)
    version = models.PositiveIntegerField(default=1)
    next_action_at = models.DateTimeField(null=True, blank=True)
    claim_token = models.UUIDField(null=True, blank=True)
    goes_first = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="It is asked for before what else is due: its end was announced, or somebody waits for it.",
    )
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_by = models.ForeignKey(
        "jobs.User", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    deadline_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    sent_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    input_bound = models.PositiveIntegerField(help_text="The most input tokens it can be charged for.")
    worst_case = models.DecimalField(
        "ceiling", max_digits=20, decimal_places=10, help_text="USD, of one attempt."
    )
    cost = models.DecimalField(max_digits=20, decimal_places=10, default=Decimal(0), help_text="USD")
    mailed_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When whoever asked was told of its end by mail."
    )
    error_code = models.CharField(max_length=80, blank=True)
    incomplete_reason = models.CharField(max_length=40, blank=True)
    fingerprint = models.CharField(
        max_length=64, help_text="Hash of prompt and settings: equal jobs have equal ones."
    )
    submission_key = models.CharField(max_length=64, null=True, blank=True, unique=True, editable=False)
    objects = JobQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(status__in=Status.values), name="job_status_known"),
            models.CheckConstraint(
                condition=models.Q(worst_case__gte=0, cost__gte=0), name="job_money_not_negative"
            ),
        ]
        indexes = [
            *LIST_INDEXES,
            # Everything a pump looks for; most rows are final and have no next action.
            models.Index(
                fields=["next_action_at", "status"],
                name="job_due",
                condition=models.Q(next_action_at__isnull=False),
            ),
            # The few that are asked for before them.
            models.Index(
                fields=["next_action_at"],
                name="job_goes_first",
                condition=models.Q(goes_first=True, next_action_at__isnull=False),
            ),
            # The first in line of each project: a claim lets projects take turns.
            models.Index(
                fields=["project", "next_action_at", "id"],
                name="job_in_line",
                condition=models.Q(status="waiting"),
            ),
            models.Index(
                fields=["-created_at", "-id"],
                name="job_unfinished",
                condition=models.Q(status__in=[s.value for s in UNFINISHED]),
            ),
            models.Index(fields=["fingerprint", "-created_at"], name="job_fingerprint"),
            # The few whose answer could wait: what the others could have cost less.
            models.Index(
                fields=["project", "created_at"], name="job_waited", condition=~models.Q(window="soonest")
            ),
            # What a job of a kind has used lately: its likely cost rests on that.
            models.Index(
                fields=["project", "model", "effort", "mode", "-created_at", "-id"],
                name="job_answered_newest",
                condition=models.Q(status__in=["completed", "incomplete"]),
            ),
        ]
        permissions = [("operate", "Can resume connections and act on any job")]

    def __str__(self) -> str:
        return self.short_id

    def get_absolute_url(self) -> str:
        return f"/jobs/{self.short_id}/"

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def is_in_flight(self) -> bool:
        return self.status in IN_FLIGHT

    @property
    def is_cancelling(self) -> bool:
        return self.cancel_requested_at is not None and not self.is_final

    @property
    def can_be_cancelled(self) -> bool:
        cancellable = (Status.WAITING, Status.AWAITING_APPROVAL, Status.SENDING, *IN_FLIGHT)
        return self.status in cancellable and self.cancel_requested_at is None

    def seconds_taken(self, now: dt.datetime) -> float:
        """Return the seconds from being sent (or made) until the end, or until `now`."""
        begin = self.sent_at or self.created_at
        return max(0.0, ((self.finished_at or now) - begin).total_seconds())

    def may(self, user: Any, act: Act) -> bool:
        """Tell whether the person may do this to this job, by the matrix in `access`."""
        if not user.is_authenticated or not user.is_active:
            return False
        return access.allowed(
            act,
            role=self.project.role_of(user),
            is_operator=user.is_superuser,
            is_own=self.submitted_by_id == user.pk,
        )
