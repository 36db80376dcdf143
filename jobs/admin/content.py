"""What people wrote and models answered, for staff to look at: every look is written down."""

from typing import Any, override

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from jobs.admin.base import REACH, ViewOnly
from jobs.admin.records import OfJob
from jobs.models import (
    Answer,
    Attachment,
    Job,
    JobAttachment,
    JobNote,
    Prompt,
    RawResponse,
    SavedReplies,
    User,
)
from jobs.models.trail import note

CONTENT = "Content: people's own words or a model's. Look only where you must: it is written down."


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
        """Show one under its warning, and write down who looked."""
        page = super().changeform_view(
            request, object_id, form_url, {**(extra_context or {}), "title": CONTENT}
        )
        shown = (getattr(page, "context_data", None) or {}).get("original")
        if shown is not None and isinstance(request.user, User):
            note(request.user, self.job_of(shown), f"Read in the console: {self.opts.verbose_name}")
        return page

    def job_of(self, shown: Any) -> Job:
        """Return the job that the content belongs to: its history tells who read what."""
        job: Job = shown.job
        return job


@admin.register(Prompt)
class PromptAdmin(Content):
    """What jobs ask. Staff read people's words here."""

    list_display = ("job", "schema_name")
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
    def job_of(self, shown: RawResponse) -> Job:
        """Return the attempt's job."""
        return shown.attempt.job

    @override
    def view_on_site(self, obj: RawResponse) -> str:
        """Return the job's page."""
        return obj.attempt.job.get_absolute_url()


@admin.register(JobNote)
class JobNoteAdmin(Content):
    """Remarks on jobs."""

    list_display = ("job", "by", "at")
    list_select_related = ("job", "by")
    ordering = ("-id",)


@admin.register(SavedReplies)
class SavedRepliesAdmin(Content):
    """Answers to calls that are not complete yet."""

    list_display = ("job", "by", "saved_at")
    list_select_related = ("job", "by")
    ordering = ("-job",)


@admin.register(JobAttachment)
class JobAttachmentAdmin(Content):
    """Which files go with which job, and what people call them."""

    list_display = ("job", "position", "attachment")
    list_select_related = ("job", "attachment")
    ordering = ("-id",)


@admin.register(Attachment)
class AttachmentAdmin(ViewOnly):
    """Files without their bytes, which only their jobs' pages give out."""

    list_display = (
        "id",
        "project",
        "media_type",
        "size",
        "pages",
        "width",
        "height",
        "created_by",
        "created_at",
    )
    list_filter = ("project",)
    list_select_related = ("project", "created_by")
    ordering = ("-id",)
    search_fields = ("digest__exact",)
    search_help_text = f"The SHA-256 of the bytes, in full. {REACH}"
