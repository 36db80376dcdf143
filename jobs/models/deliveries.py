"""Deliveries: what the API announced to us by webhook, and what became of each."""

import datetime as dt
from enum import StrEnum

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from jobs.models.attempt import Attempt
from jobs.models.connections import KeySource
from jobs.models.questions import Blank


class DeliveryState(models.TextChoices):
    """What became of a delivery."""

    PENDING = "pending", "Pending"  # nobody knows yet whose response it is about
    DONE = "done", "Done"  # the response was asked for at once, or nothing was to be done
    FOREIGN = "foreign", "Foreign"  # about a response that was not sent from here
    REFUSED = "refused", "Refused"  # not signed as it must be; nothing of it is kept


class Shown(StrEnum):
    """What a log can be narrowed to: a state, or those that came more than once."""

    PENDING = DeliveryState.PENDING
    DONE = DeliveryState.DONE
    DUPLICATE = "duplicate"
    FOREIGN = DeliveryState.FOREIGN
    REFUSED = DeliveryState.REFUSED


class WebhookDeliveryQuerySet(models.QuerySet["WebhookDelivery"]):
    """Deliveries, read as phrases."""

    def due(self, within: dt.timedelta | Blank = dt.timedelta(0)) -> "WebhookDeliveryQuerySet":
        """Those whose response is to be looked up from here within a time."""
        found = self.filter(next_look_at__lte=Now() + within)
        if settings.OPENAI_API_KEY:
            return found
        # Another installation may have the key that this one lacks.
        return found.exclude(connection__key_source=KeySource.ENVIRONMENT)

    def shown_as(self, shown: Shown) -> "WebhookDeliveryQuerySet":
        """Those in a state, or those that came again."""
        if shown is Shown.DUPLICATE:
            return self.filter(repeats__gt=0).exclude(webhook_id="")
        return self.filter(state=shown.value)

    def page(self, most: int, *, before: int | None = None) -> "WebhookDeliveryQuerySet":
        """The newest `most`, from below an id on, with what a log shows of them."""
        rows = self if before is None else self.filter(pk__lt=before)
        return rows.select_related("connection", "attempt__job").order_by("-pk")[:most]

    def latest_of(self, connection_id: int, *, refused: bool = False) -> "WebhookDelivery | None":
        """The last one that a connection took, or else refused."""
        own = self.filter(connection=connection_id)
        refusals = models.Q(state=DeliveryState.REFUSED)
        return own.filter(refusals if refused else ~refusals).order_by("-pk").first()

    def forget(self, before: dt.datetime, *, most: int) -> int:
        """Delete those of the oldest `most` that came before a moment; return how many."""
        # Ids are given in the order in which they come: the oldest are found without an index of times.
        oldest = self.order_by("pk").values_list("pk", "received_at")[:most]
        old = [pk for pk, received_at in oldest if received_at < before]
        return self.filter(pk__in=old).delete()[0] if old else 0


class WebhookDelivery(models.Model):
    """One event as it was delivered; its body, a type and an id, is not kept beyond these.

    Refused ones have no webhook id: one row counts those of a connection, a reason and an hour.
    """

    connection = models.ForeignKey("jobs.Connection", on_delete=models.CASCADE, db_index=False)
    webhook_id = models.CharField(max_length=255, blank=True)
    event_type = models.CharField(max_length=80, blank=True)
    response_id = models.CharField(max_length=255, blank=True)
    attempt = models.ForeignKey(Attempt, on_delete=models.CASCADE, null=True, blank=True, db_index=False)
    state = models.CharField(max_length=8, choices=DeliveryState)
    note = models.CharField(max_length=200, blank=True)
    repeats = models.PositiveIntegerField(default=0, help_text="How often it came again.")
    looks = models.PositiveSmallIntegerField(default=0, help_text="How often its response was looked up.")
    event_at = models.DateTimeField(null=True, blank=True, help_text="When it happened, as the API says.")
    received_at = models.DateTimeField(db_default=Now())
    handled_at = models.DateTimeField(null=True, blank=True)
    next_look_at = models.DateTimeField(null=True, blank=True)
    objects = WebhookDeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "webhook deliveries"
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "webhook_id"],
                condition=~models.Q(webhook_id=""),
                name="delivery_taken_once",
            ),
        ]
        indexes = [
            # The log, and the log of a connection, of a state, of what came again.
            models.Index(fields=["connection", "-id"], name="delivery_connection"),
            models.Index(fields=["state", "-id"], name="delivery_state"),
            models.Index(fields=["-id"], name="delivery_repeated", condition=models.Q(repeats__gt=0)),
            # Whether a response was announced.
            models.Index(
                fields=["connection", "response_id"],
                name="delivery_response",
                condition=~models.Q(response_id=""),
            ),
            # Whether ends of a connection's jobs were announced lately.
            models.Index(
                fields=["connection", "received_at"],
                name="delivery_heard",
                condition=models.Q(attempt__isnull=False),
            ),
            models.Index(
                fields=["next_look_at"],
                name="delivery_due",
                condition=models.Q(next_look_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event_type or self.state} at {self.received_at:%F %T}"

    @property
    def lag(self) -> dt.timedelta | None:
        """How long after the event it came; None where the event does not say when it was."""
        return max(self.received_at - self.event_at, dt.timedelta(0)) if self.event_at else None

    @property
    def times(self) -> int:
        """How often it came."""
        return self.repeats + 1

    @property
    def is_duplicate(self) -> bool:
        return self.repeats > 0 and self.state != DeliveryState.REFUSED

    @property
    def can_be_handled_again(self) -> bool:
        """Whether it is about a response: of others, and of refused ones, there is nothing to handle."""
        return bool(self.response_id)
