"""What people ask for beyond a cap: how much, until when and why, and what was decided."""

import datetime as dt
from calendar import monthrange

from django.db import models
from django.db.models.functions import Now

from jobs.access import Act
from jobs.models.job import Job
from jobs.models.money import AMOUNT, Budget, Scope
from jobs.models.people import User
from jobs.models.projects import Membership, Project


class RequestDecision(models.TextChoices):
    """What became of a request."""

    GRANTED = "granted", "Granted"
    REFUSED = "refused", "Refused"


class BudgetRequestQuerySet(models.QuerySet["BudgetRequest"]):
    """Requests for more budget, read as phrases."""

    def undecided(self) -> "BudgetRequestQuerySet":
        """Those nobody has decided about, oldest first."""
        return self.filter(decision="").order_by("asked_at", "pk")

    def running(self) -> "BudgetRequestQuerySet":
        """Grants that have not ended."""
        return self.filter(decision=RequestDecision.GRANTED, ended_at=None).order_by("until", "pk")

    def to_decide(self, user: User) -> "BudgetRequestQuerySet":
        """Those a person may decide about: who may set the cap may let more be spent."""
        if user.is_superuser:
            return self.undecided()
        managed = Membership.objects.that_may(Act.SET_CAP).filter(user=user).values("project")
        return self.undecided().filter(budget__scope=Scope.PROJECT, budget__project__in=managed)

    def with_all(self) -> "BudgetRequestQuerySet":
        """Each with what is shown of it."""
        beside = ("budget__project", "budget__user", "budget__token", "asked_by", "decided_by", "job")
        return self.select_related(*beside)


class BudgetRequest(models.Model):
    """One person's wish for more than a cap allows. Has no CHECK: a violation would print people's words."""

    budget = models.ForeignKey(Budget, on_delete=models.PROTECT)
    amount = models.DecimalField(**AMOUNT, help_text="USD, as asked for; as granted once it is.")
    until = models.DateField(help_text="The last day it counts, in the month in which it is granted.")
    why = models.CharField(max_length=1000)
    job = models.ForeignKey(
        Job, on_delete=models.PROTECT, null=True, help_text="The job that waits for it, if one does."
    )
    asked_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField(db_default=Now(), editable=False)
    mailed_at = models.DateTimeField(null=True, help_text="When those who decide were told by mail.")
    decision = models.CharField(max_length=8, choices=RequestDecision, blank=True)
    decided_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    note = models.CharField(max_length=600, blank=True)
    told_at = models.DateTimeField(null=True, help_text="When whoever asked was told by mail.")
    handed_on_at = models.DateTimeField(null=True, help_text="When jobs that waited for it were admitted.")
    ended_at = models.DateTimeField(null=True)
    objects = BudgetRequestQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["asked_at"], name="budget_request_open", condition=models.Q(decision="")),
            models.Index(fields=["asked_by", "-asked_at"], name="budget_request_own"),
            # What the watchdog looks at once a minute.
            models.Index(
                fields=["until"],
                name="budget_grant_running",
                condition=models.Q(decision="granted", ended_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"request {self.pk}"

    @property
    def key(self) -> str:
        """What its grant goes by in the ledger."""
        return f"grant:{self.pk}"

    @property
    def ends_early(self) -> bool:
        """Whether it ends before its month does, which would end it anyway."""
        return self.until < last_day(self.until)


def last_day(day: dt.date) -> dt.date:
    """Return the last day of the month of `day`."""
    return day.replace(day=monthrange(day.year, day.month)[1])


def may_decide(budget: Budget, user: User) -> bool:
    """Tell whether a person may let more be spent than a cap allows: whoever may set it."""
    if user.is_superuser or budget.project is None:
        return user.is_superuser and user.is_active
    return budget.project.may(user, Act.SET_CAP)


def open_budgets(user: User, projects: list[Project]) -> "models.QuerySet[Budget]":
    """Return the standing caps that hold for what a person submits to some projects."""
    match = models.Q(scope=Scope.PROJECT, project__in=projects)
    if any(not project.is_practice for project in projects):
        match |= models.Q(scope=Scope.WORKSPACE) | models.Q(scope=Scope.MEMBER, user=user)
    return Budget.objects.standing().filter(match).select_related("project", "user").order_by("pk")
