"""Attempts: the sends of a job, each with its hold, its response and what became of it."""

import datetime as dt
import uuid
from decimal import Decimal

from django.db import models
from django.db.models.functions import Now

from jobs.models.catalogue import Price
from jobs.models.installation import Installation
from jobs.models.projects import UnconfirmedRule
from jobs.models.questions import Blank
from jobs.models.status import Status


class AttemptState(models.TextChoices):
    """How far one send has come."""

    PLANNED = "planned", "Planned"  # held for, not sent
    SENDING = "sending", "Sending"  # bytes may be on the wire until the lease expires
    KNOWN = "known", "Known"  # accepted: we have the response id
    UNCONFIRMED = "unconfirmed", "Unconfirmed"  # sent perhaps
    ENDED = "ended", "Ended"  # nothing more is expected


# What was declared of a send whose response can still turn up.
DECLARED = ("lost", "assumed_paid")
# A response ends within days, and its event is tried for three more (OpenAI's webhooks guide).
TURNS_UP_WITHIN = dt.timedelta(days=7)
# By then a machine that was started again has read its journal, and a webhook that was late, or tried again,
# has told of the response. Before that no rule decides about a send.
TOLD_WITHIN = dt.timedelta(minutes=15)


class AttemptQuerySet(models.QuerySet["Attempt"]):
    """Attempts, read as phrases."""

    def outdated(self, day: dt.date | Blank) -> "AttemptQuerySet":
        """Those not sent yet and held for at a price row that is no longer the one in force on `day`.

        A job whose prompt has gone is none: it is never sent, and nothing can be held anew for it.
        """
        # One list of the rows in force for all. Asked for each attempt anew, and planned badly while a
        # thousand are so new that no statistics know of them, it took minutes.
        dated = Price.objects.filter(valid_from__lte=day)
        in_force = dated.order_by("model_id", "-valid_from").distinct("model_id")
        asked = self.filter(state=AttemptState.PLANNED, job__prompt__isnull=False)
        priced = asked.filter(job__model__in=in_force.values("model"))
        return priced.exclude(price__in=in_force.values("pk"))

    def on_the_wire(self) -> "AttemptQuerySet":
        """Those whose POST may be waiting for its answer now."""
        return self.filter(state=AttemptState.SENDING, lease_expires_at__gt=Now())

    def unsettled(self) -> "AttemptQuerySet":
        """Those that were sent, perhaps or surely, and are not booked: nothing is charged for them yet."""
        sent = [AttemptState.SENDING, AttemptState.KNOWN, AttemptState.UNCONFIRMED]
        return self.filter(state__in=sent, cost=0)

    def open(self) -> "AttemptQuerySet":
        """Those that take a slot of their connection: on the wire, or running upstream."""
        return self.filter(state__in=[AttemptState.SENDING, AttemptState.KNOWN], end_seen_at=None)

    def unheard(self, by: models.Func) -> "AttemptQuerySet":
        """Those sent by a moment whose response nobody knows, and which an event of then could be about."""
        on_the_way = models.Q(state__in=[AttemptState.SENDING, AttemptState.UNCONFIRMED])
        declared = models.Q(state=AttemptState.ENDED, response_id="", error_code__in=DECLARED)
        declared &= models.Q(sent_at__gte=Now() - TURNS_UP_WITHIN)
        return self.filter(on_the_way | declared, sent_at__lte=by)

    def due_by_rule(self) -> "AttemptQuerySet":
        """The unconfirmed about which a project's rule decides now and here; nothing of theirs is paused.

        The machine that sent one decides about it itself, once it has read its journal; it is left to others
        where that machine is gone.
        """
        mine_or_nobodys = ~models.Exists(Installation.objects.who_may_know())
        return self.filter(
            mine_or_nobodys,
            state=AttemptState.UNCONFIRMED,
            rule_due_at__lte=Now(),
            job__status=Status.UNCONFIRMED,
            connection__paused_at=None,
            job__project__connection__paused_at=None,
        ).exclude(job__project__unconfirmed_rule=UnconfirmedRule.ASK)

    def left_to_webhooks(self) -> "AttemptQuerySet":
        """Of the unheard, those that no pump is about to hear of."""
        return self.exclude(state=AttemptState.SENDING, lease_expires_at__gt=Now())


class Attempt(models.Model):
    """One send of a job, made together with its hold."""

    job = models.ForeignKey("jobs.Job", on_delete=models.PROTECT)
    number = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=12, choices=AttemptState, default=AttemptState.PLANNED)
    connection = models.ForeignKey("jobs.Connection", on_delete=models.PROTECT)
    price = models.ForeignKey("jobs.Price", on_delete=models.PROTECT)
    instance = models.CharField(max_length=64, blank=True, help_text="The installation that sent it.")
    sent_as = models.CharField(
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text="The name of its model there, where it has another.",
    )
    nonce = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    worst_case = models.DecimalField(
        max_digits=20, decimal_places=10, help_text="USD, as held when it was made."
    )
    tries = models.PositiveIntegerField(default=0, help_text="Times it was surely not accepted.")
    misses = models.PositiveIntegerField(default=0, help_text="Polls in a row answered with 404.")
    missed_since = models.DateTimeField(null=True, blank=True, help_text="When that row began.")
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    rule_due_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When its project's rule decides about it, while it is unconfirmed; empty where people do.",
    )
    response_id = models.CharField(max_length=255, blank=True)
    is_unproven = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Its response id was given by hand, and no response has named it yet.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    sent_at = models.DateTimeField(null=True, blank=True)
    cancel_sent_at = models.DateTimeField(null=True, blank=True)
    end_seen_at = models.DateTimeField(
        null=True, blank=True, help_text="When an end was first read upstream."
    )
    ended_at = models.DateTimeField(null=True, blank=True)
    end_status = models.CharField(max_length=20, blank=True, help_text="The API's word for its end.")
    input_tokens = models.PositiveIntegerField(null=True, blank=True, help_text="Counted before it was sent.")
    error_code = models.CharField(max_length=80, blank=True)
    error_message = models.CharField(max_length=600, blank=True)
    request_id = models.CharField(max_length=128, blank=True)
    usage = models.JSONField(null=True, blank=True)
    cost = models.DecimalField(max_digits=20, decimal_places=10, default=Decimal(0), help_text="USD")
    service_tier = models.CharField(max_length=16, blank=True, help_text="As the response names it.")
    objects = AttemptQuerySet.as_manager()

    class Meta:
        ordering = ["job", "number"]
        constraints = [
            models.UniqueConstraint(fields=["job", "number"], name="attempt_number_once"),
            models.UniqueConstraint(
                fields=["connection", "response_id"],
                condition=~models.Q(response_id=""),
                name="response_known_once",
            ),
            # Two pumps can never both have bytes on the wire for one job.
            models.UniqueConstraint(
                fields=["job"],
                condition=models.Q(state__in=["planned", "sending"]),
                name="one_attempt_being_sent",
            ),
        ]
        indexes = [
            models.Index(
                fields=["connection", "state"], name="attempt_open", condition=~models.Q(state="ended")
            ),
            # The few about which a rule will decide: every beat looks for one.
            models.Index(
                fields=["rule_due_at"],
                name="attempt_rule_due",
                condition=models.Q(state="unconfirmed", rule_due_at__isnull=False),
            ),
            # Whether the ends of a connection's responses were announced (see `relaxing`).
            models.Index(
                fields=["connection", "end_seen_at"],
                name="attempt_end_seen",
                condition=models.Q(end_seen_at__isnull=False),
            ),
            # The few whose end nobody has read (see `reconcile`).
            models.Index(
                fields=["connection", "ended_at"],
                name="attempt_end_unseen",
                condition=models.Q(end_seen_at=None, ended_at__isnull=False),
            ),
            # The few that were declared lost or paid, and whose response can still turn up.
            models.Index(
                fields=["connection", "sent_at"],
                name="attempt_declared",
                condition=models.Q(state="ended", response_id="", error_code__in=DECLARED),
            ),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.job_id}"


class RawResponse(models.Model):
    """The last response body read for an attempt, as it came. A payload."""

    attempt = models.OneToOneField(Attempt, on_delete=models.CASCADE, primary_key=True)
    body = models.JSONField()
    read_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"response of {self.attempt_id}"
