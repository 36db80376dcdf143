"""Jobs and what belongs to them, for staff to look at: only `lifecycle` writes these."""

from typing import Any, ClassVar, override

from django.contrib import admin
from django.http import HttpRequest

from jobs.admin.acts import ACTS, offered
from jobs.admin.base import REACH, ViewOnly, exact, months_of
from jobs.models import (
    Approval,
    Attempt,
    Event,
    Installation,
    Job,
    Notice,
    PumpLease,
    Verdict,
    WebhookDelivery,
)
from jobs.templatetags import ui


class OfJob(ViewOnly):
    """A record of one job; 'view on site' opens the job's page."""

    list_select_related: ClassVar[tuple[str, ...]] = ("job",)
    search_fields: ClassVar[tuple[str, ...]] = ("job__short_id__exact",)
    search_help_text = f"The job's short id, such as j_2kd7pq1w. {REACH}"

    @override
    def view_on_site(self, obj: Any) -> str | None:
        """Return the job's page."""
        return obj.job.get_absolute_url() if obj.job else None


@admin.register(Job)
class JobAdmin(ViewOnly):
    """Jobs without their content, and what may be done to them."""

    actions = [offered(act) for act in ACTS]
    list_display = (
        "short_id",
        "state",
        "project",
        "submitted_by",
        "model",
        "ceiling",
        "charged",
        "created_at",
    )
    # No filter on words without a list of choices: the page would read the whole table for them.
    list_filter = ("status", months_of("created_at"), "created_at", "model", "project")
    list_select_related = ("project", "submitted_by", "model")
    ordering = ("-created_at", "-id")
    search_fields = ("short_id__exact", "fingerprint__exact", "submitted_by__email__iexact")
    search_help_text = f"A short id, a fingerprint or an e-mail address, in full. {REACH}"

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Tell whether someone may act on any job."""
        return request.user.has_perm("jobs.operate")

    @admin.display(description="status", ordering="status")
    def state(self, job: Job) -> str:
        """As the pages show it."""
        return ui.badge(job.status)

    @admin.display(description="ceiling", ordering="worst_case")
    def ceiling(self, job: Job) -> str:
        """USD of one attempt."""
        return exact(job.worst_case)

    @admin.display(description="cost", ordering="cost")
    def charged(self, job: Job) -> str:
        """USD so far."""
        return exact(job.cost)


@admin.register(Attempt)
class AttemptAdmin(OfJob):
    """Sends: what was asked of which connection, and what came of it."""

    list_display = (
        "__str__",
        "job",
        "state",
        "connection",
        "response_id",
        "end_status",
        "error_code",
        "charged",
        "sent_at",
        "ended_at",
    )
    list_filter = ("state", "connection", "created_at")
    list_select_related = ("job", "connection")
    ordering = ("-id",)
    search_fields = ("job__short_id__exact", "response_id__exact", "request_id__exact")
    search_help_text = f"A job's short id, a response id or a request id, in full. {REACH}"

    @admin.display(description="cost", ordering="cost")
    def charged(self, attempt: Attempt) -> str:
        """USD."""
        return exact(attempt.cost)


@admin.register(Event)
class EventAdmin(OfJob):
    """The timelines."""

    list_display = ("at", "job", "kind", "actor", "note")
    list_filter = ("at",)
    list_select_related = ("job", "actor")
    ordering = ("-id",)


@admin.register(Verdict)
class VerdictAdmin(OfJob):
    """Whether answers were right, as people judged them."""

    list_display = ("job", "value", "by", "at")
    list_filter = ("value",)
    list_select_related = ("job", "by")
    ordering = ("-job",)


@admin.register(Approval)
class ApprovalAdmin(OfJob):
    """Jobs that a person had to agree to; people decide about them on the job's page."""

    exclude = ("why", "note")
    list_display = ("job", "reason", "asked_at", "decision", "decided_by", "decided_at", "ceiling")
    list_filter = ("reason", "decision", "asked_at")
    list_select_related = ("job", "decided_by")
    ordering = ("-asked_at",)


@admin.register(Notice)
class NoticeAdmin(OfJob):
    """Alarms."""

    list_display = ("created_at", "kind", "message", "job", "connection", "seen_at")
    list_filter = ("kind", "connection")
    list_select_related = ("job", "connection")
    date_hierarchy = "created_at"
    show_facets = admin.ShowFacets.ALLOW
    search_fields = ("job__short_id__exact", "message")
    search_help_text = "A job's short id, or words of the message."


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ViewOnly):
    """What APIs announced; the log among the settings handles one again."""

    list_display = ("received_at", "connection", "event_type", "response_id", "state", "note", "repeats")
    list_filter = ("state", "connection")
    list_select_related = ("connection",)
    ordering = ("-id",)
    search_fields = ("response_id__exact", "webhook_id__exact")
    search_help_text = f"A response id or a webhook id, in full. {REACH}"


@admin.register(PumpLease)
class PumpLeaseAdmin(ViewOnly):
    """Who pumps where."""

    list_display = ("kind", "instance", "holder", "expires_at")


@admin.register(Installation)
class InstallationAdmin(ViewOnly):
    """Where workers run, and when they last answered; one that is gone for good may be forgotten."""

    list_display = ("host", "instance", "version", "beat_at", "stopped_at")

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may act on any job may forget one: if it is there, it tells of itself again."""
        return request.user.has_perm("jobs.operate")
