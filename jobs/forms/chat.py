"""Translates the address of a chat; it goes in here and never comes out."""

from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.db import transaction

from jobs.forms.connections import KeyInput
from jobs.models import Chat, Project, Secret, User, Workspace, trail
from jobs.openai_client import is_private_host


class ChatForm(forms.Form):
    """Where alerts are posted; empty ends that."""

    address = forms.CharField(
        label="Incoming webhook",
        max_length=500,
        required=False,
        widget=KeyInput(attrs={"autocomplete": "off", "spellcheck": "false", "class": "in mono mask"}),
        help_text="The address that Slack, Mattermost or another chat gives you. Encrypted, and never shown "
        "again. Empty: alerts are not posted.",
    )

    def clean_address(self) -> str:
        """Refuse what is no address, and a private one where those are not allowed."""
        address = str(self.cleaned_data["address"])
        try:
            parts = urlsplit(address)
            host = parts.hostname or ""
        except ValueError:
            host, parts = "", urlsplit("")
        if address and (parts.scheme not in ("http", "https") or not host or parts.username):
            raise forms.ValidationError("Write an address that begins with https://.")
        if address and is_private_host(host) and not settings.PONDER_ALLOW_PRIVATE_ADDRESSES:
            raise forms.ValidationError("A private address, which whoever runs Ponder has not allowed.")
        return address

    @transaction.atomic
    def keep(self, *, project: Project | None, by: User) -> None:
        """Set or forget the address, with a line in the trail that does not show it."""
        address = self.cleaned_data["address"]
        if address:
            values = {"address": Secret.of(address), "set_by": by}
            Chat.objects.update_or_create(project=project, defaults=values)
        else:
            Chat.objects.filter(project=project).delete()
        trail.note(
            by, project or Workspace.objects.the(), "Chat for alerts set" if address else "Chat removed"
        )
