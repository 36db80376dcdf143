"""Jobs and what belongs to them, for staff to look at: only `lifecycle` writes these."""

from typing import Any, ClassVar, override

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from jobs.admin.base import REACH, ViewOnly, exact
from jobs.models import Answer, Attempt, Event, Job, Notice, Prompt, PumpLease, RawResponse

CONTENT = "Content: people's own words or a model's. Look only where you must."


class OfJob(ViewOnly):
    """A record of one job; 'view on site' opens the job's page."""

    list_select_related: ClassVar[tuple[str, ...]] = ("job",)
    search_fields: ClassVar[tuple[str, ...]] = ("job__short_id__exact",)
    search_help_text = f"The job's short id, such as j_2kd7pq1w. {REACH}"

    @override
    def view_on_site(self, obj: Any) -> str | None:
        """Return the job's page."""
        return obj.job.get_absolute_url() if obj.job else None


class Content(OfJob):
    """A payload: what somebody wrote, or what came back. Its pages say so."""

    @override
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list under its warning."""
        return super().changelist_view(request, {"subtitle": None, **(extra_context or {}), "title": CONTENT})

    @override
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show one under its warning."""
        return super().changeform_view(
            request, object_id, form_url, {**(extra_context or {}), "title": CONTENT}
        )


@admin.register(Job)
class JobAdmin(ViewOnly):
    """Jobs without their content."""

    list_display = (
        "short_id",
        "status",
        "project",
        "submitted_by",
        "model",
        "effort",
        "ceiling",
        "charged",
        "created_at",
        "finished_at",
    )
    # No filter on words without a list of choices: the page would read the whole table for them.
    list_filter = ("status", "project", "model", "created_at")
    list_select_related = ("project", "submitted_by", "model")
    ordering = ("-created_at", "-id")
    search_fields = ("short_id__exact", "fingerprint__exact", "submitted_by__email__iexact")
    search_help_text = f"A short id, a fingerprint or an e-mail address, in full. {REACH}"

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


@admin.register(Prompt)
class PromptAdmin(Content):
    """What jobs ask. Staff read people's words here."""

    list_display = ("job", "title", "schema_name")
    ordering = ("-job",)


@admin.register(Answer)
class AnswerAdmin(Content):
    """What came back. Staff read answers here; the rendered copy is left out."""

    list_display = ("job", "attempt_id", "is_refusal", "renderer_version")
    list_filter = ("is_refusal",)
    ordering = ("-job",)

    @override
    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Leave out the HTML, which repeats the text."""
        return [name for name in super().get_fields(request, obj) if name != "html"]


@admin.register(RawResponse)
class RawResponseAdmin(Content):
    """Responses as they came. Staff read answers here."""

    list_display = ("attempt", "job", "read_at")
    list_select_related = ("attempt__job",)
    ordering = ("-attempt",)
    search_fields = ("attempt__job__short_id__exact", "attempt__response_id__exact")
    search_help_text = f"A job's short id or a response id, in full. {REACH}"

    @admin.display(description="job")
    def job(self, raw: RawResponse) -> Job:
        """The attempt's job."""
        return raw.attempt.job

    @override
    def view_on_site(self, obj: RawResponse) -> str:
        """Return the job's page."""
        return obj.attempt.job.get_absolute_url()


@admin.register(Event)
class EventAdmin(OfJob):
    """The timelines."""

    list_display = ("at", "job", "kind", "actor", "note")
    list_filter = ("at",)
    list_select_related = ("job", "actor")
    ordering = ("-id",)


@admin.register(Notice)
class NoticeAdmin(OfJob):
    """Alarms."""

    list_display = ("created_at", "kind", "message", "job", "connection", "seen_at")
    list_filter = ("kind", "connection")
    list_select_related = ("job", "connection")
    date_hierarchy = "created_at"
    search_fields = ("job__short_id__exact", "message")
    search_help_text = "A job's short id, or words of the message."


@admin.register(PumpLease)
class PumpLeaseAdmin(ViewOnly):
    """Who pumps where."""

    list_display = ("kind", "instance", "holder", "expires_at")
