"""Connections: keys and webhook secrets go in here and never come out."""

import re
from typing import Any, override
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from jobs.admin.base import Kept
from jobs.admin.people import ModelForm
from jobs.models import Connection, KeySource, WebhookDelivery
from jobs.models.connections import is_webhook_secret
from jobs.templatetags import ui

# What a pump may have set since the page was opened.
STATE = (
    "sandbox_of",
    "deployments",
    "bill_keys",
    "paused_at",
    "paused_reason",
    "paused_by",
    "is_paused_with_all",
    "not_before",
    "unknown_in_a_row",
    "doubted_at",
    "relaxed_at",
    "test_asked_at",
    "last_test_at",
    "last_test_result",
    "is_last_test_good",
)
WEBHOOK = (
    "webhook_address",
    "webhook_secret_state",
    "last_delivery",
    "new_webhook_secret",
    "drop_previous_webhook_secret",
)


def _write_only(label: str, help_text: str) -> forms.CharField:
    widget = forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"})
    return forms.CharField(label=label, help_text=help_text, widget=widget, required=False, max_length=500)


class ConnectionForm(ModelForm):
    """A connection; an empty secret leaves the one that is set."""

    new_key = _write_only(
        "Set key", "Stored encrypted, never shown again. Changing kind or address clears it."
    )
    new_webhook_secret = _write_only(
        "Set webhook secret",
        "whsec_… as OpenAI shows it; the one before it stays valid until it is dropped.",
    )
    drop_previous_webhook_secret = forms.BooleanField(required=False, label="Drop the secret before it")

    class Meta:
        model = Connection
        fields = ("name", "kind", "base_url", "organization", "openai_project", "max_in_flight")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Leave out the key where it is not set here."""
        super().__init__(*args, **kwargs)
        if not is_set_here(self.instance):
            del self.fields["new_key"]

    def clean_base_url(self) -> str:
        """Refuse an address that cannot be one of an API."""
        address: str = self.cleaned_data["base_url"].rstrip("/")
        parts = urlsplit(address)
        is_bare = not (parts.username or parts.password or parts.query or parts.fragment)
        if parts.scheme not in {"http", "https"} or not is_bare:
            raise ValidationError("An address such as https://api.openai.com/v1.")
        return address

    def clean_new_key(self) -> str:
        """Refuse what cannot stand in a header; never repeat it."""
        key: str = self.cleaned_data["new_key"].strip()
        if not re.fullmatch(r"[!-~]*", key):
            raise ValidationError("A key has no blanks and no characters outside ASCII.")
        return key

    def clean_new_webhook_secret(self) -> str:
        """Refuse a secret that no signature could be checked with."""
        secret: str = self.cleaned_data["new_webhook_secret"].strip()
        if secret and not is_webhook_secret(secret):
            raise ValidationError("The secret that OpenAI shows: whsec_ and base64.")
        return secret


@admin.register(Connection)
class ConnectionAdmin(Kept):
    """Accounts at an API. Practice is made by `start`, points at the sandbox, and stays so."""

    form = ConnectionForm
    list_display = ("name", "kind", "is_practice", "base_url", "key_state", "paused_at")
    list_filter = ("kind", "is_practice", ("paused_at", admin.EmptyFieldListFilter))
    ordering = ("name",)

    @override
    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show what can be set, then how it stands."""
        key = ("new_key",) if is_set_here(obj) else ()
        return (
            (None, {"fields": ("name", "kind", "is_practice", "base_url", "key_state", *key)}),
            ("Account", {"fields": ("organization", "openai_project", "max_in_flight")}),
            ("Webhook", {"fields": WEBHOOK}),
            ("State", {"fields": STATE}),
        )

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Keep the environment's key at its address, and practice at the sandbox."""
        fixed = ("is_practice", "key_state", *WEBHOOK[:3], *STATE)
        return fixed if is_set_here(obj) else (*fixed, "kind", "base_url")

    @admin.display(description="key")
    def key_state(self, connection: Connection) -> str:
        """Where the key comes from and since when; never the key."""
        if connection.key_source != KeySource.STORED:
            return str(connection.get_key_source_display())
        if not connection.key:
            return "Not set"
        return f"Set {connection.key_set_at:%-d %B %Y}" if connection.key_set_at else "Set"

    @admin.display(description="webhook secret")
    def webhook_secret_state(self, connection: Connection) -> str:
        """Whether there is one, and one before it."""
        if connection.is_webhook_secret_from_environment:
            return "From OPENAI_WEBHOOK_SECRET"
        if not connection.webhook_secret:
            return "Not set"
        return "Set, and the one before it" if connection.previous_webhook_secret else "Set"

    @admin.display(description="address to register")
    def webhook_address(self, connection: Connection) -> str:
        """Where OpenAI is to announce ends; the path alone where PONDER_URL does not say more."""
        return f"{settings.PONDER_URL}{connection.webhook_path}" if connection.takes_webhooks else "None"

    @admin.display(description="last delivery")
    def last_delivery(self, connection: Connection) -> str:
        """When it came, and how long after its event."""
        last = WebhookDelivery.objects.latest_of(connection.pk) if connection.pk else None
        if last is None:
            return "None yet"
        return f"{last.received_at:%-d %B %Y %H:%M:%S} UTC, {ui.duration(last.lag)} after its event"

    @override
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save with the secrets that were given, and without undoing a pause made meanwhile."""
        if change:
            now = Connection.objects.select_for_update().get(pk=obj.pk)
            for name in STATE:
                setattr(obj, name, getattr(now, name))
        if form.cleaned_data.get("new_key"):
            obj.set_key(form.cleaned_data["new_key"], by=request.user)
        if form.cleaned_data.get("new_webhook_secret"):
            obj.set_webhook_secret(form.cleaned_data["new_webhook_secret"])
        elif form.cleaned_data.get("drop_previous_webhook_secret"):
            obj.drop_previous_webhook_secret()
        super().save_model(request, obj, form, change)


def is_set_here(connection: Connection | None) -> bool:
    """Tell whether staff set a connection's address and key, rather than `start`."""
    return connection is None or (connection.key_source == KeySource.STORED and not connection.is_practice)
