"""The audit log: what staff and managers changed, did and read; nobody changes it here."""

from django.contrib import admin
from django.contrib.admin.models import LogEntry

from jobs.admin.base import REACH, ViewOnly


@admin.register(LogEntry)
class TrailAdmin(ViewOnly):
    """Every act of the console and of the pages that manage people, projects and connections."""

    list_display = ("action_time", "user", "content_type", "named", "said")
    list_display_links = ("action_time",)
    list_filter = ("action_time", "content_type")
    list_select_related = ("user", "content_type")
    search_fields = ("user__email__iexact", "object_id__exact", "object_repr__iexact")
    search_help_text = f"An e-mail address, or the id or the name of what was acted on, in full. {REACH}"

    @admin.display(description="what", ordering="object_repr")
    def named(self, entry: LogEntry) -> str:
        """The record's name at that time."""
        return entry.object_repr

    @admin.display(description="said")
    def said(self, entry: LogEntry) -> str:
        """What was done to it."""
        return str(entry.get_change_message()) or entry.get_action_flag_display()
