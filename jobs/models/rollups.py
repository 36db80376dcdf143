"""The rollups: what was spent by day and by month, moved by settlement together with the ledger."""

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from django.contrib.postgres.fields import ArrayField
from django.db import models

from jobs.models.catalogue import ModelSpec
from jobs.models.money import AMOUNT, ZERO, Charged, Scope
from jobs.models.people import User, name_of
from jobs.models.projects import ApiToken, Project, Someone
from jobs.models.questions import Among, Blank

# What a table of the month shows of its rollups: USD, charges, tokens.
SUMS = {
    "cost": models.Sum("cost"),
    "jobs": models.Sum("jobs"),
    "tokens_out": models.Sum("output_tokens"),
    "tokens_thought": models.Sum("reasoning_tokens"),
}


class ModelSum(NamedTuple):
    """What a month spent on a model at an effort: USD, charges, tokens; `rung` is the model's."""

    month: dt.date
    model: str
    effort: str
    cost: Decimal
    jobs: int
    tokens_out: int
    tokens_thought: int
    rung: int


class Spender(NamedTuple):
    """What a month was charged for a person's jobs through one token or none, and the month before, USD."""

    user: int
    token: int | None
    before: Decimal
    cost: Decimal
    jobs: int
    name: str
    token_name: str | None


class TagSum(NamedTuple):
    """What a month was charged for the jobs with a tag, and the month before, USD."""

    tag: str
    before: Decimal
    cost: Decimal
    jobs: int


# The column of a rollup that a scope is told by.
_TARGET = {Scope.PROJECT: "project", Scope.MEMBER: "user", Scope.TOKEN: "token"}


class DailySpendQuerySet(models.QuerySet["DailySpend"]):
    """Rollups, read as phrases."""

    def visible_to(self, user: Someone) -> "DailySpendQuerySet":
        """Those of the projects a person may see."""
        return self.filter(project__in=Project.objects.visible_to(user))

    def real(self) -> "DailySpendQuerySet":
        """Those that are real money."""
        return self.filter(project__connection__is_practice=False)

    def in_month(self, month: dt.date) -> "DailySpendQuerySet":
        """Those of a month, named by its first day."""
        after = (month + dt.timedelta(days=32)).replace(day=1)
        return self.filter(spent_on__gte=month, spent_on__lt=after)

    def by_day(self) -> "models.QuerySet[DailySpend, Any]":
        """Each day with what was charged on it, USD, and how many charges that were."""
        sums = self.values("spent_on").annotate(total=models.Sum("cost"), charged=models.Sum("jobs"))
        return sums.values_list("spent_on", "total", "charged")

    def days_of(self, scope: Scope, since: dt.date | Blank) -> "models.QuerySet[DailySpend, Any]":
        """Person's or token's id, day and USD since a day, of real money."""
        target = _TARGET[scope]
        rows: models.QuerySet[DailySpend, Any] = self.real().filter(spent_on__gte=since)
        rows = rows.values(target, "spent_on")
        return rows.annotate(total=models.Sum("cost")).values_list(target, "spent_on", "total")

    def with_project(self) -> "DailySpendQuerySet":
        """Each with its project, connection, token and the person's name, in the spreadsheet's order."""
        rows = self.select_related("project__connection", "token").annotate(person=name_of("user"))
        return rows.order_by("spent_on", "project__slug", "model", "effort", "pk")

    def for_spreadsheet(self) -> "models.QuerySet[DailySpend, Any]":
        """Each as the columns of a spreadsheet, day by day."""
        rows = self.annotate(person=name_of("user")).order_by(
            "spent_on", "project__slug", "model", "effort", "pk"
        )
        return rows.values_list(
            "spent_on",
            "project__slug",
            "model",
            "effort",
            "person",
            "token__name",
            "jobs",
            "cost",
            "input_tokens",
            "cached_tokens",
            "output_tokens",
            "reasoning_tokens",
        )


class DailySpend(models.Model):
    """A day's spend of one project, model, effort, person and token; moved only by settlement.

    `jobs` counts charges that rest on something (every basis but none); `buckets` counts them by cost.
    """

    spent_on = models.DateField()
    project = models.ForeignKey(Project, on_delete=models.PROTECT)
    model = models.ForeignKey("jobs.ModelSpec", on_delete=models.PROTECT)
    effort = models.CharField(max_length=16)
    user = models.ForeignKey("jobs.User", on_delete=models.PROTECT)
    token = models.ForeignKey("jobs.ApiToken", on_delete=models.PROTECT, null=True)
    cost = models.DecimalField(**AMOUNT, default=ZERO)
    jobs = models.PositiveIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    buckets = ArrayField(models.PositiveIntegerField())
    objects = DailySpendQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "daily spend"
        constraints = [
            models.UniqueConstraint(
                fields=["spent_on", "project", "model", "effort", "user", "token"],
                name="one_rollup_a_day",
                nulls_distinct=False,
            )
        ]
        indexes = [
            models.Index(fields=["user", "spent_on"], name="daily_spend_person"),
            models.Index(
                fields=["token", "spent_on"],
                name="daily_spend_token",
                condition=models.Q(token__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.spent_on} {self.project_id} {self.model_id}"


class MonthlySpendQuerySet(models.QuerySet["MonthlySpend"]):
    """A month's sums, read as phrases."""

    def of_projects(self, projects: Sequence[int] | Blank) -> "MonthlySpendQuerySet":
        """Those of some projects."""
        return self.filter(Among("project", projects))

    def by_day(self, month: dt.date | Blank) -> "models.QuerySet[MonthlySpend, Any]":
        """Day, project, USD and charges of a month, in order of the days."""
        rows = self.filter(month=month, spent_on__isnull=False)
        return rows.order_by("spent_on", "project").values_list("spent_on", "project", "cost", "jobs")

    def real(self) -> "MonthlySpendQuerySet":
        """Those that are real money."""
        return self.filter(project__connection__is_practice=False)

    def days_in(self, first: dt.date | Blank, last: dt.date | Blank) -> "models.QuerySet[MonthlySpend, Any]":
        """Project, day and USD from a month to another, each named by its first day."""
        rows = self.filter(month__gte=first, month__lte=last, spent_on__isnull=False)
        return rows.values_list("project", "spent_on", "cost")

    def total_by_day(
        self, first: dt.date | Blank, last: dt.date | Blank
    ) -> "models.QuerySet[MonthlySpend, Any]":
        """Day and USD of all of them together, from a month to another."""
        rows = self.filter(month__gte=first, month__lte=last, spent_on__isnull=False)
        sums = rows.order_by().values("spent_on").annotate(total=models.Sum("cost"))
        return sums.values_list("spent_on", "total")

    def by_model(self, months: Sequence[dt.date] | Blank) -> "models.QuerySet[MonthlySpend, Any]":
        """The sums of months by model and effort, dearest first: a `ModelSum` each."""
        rows = self.filter(Among("month", months), spent_on=None, model__isnull=False)
        # Looked up for the sums: joined, it would be read for every row that is summed.
        rung = ModelSpec.objects.filter(pk=models.OuterRef("model")).order_by().values("rung")
        return (
            rows.values("month", "model", "effort")
            .annotate(**SUMS)
            .annotate(rung=models.Subquery(rung))
            .order_by("-cost", "model", "effort")
            .values_list(*ModelSum._fields)
        )

    def without_windows(
        self, projects: Sequence[int] | Blank, month: dt.date | Blank
    ) -> "models.QuerySet[MonthlySpend, Any]":
        """Project, model, USD and charges of a month, of the projects where nobody can wait for less."""
        those = Project.objects.without_windows().filter(Among("pk", projects))
        rows = self.filter(project__in=those, month=month, spent_on=None, model__isnull=False)
        return rows.values_list("project", "model", "cost", "jobs")

    def by_person(
        self, month: dt.date | Blank, before: dt.date | Blank
    ) -> "models.QuerySet[MonthlySpend, Any]":
        """Each person's and token's sums of a month and the one before, dearest first: a `Spender` each."""
        this, last = models.Q(month=month), models.Q(month=before)
        rows = self.filter(this | last, spent_on=None, user__isnull=False).values("user", "token")
        sums = rows.annotate(
            # First, for `cost` means the sum from then on.
            before=models.Sum("cost", filter=last, default=ZERO),
            cost=models.Sum("cost", filter=this, default=ZERO),
            jobs=models.Sum("jobs", filter=this, default=0),
        ).order_by("-cost", "-before", "user", "token")
        # Looked up for those that are shown: joined, it would be read for every row that is summed.
        person = User.objects.filter(pk=models.OuterRef("user")).values(said=name_of())
        token = ApiToken.objects.filter(pk=models.OuterRef("token")).values("name")
        named = sums.annotate(name=models.Subquery(person), token_name=models.Subquery(token))
        return named.values_list(*Spender._fields)

    def buckets_of(
        self, model: str | Blank, months: Sequence[dt.date] | Blank
    ) -> "models.QuerySet[MonthlySpend, Any]":
        """Month and charges by cost of a model, a pair for each project and effort."""
        rows = self.filter(Among("month", months), spent_on=None, model=model)
        return rows.values_list("month", "buckets")


class MonthlySpend(models.Model):
    """A month's spend of one project, in small: by day, by model and effort, and by person and token.

    Each row is of one of the three; what belongs to the others is empty. A page of a month reads these: the
    daily rows of a large team are tens of thousands a month. `buckets` is kept by model only.

    All are found by the key that begins with the month: by an index on one of the columns alone, which the
    planner prefers for a few projects, it would read every month of theirs.
    """

    month = models.DateField(help_text="Its first day.")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, db_index=False)
    spent_on = models.DateField(null=True)
    model = models.ForeignKey("jobs.ModelSpec", on_delete=models.PROTECT, null=True, db_index=False)
    effort = models.CharField(max_length=16, blank=True)
    user = models.ForeignKey("jobs.User", on_delete=models.PROTECT, null=True, db_index=False)
    token = models.ForeignKey("jobs.ApiToken", on_delete=models.PROTECT, null=True, db_index=False)
    cost = models.DecimalField(**AMOUNT, default=ZERO)
    jobs = models.PositiveIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    buckets = ArrayField(models.PositiveIntegerField(), null=True)
    objects = MonthlySpendQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "monthly spend"
        constraints = [
            models.UniqueConstraint(
                fields=["month", "project", "spent_on", "model", "effort", "user", "token"],
                name="one_sum_a_month",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=models.Q(spent_on__isnull=False, model=None, effort="", user=None, token=None)
                | models.Q(spent_on=None, model__isnull=False, user=None, token=None)
                | models.Q(spent_on=None, model=None, effort="", user__isnull=False),
                name="monthly_sum_is_of_one_kind",
            ),
        ]

    def __str__(self) -> str:
        kind = self.spent_on or self.model_id or f"user {self.user_id}"
        return f"{self.month:%Y-%m} {self.project_id} {kind}"


class DailyTagSpend(models.Model):
    """A day's spend of one tag in a project by a person."""

    spent_on = models.DateField()
    project = models.ForeignKey(Project, on_delete=models.PROTECT)
    user = models.ForeignKey("jobs.User", on_delete=models.PROTECT)
    tag = models.CharField(max_length=60)
    cost = models.DecimalField(**AMOUNT, default=ZERO)
    jobs = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "daily tag spend"
        constraints = [
            models.UniqueConstraint(
                fields=["spent_on", "project", "user", "tag"], name="one_tag_rollup_a_day"
            )
        ]

    def __str__(self) -> str:
        return f"{self.spent_on} {self.tag}"


class MonthlyTagSpendQuerySet(models.QuerySet["MonthlyTagSpend"]):
    """A month's tags, read as phrases."""

    def by_tag(
        self, projects: Sequence[int] | Blank, month: dt.date | Blank, before: dt.date | Blank
    ) -> "models.QuerySet[MonthlyTagSpend, Any]":
        """Each tag's sums of a month and the one before, dearest first: a `TagSum` each."""
        this, last = models.Q(month=month), models.Q(month=before)
        rows = self.filter(Among("project", projects), this | last).values("tag")
        sums = rows.annotate(
            before=models.Sum("cost", filter=last, default=ZERO),
            cost=models.Sum("cost", filter=this, default=ZERO),
            jobs=models.Sum("jobs", filter=this, default=0),
        ).order_by("-cost", "-before", "tag")
        return sums.values_list(*TagSum._fields)

    def charged_for(self, tag: str, projects: Sequence[int], month: dt.date) -> Charged:
        """Return what a tag was charged in a month of some projects."""
        return _charged(self.filter(Among("project", projects), month=month, tag=tag))


class MonthlyTagSpend(models.Model):
    """A month's spend of one tag in a project: a job with two tags counts for both."""

    month = models.DateField(help_text="Its first day.")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, db_index=False)
    tag = models.CharField(max_length=60)
    cost = models.DecimalField(**AMOUNT, default=ZERO)
    jobs = models.PositiveIntegerField(default=0)
    objects = MonthlyTagSpendQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "monthly tag spend"
        constraints = [
            models.UniqueConstraint(fields=["month", "project", "tag"], name="one_tag_sum_a_month")
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.tag}"


def charged_by(projects: Sequence[int], month: dt.date, columns: Mapping[str, Any]) -> Charged:
    """Return what was charged in a month of some projects where the rollups' columns are so.

    It is read from the month's own sums where they have all these columns, else from the days.
    """
    # Of each kind of sums: the column that only they have, and all they can be asked for by.
    kinds = {"spent_on": {"spent_on"}, "model": {"model", "effort"}, "user": {"user", "token"}}
    own = next((own for own, kind in kinds.items() if columns.keys() <= kind), None)
    if own is None:
        return _charged(DailySpend.objects.in_month(month).filter(Among("project", projects), **columns))
    rows = MonthlySpend.objects.of_projects(projects).filter(month=month, **columns)
    return _charged(rows.exclude(**{own: None}))


def _charged(rows: "models.QuerySet[Any]") -> Charged:
    sums = {"cost": models.Sum("cost", default=ZERO), "jobs": models.Sum("jobs", default=0)}
    return Charged(**rows.aggregate(**sums))
