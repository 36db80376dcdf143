"""Connections: where jobs are sent, with which key, and whether that is paused."""

import base64
import datetime as dt
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from jobs.models.questions import Blank
from jobs.models.secret import Secret, SecretField, SecretUnreadable

if TYPE_CHECKING:
    from jobs.models.people import User


class Kind(models.TextChoices):
    """What speaks at the other end."""

    OPENAI = "openai", "OpenAI"
    AZURE = "azure", "Azure AI Foundry"
    COMPATIBLE = "compatible", "OpenAI-compatible server"


class KeySource(models.TextChoices):
    """Where the key is read from when it is needed."""

    STORED = "stored", "Set here"
    ENVIRONMENT = "environment", "From OPENAI_API_KEY"
    COMMAND = "command", "From PONDER_AZURE_TOKEN_COMMAND"


def sources_here() -> list[str]:
    """Return the sources of keys that this installation has; another may have those it lacks."""
    found: list[str] = [KeySource.STORED]
    if settings.OPENAI_API_KEY:
        found.append(KeySource.ENVIRONMENT)
    if settings.PONDER_AZURE_TOKEN_COMMAND:
        found.append(KeySource.COMMAND)
    return found


# Hosts of a resource, in the public cloud and in those of the US government and of China.
AZURE_HOSTS = tuple(
    f".{service}.{cloud}"
    for cloud in ("azure.com", "azure.us", "azure.cn")
    for service in ("openai", "services.ai", "cognitiveservices")
)
# What a pause writes down.
_PAUSE = ("paused_at", "paused_reason", "paused_by_id", "is_paused_with_all")


def is_webhook_secret(text: str) -> bool:
    """Tell whether signatures can be checked with a text: `whsec_` and base64."""
    try:
        return text.startswith("whsec_") and bool(base64.b64decode(text[6:], validate=True))
    except ValueError:
        return False


def make_webhook_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


# How the reason begins of a connection in a copy from a backup: nothing is even asked for through it.
RESTORED = "restored:"


def make_slug() -> str:
    return secrets.token_urlsafe(24)


class ConnectionQuerySet(models.QuerySet["Connection"]):
    """Connections, read as phrases."""

    def open(self, within: dt.timedelta | Blank = dt.timedelta(0)) -> "ConnectionQuerySet":
        """Those that may be sent to within a time, whichever installation has the key."""
        rested = models.Q(not_before=None) | models.Q(not_before__lte=Now() + within)
        return self.filter(rested, paused_at=None)

    def open_here(self, within: dt.timedelta | Blank = dt.timedelta(0)) -> "ConnectionQuerySet":
        """Those that may be sent to within a time, and from here."""
        return self.open(within).filter(key_source__in=sources_here())

    def paused(self) -> "ConnectionQuerySet":
        return self.exclude(paused_at=None)

    def paused_with_all(self) -> "ConnectionQuerySet":
        """Those that the switch for everything paused."""
        return self.paused().filter(is_paused_with_all=True)


class Connection(models.Model):
    """An account at an API. Changing its kind or address clears its key."""

    name = models.CharField(max_length=60, unique=True)
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.OPENAI)
    is_practice = models.BooleanField(default=False, help_text="Answers are made up and no money is spent.")
    base_url = models.URLField(max_length=300)
    sandbox_of = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="The installation whose sandbox it leads to; empty for any other.",
    )
    key = SecretField()
    key_source = models.CharField(max_length=12, choices=KeySource, default=KeySource.STORED)
    key_set_at = models.DateTimeField(null=True, blank=True, editable=False)
    key_set_by = models.ForeignKey(
        "jobs.User", on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    organization = models.CharField(max_length=100, blank=True)
    openai_project = models.CharField("OpenAI project", max_length=100, blank=True)
    bill_keys = ArrayField(
        models.CharField(max_length=100),
        default=list,
        db_default=[],
        blank=True,
        help_text="The ids of its keys in the organization's bill, those it had before too.",
    )
    webhook_slug = models.CharField(max_length=64, unique=True, default=make_slug, editable=False)
    webhook_secret = SecretField()
    previous_webhook_secret = SecretField()
    relaxed_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="Since when webhooks announce its ends, and polls are rare.",
    )
    max_in_flight = models.PositiveIntegerField(default=200)
    deployments = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        help_text="Model → the name it goes by there, where that is another.",
    )
    paused_at = models.DateTimeField(null=True, blank=True)
    paused_reason = models.CharField(max_length=600, blank=True)
    paused_by = models.ForeignKey(
        "jobs.User",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Empty when it paused by itself.",
    )
    is_paused_with_all = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="The switch for everything paused it, and resumes it.",
    )
    doubted_at = models.DateTimeField(
        null=True, blank=True, help_text="When it last paused because several responses were unknown there."
    )
    not_before = models.DateTimeField(
        null=True, blank=True, help_text="Asked to wait until then (Retry-After)."
    )
    test_asked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_test_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_test_result = models.CharField(max_length=600, blank=True, default="", db_default="", editable=False)
    is_last_test_good = models.BooleanField(default=False, db_default=False, editable=False)
    unknown_in_a_row = models.PositiveSmallIntegerField(
        default=0, db_default=0, editable=False, help_text="Sends in a row that perhaps were accepted."
    )
    accepted_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When it last accepted a send, to some ten seconds."
    )
    objects = ConnectionQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a key is bound to the address it was given for and cleared when that changes."""
        if self.pk and not kwargs.get("update_fields"):
            before = Connection.objects.filter(pk=self.pk).values("kind", "base_url", "key").first()
            moved = before and (before["kind"], before["base_url"]) != (self.kind, self.base_url)
            if before and moved:
                self.accepted_at = None
                if before["key"] == self.key:
                    self.key, self.key_set_at, self.key_set_by = Secret(""), None, None
        elif self._state.adding and self.paused_at is None:
            # While everything is paused, what comes new is no way around it.
            for name, value in (Connection.objects.paused_with_all().values(*_PAUSE).first() or {}).items():
                setattr(self, name, value)
        super().save(*args, **kwargs)

    @property
    def has_windows(self) -> bool:
        """Whether answers may be waited for at a discount: only OpenAI documents that."""
        return self.kind == Kind.OPENAI

    def name_of(self, model: str) -> str:
        """Return the name under which a model of the catalogue is asked for there.

        At OpenAI that is always its own, whatever the connection was before: any other is another model's,
        and costs what that one does.
        """
        return model if self.kind == Kind.OPENAI else str(self.deployments.get(model, model))

    def set_key(self, plain: str, *, by: "User") -> None:
        """Keep a key, encrypted, and who set it; what an earlier one was told in a test holds no more."""
        self.key, self.key_set_at, self.key_set_by = Secret.of(plain), timezone.now(), by
        self.forget_test()

    def set_webhook_secret(self, plain: str) -> None:
        """Keep a webhook secret, encrypted; the one before it stays valid until it is dropped."""
        self.previous_webhook_secret, self.webhook_secret = self.webhook_secret, Secret.of(plain)

    def drop_previous_webhook_secret(self) -> None:
        self.previous_webhook_secret = Secret("")

    @property
    def webhook_path(self) -> str:
        """Where on the web server its API announces ends."""
        return f"/webhooks/openai/{self.webhook_slug}/"

    @property
    def takes_webhooks(self) -> bool:
        """Whether its API announces ends at all. Azure documents no webhooks."""
        return self.kind != Kind.AZURE

    @property
    def is_webhook_secret_from_environment(self) -> bool:
        return self.key_source == KeySource.ENVIRONMENT and bool(settings.OPENAI_WEBHOOK_SECRETS)

    @property
    def has_webhook_secret(self) -> bool:
        return self.is_webhook_secret_from_environment or bool(self.webhook_secret)

    def reveal_webhook_secrets(self) -> list[str]:
        """Return the secrets that a delivery may be signed with, the current one first."""
        if self.is_webhook_secret_from_environment:
            return [*settings.OPENAI_WEBHOOK_SECRETS]
        found = []
        for secret in (self.webhook_secret, self.previous_webhook_secret):
            with suppress(SecretUnreadable):
                found.append(secret.reveal())
        return list(filter(None, found))

    def forget_test(self) -> None:
        """Drop what the last test said: it was of another key or address."""
        self.test_asked_at = self.last_test_at = None
        self.last_test_result, self.is_last_test_good = "", False

    @property
    def is_set_here(self) -> bool:
        """Whether people set its address here, rather than `start` from the environment."""
        return self.key_source != KeySource.ENVIRONMENT and not self.is_practice

    @property
    def is_at_azure(self) -> bool:
        """Whether its address is one of Azure's own, which an Entra token may be shown to."""
        parts = urlsplit(self.base_url)
        return parts.scheme == "https" and (parts.hostname or "").endswith(AZURE_HOSTS)

    @property
    def is_restored(self) -> bool:
        """Whether it belongs to a copy from a backup that nobody has resumed yet."""
        return self.paused_at is not None and self.paused_reason.startswith(RESTORED)

    @property
    def is_trusted(self) -> bool:
        """Whether its address was chosen where Ponder runs, so that it may lead into a private network."""
        return not self.is_set_here

    def reveal_key(self) -> str:
        """Return the key to send; none where a command gives a token for it. Raises SecretUnreadable."""
        if self.key_source == KeySource.ENVIRONMENT:
            key: str = settings.OPENAI_API_KEY
            return key
        return self.key.reveal()
