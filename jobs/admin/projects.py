"""The workspace, its projects and who belongs to them."""

import datetime as dt
from typing import Any, override
from zoneinfo import available_timezones

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from jobs import clock
from jobs.admin.base import Kept, Page, ViewOnly
from jobs.admin.people import MembershipInline, ModelForm
from jobs.models import ApiToken, Job, Membership, Project, Workspace


class WorkspaceForm(ModelForm):
    """The workspace; its zone can be changed for the months to come only."""

    class Meta:
        model = Workspace
        fields = ("name", "default_model", "next_time_zone")
        help_texts = {"next_time_zone": "Such as Europe/Berlin; applies from the first of next month."}

    def clean_next_time_zone(self) -> str:
        """Refuse a zone that cannot be counted in."""
        zone: str = self.cleaned_data["next_time_zone"].strip()
        if zone and zone not in available_timezones():
            raise ValidationError("There is no such time zone.")
        return zone


@admin.register(Workspace)
class WorkspaceAdmin(Kept):
    """The one row."""

    form = WorkspaceForm
    fields = ("name", "default_model", "zone", "next_time_zone", "next_time_zone_on")
    readonly_fields = ("zone", "next_time_zone_on")
    list_display = ("name", "zone", "default_model")
    list_select_related = ("default_model",)

    @override
    def has_add_permission(self, request: HttpRequest) -> bool:
        """There is one, made on the first use."""
        return False

    @admin.display(description="time zone now")
    def zone(self, workspace: Workspace) -> str:
        """The zone in which months and days of money are counted now."""
        return workspace.zone.key

    @override
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save; a new zone waits for the next month, so that no month is counted in two zones."""
        if "next_time_zone" in form.changed_data:
            before = Workspace.objects.the()
            month = clock.month_of(before.today())
            # A change planned earlier may be in force by now.
            obj.time_zone = before.zone.key
            after = (month + dt.timedelta(days=32)).replace(day=1)
            obj.next_time_zone_on = after if obj.next_time_zone else None
        super().save_model(request, obj, form, change)


@admin.register(Project)
class ProjectAdmin(Kept):
    """Projects; archived, never deleted. Caps are set on the project's own page."""

    fields = (
        "name",
        "slug",
        "cost_centre",
        "connection",
        "default_model",
        "default_effort",
        "default_max_output_tokens",
        "allowed_models",
        "allowed_efforts",
        "job_limit",
        "unconfirmed_rule",
        "archived_at",
        "created_at",
    )
    filter_horizontal = ("allowed_models",)
    inlines = (MembershipInline,)
    list_display = ("name", "slug", "connection", "is_practice", "default_model", "created_at", "archived_at")
    list_filter = ("connection", ("archived_at", admin.EmptyFieldListFilter))
    list_select_related = ("connection", "default_model")
    prepopulated_fields = {"slug": ("name",)}
    search_fields = ("name", "slug", "cost_centre")
    search_help_text = "Part of a name, a slug or a cost centre."

    @admin.display(boolean=True, description="practice")
    def is_practice(self, project: Project) -> bool:
        """Whether no money is spent."""
        return project.is_practice

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Keep a project on its side, practice or real, once it has a job."""
        has_jobs = obj is not None and Job.objects.filter(project=obj).exists()
        return ("created_at", "connection") if has_jobs else ("created_at",)

    @override
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save, and say what is still missing from a new one."""
        super().save_model(request, obj, form, change)
        if not change:
            note = f"{obj} takes no jobs until it has a cap: set it on its page, {obj.get_absolute_url()}."
            messages.warning(request, note)


@admin.register(Membership)
class MembershipAdmin(Page):
    """Who belongs where."""

    autocomplete_fields = ("user", "project")
    list_display = ("user", "project", "role")
    list_filter = ("role", "project")
    list_select_related = ("user", "project")
    search_fields = ("user__email", "user__name")
    search_help_text = "Part of an e-mail address or a name."


@admin.register(ApiToken)
class ApiTokenAdmin(ViewOnly):
    """Pipelines' ways in; only a hash of each is stored, and it is not shown."""

    list_display = (
        "name",
        "prefix",
        "project",
        "user",
        "created_at",
        "expires_at",
        "last_used_at",
        "revoked_at",
    )
    list_filter = ("project",)
    list_select_related = ("project", "user")
    ordering = ("-created_at",)
