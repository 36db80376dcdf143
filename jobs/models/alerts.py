"""Alerts: what has been used of a cap, told once a month, threshold and measure, by mail and in a chat."""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal

from django.db import connection, models
from django.db.models.functions import Now

from jobs.models.money import AMOUNT, Budget
from jobs.models.projects import Project
from jobs.models.secret import SecretField

THRESHOLDS = (50, 80, 95, 100)  # percent of the cap with its grants

# Practice has no part in it, and a cap of nothing no percents. One pass over the month's periods.
_RAISE = """
INSERT INTO jobs_alert (budget_id, month, threshold, measure, amount, room, next_try_at)
SELECT period.budget_id, period.month, step.percent, said.measure, said.amount, said.room, now()
FROM jobs_budgetperiod period
JOIN jobs_budget budget ON budget.id = period.budget_id AND budget.lifted_at IS NULL
LEFT JOIN jobs_project project ON project.id = budget.project_id
LEFT JOIN jobs_connection connection ON connection.id = project.connection_id,
LATERAL (VALUES
    ('spent', period.spent, period.cap + period.granted),
    ('committed', period.spent + period.held, period.cap + period.granted),
    ('forecast', (
        SELECT likely.amount FROM unnest(%(budgets)s::bigint[], %(likely)s::numeric[]) likely (budget, amount)
        WHERE likely.budget = period.budget_id
    ), period.cap + period.granted)
) said (measure, amount, room),
unnest(%(thresholds)s::int[]) step (percent)
WHERE period.month = %(month)s AND connection.is_practice IS NOT TRUE
    AND said.room > 0 AND said.amount * 100 >= step.percent * said.room
    AND NOT EXISTS (
        SELECT FROM jobs_alert known WHERE known.budget_id = period.budget_id
            AND known.month = period.month AND known.threshold = step.percent
            AND known.measure = said.measure
    )
ON CONFLICT DO NOTHING
RETURNING id, budget_id, measure, threshold
"""


class Measure(models.TextChoices):
    """What is compared with the cap."""

    SPENT = "spent", "spent"
    COMMITTED = "committed", "spent and held"
    FORECAST = "forecast", "likely spent at the month’s end"


class Delivery(models.TextChoices):
    """How far an alert has come on one way."""

    PENDING = "pending", "On its way"
    SENT = "sent", "Sent"
    FAILED = "failed", "Failed"
    NONE = "none", "Not sent"  # nobody to tell that way, or a higher threshold was told instead


class AlertQuerySet(models.QuerySet["Alert"]):
    """Alerts, read as phrases."""

    def due(self) -> "AlertQuerySet":
        """Those to be sent now, or once more."""
        return self.filter(next_try_at__lte=Now()).order_by("next_try_at", "pk")

    def with_budget(self) -> "AlertQuerySet":
        """Each with whose cap it is about."""
        return self.select_related("budget__project", "budget__user", "budget__token")

    def raise_for(self, month: dt.date, likely: Mapping[int, Decimal] | None = None) -> int:
        """Make the alerts that a month's money calls for; return how many. Needs the caller's transaction.

        `likely` has what is forecast for its end, USD, by budget; of those it leaves out nothing is told.
        Where several thresholds are passed at once, the highest is told, and the others only noted.
        """
        forecast = likely or {}
        with connection.cursor() as cursor:
            cursor.execute(
                _RAISE,
                {
                    "month": month,
                    "thresholds": list(THRESHOLDS),
                    "budgets": list(forecast),
                    "likely": list(forecast.values()),
                },
            )
            found = sorted(cursor.fetchall(), key=lambda row: row[3])
        highest = {(budget, measure): pk for pk, budget, measure, _ in found}
        told = set(highest.values())
        noted = [pk for pk, *_ in found if pk not in told]
        self.filter(pk__in=noted).update(mail=Delivery.NONE, chat=Delivery.NONE, next_try_at=None)
        return len(told)


class Alert(models.Model):
    """A threshold of a cap that was reached in a month, and who has been told so far."""

    budget = models.ForeignKey(Budget, on_delete=models.PROTECT)
    month = models.DateField(help_text="Its first day.")
    threshold = models.PositiveSmallIntegerField(help_text="Percent of the cap with its grants.")
    measure = models.CharField(max_length=10, choices=Measure)
    amount = models.DecimalField(**AMOUNT, help_text="USD, when it was noticed.")
    room = models.DecimalField(**AMOUNT, help_text="USD that the cap and its grants allowed then.")
    at = models.DateTimeField(db_default=Now(), editable=False)
    mail = models.CharField(max_length=8, choices=Delivery, db_default=Delivery.PENDING)
    chat = models.CharField(max_length=8, choices=Delivery, db_default=Delivery.PENDING)
    chat_error = models.CharField(max_length=80, blank=True, db_default="")
    tries = models.PositiveSmallIntegerField(db_default=0)
    next_try_at = models.DateTimeField(null=True, help_text="Empty once nothing is on its way any more.")
    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["budget", "month", "threshold", "measure"], name="one_alert_a_threshold"
            )
        ]
        indexes = [
            models.Index(
                fields=["next_try_at"], name="alert_due", condition=models.Q(next_try_at__isnull=False)
            ),
            models.Index(fields=["-at", "-id"], name="alert_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.threshold} % {self.get_measure_display()} of the {self.budget}"


class ChatManager(models.Manager["Chat"]):
    """Finds and sets the address of a chat."""

    def of(self, project: Project | None) -> "Chat | None":
        """Return the chat of a project, or of the workspace."""
        return self.filter(project=project).select_related("set_by").first()


class Chat(models.Model):
    """Where a project's alerts, or the workspace's, are posted: an incoming webhook with a secret address."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, null=True, help_text="Empty: workspace.")
    address = SecretField()
    set_by = models.ForeignKey("jobs.User", on_delete=models.PROTECT, related_name="+")
    set_at = models.DateTimeField(auto_now=True)
    objects = ChatManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project"], name="one_chat_each", nulls_distinct=False)
        ]

    def __str__(self) -> str:
        return f"chat of {self.project or 'the workspace'}"
