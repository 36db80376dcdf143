"""Jobs: one prompt with its settings, its answer and its timeline."""

import datetime as dt
import secrets
import uuid
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Coalesce, Now

from jobs import access
from jobs.access import Act
from jobs.models.attempt import Attempt, AttemptState
from jobs.models.connections import KeySource
from jobs.models.people import name_of
from jobs.models.projects import Project, Someone

SHORT_ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: nothing to misread
MOST_AHEAD = 1_000  # jobs in line beyond which the exact place says nothing more


class Status(models.TextChoices):
    """Where a job is; queued to cancelled are the API's own words."""

    AWAITING_APPROVAL = "awaiting_approval", "Needs approval"  # a person must agree first; nothing is held
    WAITING = "waiting", "Waiting"  # admitted, to be sent as soon as possible
    SENDING = "sending", "Sending"  # a pump has claimed it and may have bytes on the wire
    UNCONFIRMED = "unconfirmed", "Unconfirmed"  # sent perhaps; the hold stays until someone knows
    QUEUED = "queued", "Queued"
    IN_PROGRESS = "in_progress", "Running"
    REQUIRES_ACTION = (
        "requires_action",
        "Needs action",
    )  # ended upstream with calls to answer; money is settled
    COMPLETED = "completed", "Completed"
    INCOMPLETE = "incomplete", "Incomplete"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


IN_FLIGHT = (Status.QUEUED, Status.IN_PROGRESS)
FINAL = (Status.COMPLETED, Status.INCOMPLETE, Status.FAILED, Status.CANCELLED)
UNFINISHED = tuple(status for status in Status if status not in FINAL)


def make_short_id() -> str:
    return "j_" + "".join(secrets.choice(SHORT_ID_ALPHABET) for _ in range(8))


class JobQuerySet(models.QuerySet["Job"]):
    """Jobs, read as phrases."""

    def visible_to(self, user: Someone) -> "JobQuerySet":
        """Those of the projects a person may see."""
        if user.is_authenticated and user.is_superuser:
            return self.all()
        return self.filter(project__in=Project.objects.visible_to(user))

    def named(self, short_id: str) -> "JobQuerySet":
        """The one with a short id, as an address or a form gives it."""
        # PostgreSQL refuses a NUL even to look for it.
        return self.none() if "\x00" in short_id else self.filter(short_id=short_id)

    def real(self) -> "JobQuerySet":
        """Those that cost real money."""
        return self.filter(project__connection__is_practice=False)

    def unfinished(self) -> "JobQuerySet":
        """Those that are not final."""
        return self.filter(status__in=UNFINISHED)

    def final(self) -> "JobQuerySet":
        return self.filter(status__in=FINAL)

    def to_send(self, within: dt.timedelta = dt.timedelta(0)) -> "JobQuerySet":
        """Those due to be sent from here within a time, whose connection may be sent to."""
        gate = models.Q(project__connection__not_before=None) | models.Q(
            project__connection__not_before__lte=Now() + within
        )
        due = self.filter(
            gate,
            status=Status.WAITING,
            next_action_at__lte=Now() + within,
            project__connection__paused_at=None,
        )
        if settings.OPENAI_API_KEY:
            return due
        # Another installation may have the key that this one lacks.
        return due.exclude(project__connection__key_source=KeySource.ENVIRONMENT)

    def to_poll(self, within: dt.timedelta = dt.timedelta(0)) -> "JobQuerySet":
        """Those due to be asked for from here within a time: in flight, or final and still watched."""
        due = self.to_poll_anywhere(within)
        if settings.OPENAI_API_KEY:
            return due
        elsewhere = Attempt.objects.filter(
            job=models.OuterRef("pk"),
            state=AttemptState.KNOWN,
            connection__key_source=KeySource.ENVIRONMENT,
        )
        return due.exclude(models.Exists(elsewhere))

    def to_poll_anywhere(self, within: dt.timedelta = dt.timedelta(0)) -> "JobQuerySet":
        """Those due to be asked for within a time, whichever installation has the key."""
        return self.filter(next_action_at__lte=Now() + within).exclude(
            status__in=[Status.WAITING, Status.SENDING, Status.UNCONFIRMED, Status.AWAITING_APPROVAL]
        )

    def to_reap(self, within: dt.timedelta = dt.timedelta(0)) -> "JobQuerySet":
        """Those whose send has outlived its lease: nobody is sending them any more."""
        return self.filter(attempt__state=AttemptState.SENDING, attempt__lease_expires_at__lte=Now() + within)

    def thread_of(self, job: "Job") -> "JobQuerySet":
        """The jobs of the thread that a job belongs to, with all its branches, oldest first."""
        first = job.root_id or job.pk
        return self.filter(models.Q(pk=first) | models.Q(root=first)).order_by("created_at", "pk")

    def chain_to(self, job: "Job") -> list["Job"]:
        """Return what a job builds on and itself, first to last; one query."""
        thread = {one.pk: one for one in self.thread_of(job)}
        chain, link = [], thread.get(job.pk)
        while link is not None:
            chain.append(link)
            link = thread.get(link.previous_id or 0)
        return chain[::-1]

    def with_place(self) -> "JobQuerySet":
        """With a waiting job's place: how many go out before it on its connection, and its slots in use.

        `ahead` stops at MOST_AHEAD; both are None for a job that does not wait, for which nothing is counted.
        """
        before = Job.objects.filter(
            status=Status.WAITING,
            cancel_requested_at=None,
            project__connection=models.OuterRef("project__connection"),
            next_action_at__lt=models.OuterRef("next_action_at"),
        )
        counted = ArraySubquery(before.order_by().values("pk")[:MOST_AHEAD])
        open_now = Attempt.objects.open().filter(connection=models.OuterRef("project__connection"))
        slots = models.Subquery(
            open_now.order_by().values("connection").annotate(count=models.Count("pk")).values("count")
        )
        number = models.IntegerField()
        ahead = models.Func(counted, function="cardinality", output_field=number)
        waits = models.Q(status=Status.WAITING)
        return self.annotate(
            ahead=models.Case(models.When(waits, then=ahead), output_field=number),
            slots_in_use=models.Case(models.When(waits, then=Coalesce(slots, 0)), output_field=number),
        )

    def asked_with(self, schema_name: str) -> "JobQuerySet":
        """Those that asked for a structured result by a schema of this name."""
        return self.filter(prompt__schema_name=schema_name).exclude(prompt__schema_name="")

    def for_list(self) -> "JobQuerySet":
        """With what a row of a list shows of other records, read beside it: no rows of theirs are made."""
        return self.annotate(
            title=models.F("prompt__title"),
            schema_name=models.F("prompt__schema_name"),
            project_name=models.F("project__name"),
            person=name_of("submitted_by"),
            canceller=name_of("cancel_requested_by"),
        )

    def for_cards(self) -> "JobQuerySet":
        """With what a card of a job in flight shows besides: its connection's name, if that is paused."""
        paused = models.Q(project__connection__paused_at__isnull=False)
        name = models.When(paused, then="project__connection__name")
        return self.for_list().annotate(paused_connection=models.Case(name))

    def with_usage(self) -> "JobQuerySet":
        """With `usage`, as the API reports it, of the last attempt that has any."""
        known = Attempt.objects.filter(job=models.OuterRef("pk"), usage__isnull=False)
        return self.annotate(usage=models.Subquery(known.order_by("-number").values("usage")[:1]))


class Job(models.Model):
    """One prompt with its settings. Holds no content: that lives in payload tables.

    `next_action_at` is the clock that drives everything; `claim_token` fences a worker's write-back;
    `version` rises with what people can see.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    short_id = models.CharField(max_length=12, unique=True, default=make_short_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT)
    submitted_by = models.ForeignKey("jobs.User", on_delete=models.PROTECT)
    token = models.ForeignKey("jobs.ApiToken", on_delete=models.PROTECT, null=True, blank=True)
    model = models.ForeignKey("jobs.ModelSpec", on_delete=models.PROTECT)
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
        default=False, help_text="The API has forgotten what came before: all of it is sent again."
    )
    rerun_of = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="reruns"
    )
    status = models.CharField(max_length=20, choices=Status, default=Status.WAITING)
    version = models.PositiveIntegerField(default=1)
    next_action_at = models.DateTimeField(null=True, blank=True)
    claim_token = models.UUIDField(null=True, blank=True)
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
            models.Index(fields=["-created_at", "-id"], name="job_newest"),
            models.Index(fields=["project", "-created_at", "-id"], name="job_project_newest"),
            # A rare status lies far apart among the newest: without it 'failed' would read them all.
            models.Index(fields=["status", "-created_at", "-id"], name="job_status_newest"),
            models.Index(fields=["submitted_by", "-created_at"], name="job_person_newest"),
            # Everything a pump looks for; most rows are final and have no next action.
            models.Index(
                fields=["next_action_at", "status"],
                name="job_due",
                condition=models.Q(next_action_at__isnull=False),
            ),
            models.Index(
                fields=["-created_at", "-id"],
                name="job_unfinished",
                condition=models.Q(status__in=[s.value for s in UNFINISHED]),
            ),
            models.Index(fields=["fingerprint", "-created_at"], name="job_fingerprint"),
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
