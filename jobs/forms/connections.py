"""Translates what operators decide about a connection; its key goes in here and never comes out."""

import re
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.db import transaction

from jobs.forms.base import ModelForm
from jobs.models import Connection, User, trail
from jobs.openai_client import is_private_host

OPENAI_ADDRESS = "https://api.openai.com/v1"
LABELS = {
    "name": "Name",
    "kind": "Kind",
    "base_url": "Address",
    "organization": "Organization",
    "openai_project": "Project at the API",
    "max_in_flight": "Most jobs in flight",
}


class PauseForm(forms.Form):
    """Why a connection is paused by hand."""

    reason = forms.CharField(max_length=200, required=False)


class RelieveForm(forms.Form):
    """Through which connection the projects of a paused one go on."""

    through = forms.IntegerField()


class KeyInput(forms.PasswordInput):
    """A field whose value is hidden by the sheet and never sent back; password managers leave it alone."""

    input_type = "text"


class ConnectionForm(ModelForm):
    """A connection; an empty key leaves the one that is set, unless kind or address change."""

    new_key = forms.CharField(
        label="Key",
        max_length=500,
        required=False,
        help_text="Encrypted, and never shown again. Another kind or address clears it.",
        widget=KeyInput(attrs={"autocomplete": "off", "spellcheck": "false", "class": "mono mask"}),
    )
    field_order = ["name", "kind", "base_url", "new_key"]

    class Meta:
        model = Connection
        fields = tuple(LABELS)
        labels = LABELS
        help_texts = {
            "base_url": "With its path, such as https://api.openai.com/v1 or "
            "https://NAME.openai.azure.com/openai/v1.",
            "organization": "Sent along where it is set.",
            "openai_project": "Sent along where it is set.",
            "max_in_flight": "More wait here until one has ended.",
        }

    def __init__(self, data: Any = None, *, instance: Connection | None = None) -> None:
        super().__init__(data, instance=instance, initial=None if instance else {"base_url": OPENAI_ADDRESS})
        self.fields["max_in_flight"].widget.attrs["min"] = 1
        self.fields["new_key"].required = instance is None
        if instance is not None:
            self.fields["new_key"].label = "New key" if instance.key else "Key"
            if not instance.is_set_here:
                for name in ("kind", "base_url", "new_key"):
                    del self.fields[name]

    def clean_base_url(self) -> str:
        """Refuse an address that cannot be one of an API, or that is private as it is written."""
        address = str(self.cleaned_data["base_url"]).rstrip("/")
        parts = urlsplit(address)
        is_bare = not (parts.username or parts.password or parts.query or parts.fragment)
        if parts.scheme not in {"http", "https"} or not is_bare or not parts.hostname:
            raise forms.ValidationError("An address such as https://api.openai.com/v1.")
        if is_private_host(parts.hostname) and not settings.PONDER_ALLOW_PRIVATE_ADDRESSES:
            raise forms.ValidationError(
                "A private address. Whoever runs Ponder can allow it with PONDER_ALLOW_PRIVATE_ADDRESSES=1."
            )
        return address

    def clean_new_key(self) -> str:
        """Refuse what cannot stand in a header; never repeat it."""
        key = str(self.cleaned_data["new_key"]).strip()
        if not re.fullmatch(r"[!-~]*", key):
            raise forms.ValidationError("A key has no blanks and no characters outside ASCII.")
        return key

    def clean_max_in_flight(self) -> int:
        found: int = self.cleaned_data["max_in_flight"]
        if not found:
            raise forms.ValidationError("At least 1. To send nothing, pause the connection.")
        return found

    def clean(self) -> dict[str, Any]:
        """Refuse a new connection where the date is shifted: real money would be counted at other prices."""
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if self.instance.pk is None and settings.PONDER_TODAY:
            self.add_error(None, "PONDER_TODAY shifts the date here, so only the practice API can be used.")
        return found

    @transaction.atomic
    def keep(self, *, by: User) -> Connection:
        """Save on top of what a pump may have set meanwhile, with a line in the trail that shows no key."""
        is_new = self.instance.pk is None
        row = self.instance if is_new else Connection.objects.select_for_update().get(pk=self.instance.pk)
        wanted = {name: self.cleaned_data[name] for name in LABELS if name in self.cleaned_data}
        before = {name: getattr(row, name) for name in wanted}
        had_key, key = bool(row.key), self.cleaned_data.get("new_key", "")
        for name, value in wanted.items():
            setattr(row, name, value)
        moved = any(before[name] != wanted[name] for name in ("kind", "base_url") if name in wanted)
        if key:
            row.set_key(key, by=by)
        elif moved:
            row.forget_test()
        row.save()
        labels = {name: LABELS[name] for name in wanted}
        said = [] if is_new else [trail.changes(before, wanted, labels)]
        said.append("Key set" if key else "Key cleared" if had_key and not row.key else "")
        trail.note(by, row, "; ".join(filter(None, said)) or "Saved unchanged", is_new=is_new)
        return row
