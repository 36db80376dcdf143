"""Connections: where jobs are sent, with which key, and whether that is paused."""

import secrets
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from jobs.models.secret import Secret, SecretField

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


# How the reason begins of a connection in a copy from a backup: nothing is even asked for through it.
RESTORED = "restored:"


def make_slug() -> str:
    return secrets.token_urlsafe(24)


class ConnectionQuerySet(models.QuerySet["Connection"]):
    """Connections, read as phrases."""

    def open(self) -> "ConnectionQuerySet":
        """Those that may be sent to at this moment."""
        return self.filter(paused_at=None).filter(models.Q(not_before=None) | models.Q(not_before__lte=Now()))

    def paused(self) -> "ConnectionQuerySet":
        return self.exclude(paused_at=None)


class Connection(models.Model):
    """An account at an API. Changing its kind or address clears its key."""

    name = models.CharField(max_length=60, unique=True)
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.OPENAI)
    is_practice = models.BooleanField(default=False, help_text="Answers are made up and no money is spent.")
    base_url = models.URLField(max_length=300)
    sandbox_of = models.CharField(
        max_length=64,
        blank=True,
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
    webhook_slug = models.CharField(max_length=64, unique=True, default=make_slug, editable=False)
    webhook_secret = SecretField()
    previous_webhook_secret = SecretField()
    max_in_flight = models.PositiveIntegerField(default=200)
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
    doubted_at = models.DateTimeField(
        null=True, blank=True, help_text="When it last paused because several responses were unknown there."
    )
    not_before = models.DateTimeField(
        null=True, blank=True, help_text="Asked to wait until then (Retry-After)."
    )
    test_asked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_test_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_test_result = models.CharField(max_length=600, blank=True, editable=False)
    is_last_test_good = models.BooleanField(default=False, editable=False)
    unknown_in_a_row = models.PositiveSmallIntegerField(
        default=0, editable=False, help_text="Sends in a row that perhaps were accepted."
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
        super().save(*args, **kwargs)

    def set_key(self, plain: str, *, by: "User") -> None:
        """Keep a key, encrypted, and who set it; what an earlier one was told in a test holds no more."""
        self.key, self.key_set_at, self.key_set_by = Secret.of(plain), timezone.now(), by
        self.forget_test()

    def forget_test(self) -> None:
        """Drop what the last test said: it was of another key or address."""
        self.test_asked_at = self.last_test_at = None
        self.last_test_result, self.is_last_test_good = "", False

    @property
    def is_set_here(self) -> bool:
        """Whether people set its address and key here, rather than `start` from the environment."""
        return self.key_source == KeySource.STORED and not self.is_practice

    @property
    def is_restored(self) -> bool:
        """Whether it belongs to a copy from a backup that nobody has resumed yet."""
        return self.paused_at is not None and self.paused_reason.startswith(RESTORED)

    @property
    def is_trusted(self) -> bool:
        """Whether its address was chosen where Ponder runs, so that it may lead into a private network."""
        return not self.is_set_here

    def reveal_key(self) -> str:
        """Return the key to send. Raises SecretUnreadable."""
        if self.key_source == KeySource.ENVIRONMENT:
            key: str = settings.OPENAI_API_KEY
            return key
        return self.key.reveal()
