"""Money: budgets, the append-only ledger, and the rollups kept beside it."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from jobs.models.people import User, name_of
from jobs.models.projects import ApiToken, Project, Someone
from jobs.models.questions import Among, Blank

AMOUNT: dict[str, Any] = {"max_digits": 20, "decimal_places": 10}  # USD
ZERO = Decimal(0)


class Scope(models.TextChoices):
    """What a cap is for."""

    WORKSPACE = "workspace", "Workspace"
    PROJECT = "project", "Project"
    MEMBER = "member", "Member"
    TOKEN = "token", "Token"


class BudgetQuerySet(models.QuerySet["Budget"]):
    """Budgets, read as phrases."""

    def applying_to(self, project: Project, user_id: int, token_id: int | None) -> "BudgetQuerySet":
        """Every budget that a job of this project, person and token counts in, in id order.

        A practice project counts in its own budget only: nothing of it enters anyone's totals.
        """
        match = models.Q(scope=Scope.PROJECT, project=project)
        if not project.is_practice:
            match |= models.Q(scope=Scope.WORKSPACE) | models.Q(scope=Scope.MEMBER, user=user_id)
            if token_id is not None:
                match |= models.Q(scope=Scope.TOKEN, token=token_id)
        return self.filter(match).order_by("pk")

    def of_projects(self, projects: Sequence[int]) -> "BudgetQuerySet":
        """The projects' own."""
        return self.in_sight(projects, with_workspace=False)

    def in_sight(self, projects: Sequence[int] | Blank, *, with_workspace: bool) -> "BudgetQuerySet":
        """The projects' own, and the workspace's where it may be seen."""
        match = models.Q(Among("project", projects), scope=Scope.PROJECT)
        return self.filter(match | models.Q(scope=Scope.WORKSPACE) if with_workspace else match)

    def with_period(self, month: dt.date | Blank) -> "BudgetQuerySet":
        """Each with what `period_of` makes its period of a month of, which is named by its first day."""
        there = models.FilteredRelation("budgetperiod", condition=models.Q(budgetperiod__month=month))
        columns = {f"its_{name}": models.F(f"period__{name}") for name in ("id", *_PERIOD)}
        return self.annotate(period=there).annotate(**columns)

    def periods_in(self, month: dt.date) -> "list[BudgetPeriod]":
        """Return each one's period of a month, named by its first day; one without rows stands at its cap."""
        return [period_of(budget, month) for budget in self.with_period(month)]


class Budget(models.Model):
    """A monthly cap for one scope."""

    scope = models.CharField(max_length=10, choices=Scope)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, null=True, blank=True)
    user = models.ForeignKey("jobs.User", on_delete=models.PROTECT, null=True, blank=True)
    token = models.ForeignKey("jobs.ApiToken", on_delete=models.PROTECT, null=True, blank=True)
    cap = models.DecimalField(**AMOUNT, help_text="USD a month.")
    is_hard = models.BooleanField(default=True, help_text="A soft cap warns and admits.")
    objects = BudgetQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["scope", "project", "user", "token"], name="one_budget_a_scope", nulls_distinct=False
            ),
            models.CheckConstraint(
                condition=models.Q(scope="workspace", project=None, user=None, token=None)
                | models.Q(scope="project", project__isnull=False, user=None, token=None)
                | models.Q(scope="member", project=None, user__isnull=False, token=None)
                | models.Q(scope="token", project=None, user=None, token__isnull=False),
                name="budget_scope_has_its_target",
            ),
            models.CheckConstraint(condition=models.Q(cap__gte=0), name="cap_not_negative"),
        ]

    def __str__(self) -> str:
        target = self.project or self.user or self.token or "workspace"
        return f"cap of {target}"

    def unopened(self, month: dt.date) -> "BudgetPeriod":
        """Return what a month is as long as nothing has moved in it."""
        return BudgetPeriod(budget=self, month=month, cap=self.cap)

    def ledger(self) -> "LedgerQuerySet":
        """The ledger rows this budget counts."""
        rows = LedgerEntry.objects.all()
        if self.scope == Scope.PROJECT:
            return rows.filter(project=self.project_id)
        rows = rows.real()
        if self.scope == Scope.MEMBER:
            return rows.filter(user=self.user_id)
        if self.scope == Scope.TOKEN:
            return rows.filter(token=self.token_id)
        return rows


class BudgetPeriod(models.Model):
    """A budget in one month: what admission looks at and settlement moves."""

    budget = models.ForeignKey(Budget, on_delete=models.PROTECT)
    month = models.DateField(help_text="Its first day.")
    cap = models.DecimalField(**AMOUNT)
    granted = models.DecimalField(**AMOUNT, default=ZERO)
    spent = models.DecimalField(**AMOUNT, default=ZERO)
    held = models.DecimalField(**AMOUNT, default=ZERO)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["budget", "month"], name="one_period_a_month"),
            models.CheckConstraint(
                condition=models.Q(spent__gte=0, held__gte=0), name="spent_and_held_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.budget}, {self.month:%Y-%m}"

    @property
    def committed(self) -> Decimal:
        return self.spent + self.held

    @property
    def room(self) -> Decimal:
        """What the cap and its grants allow, USD."""
        return self.cap + self.granted

    @property
    def left(self) -> Decimal:
        """USD that can still be admitted; negative while overrun."""
        return self.room - self.committed

    @property
    def is_over(self) -> bool:
        return self.left < 0

    @property
    def over(self) -> Decimal:
        """USD by which it is overrun."""
        return max(-self.left, ZERO)

    @property
    def spent_percent(self) -> Decimal:
        return self.percent_of_room(self.spent)

    @property
    def held_percent(self) -> Decimal:
        return self.percent_of_room(self.held)

    def percent_of_room(self, part: Decimal) -> Decimal:
        """Return what USD are of the room, in percent; anything is all of no room."""
        if self.room:
            return part * 100 / self.room
        return Decimal(100) if part else ZERO


_PERIOD = ("cap", "granted", "spent", "held")


def period_of(budget: Any, month: dt.date) -> BudgetPeriod:
    """Return the period whose columns were read beside its budget (`with_period`)."""
    if budget.its_id is None:
        return budget.unopened(month)  # type: ignore[no-any-return]
    columns = {name: getattr(budget, f"its_{name}") for name in _PERIOD}
    return BudgetPeriod(pk=budget.its_id, budget=budget, month=month, **columns)


class EntryKind(models.TextChoices):
    """What a ledger row says."""

    HOLD = "hold", "Hold"
    RELEASE = "release", "Release"
    CHARGE = "charge", "Charge"
    ADJUST = "adjust", "Adjust"
    GRANT = "grant", "Grant"


class Basis(models.TextChoices):
    """What a charge rests on."""

    USAGE = "usage", "The response's usage"
    BOUND = "bound", "The ceiling: usage is not known"
    ESTIMATE = "estimate", "Time run × usual speed"
    NONE = "none", "Nothing was reported"


class LedgerQuerySet(models.QuerySet["LedgerEntry"]):
    """Ledger rows, read as phrases."""

    def visible_to(self, user: Someone) -> "LedgerQuerySet":
        """Those of the projects a person may see."""
        if user.is_authenticated and user.is_superuser:
            return self.all()
        return self.filter(project__in=Project.objects.visible_to(user))

    def real(self) -> "LedgerQuerySet":
        """Those that are real money: the one filter that keeps practice out of every total."""
        return self.filter(project__connection__is_practice=False)

    def in_month(self, month: dt.date) -> "LedgerQuerySet":
        """Those that count in a month, named by its first day."""
        return self.filter(month=month)

    def total(self, *kinds: EntryKind) -> Decimal:
        """Return the sum, USD, of the rows of these kinds."""
        found = self.filter(kind__in=kinds).aggregate(total=models.Sum("amount"))["total"]
        return ZERO if found is None else Decimal(found)


class LedgerEntry(models.Model):
    """One movement of money, never changed. A trigger refuses UPDATE and DELETE.

    Amounts are signed: hold +, release −, charge +, adjust ±, grant ±; so held is Σ(hold + release)
    and spent is Σ(charge + adjust). Tokens are moved like spent.
    """

    kind = models.CharField(max_length=10, choices=EntryKind)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, null=True)
    user = models.ForeignKey("jobs.User", on_delete=models.PROTECT, null=True, related_name="ledger_entries")
    token = models.ForeignKey("jobs.ApiToken", on_delete=models.PROTECT, null=True)
    job = models.ForeignKey("jobs.Job", on_delete=models.PROTECT, null=True)
    attempt = models.ForeignKey("jobs.Attempt", on_delete=models.PROTECT, null=True)
    month = models.DateField()
    spent_on = models.DateField()
    amount = models.DecimalField(**AMOUNT)
    basis = models.CharField(max_length=10, choices=Basis, blank=True)
    input_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    price = models.ForeignKey("jobs.Price", on_delete=models.PROTECT, null=True)
    actor = models.ForeignKey("jobs.User", on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.CharField(max_length=600, blank=True)
    idempotency_key = models.CharField(max_length=120, unique=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    objects = LedgerQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "ledger"
        constraints = [
            models.UniqueConstraint(
                fields=["attempt"], condition=models.Q(kind="hold"), name="one_hold_an_attempt"
            ),
            models.UniqueConstraint(
                fields=["attempt"], condition=models.Q(kind="charge"), name="one_charge_an_attempt"
            ),
            models.CheckConstraint(
                condition=models.Q(kind__in=["hold", "charge"], amount__gte=0)
                | models.Q(kind="release", amount__lte=0)
                | models.Q(kind__in=["adjust", "grant"]),
                name="ledger_amount_has_its_sign",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="grant") | models.Q(job__isnull=False, attempt__isnull=False),
                name="ledger_row_names_its_attempt",
            ),
        ]
        indexes = [
            models.Index(fields=["job", "id"], name="ledger_job"),
            models.Index(fields=["month", "project"], name="ledger_month_project"),
            models.Index(fields=["month", "user"], name="ledger_month_user"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}"


# What a table of the month shows of its rollups: USD, charges, tokens.
SUMS = {
    "cost": models.Sum("cost"),
    "jobs": models.Sum("jobs"),
    "tokens_in": models.Sum("input_tokens"),
    "tokens_out": models.Sum("output_tokens"),
    "tokens_thought": models.Sum("reasoning_tokens"),
}


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

    def days_of(self, scope: Scope, since: dt.date) -> "models.QuerySet[DailySpend, Any]":
        """Person's or token's id, day and USD since a day, of real money."""
        target = _TARGET[scope]
        rows: models.QuerySet[DailySpend, Any] = self.real().filter(spent_on__gte=since)
        rows = rows.values(target, "spent_on")
        return rows.annotate(total=models.Sum("cost")).values_list(target, "spent_on", "total")

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

    def days_since(self, month: dt.date | Blank) -> "models.QuerySet[MonthlySpend, Any]":
        """Project, day and USD since a month began."""
        rows = self.filter(month__gte=month, spent_on__isnull=False)
        return rows.values_list("project", "spent_on", "cost")

    def total_by_day(self, month: dt.date | Blank) -> "models.QuerySet[MonthlySpend, Any]":
        """Day and USD of all of them together since a month began."""
        rows = self.filter(month__gte=month, spent_on__isnull=False).order_by().values("spent_on")
        return rows.annotate(total=models.Sum("cost")).values_list("spent_on", "total")

    def by_model(self, month: dt.date | Blank) -> "models.QuerySet[MonthlySpend, Any]":
        """The sums of a month by model and effort, dearest first; `rung` is the model's."""
        rows = self.filter(month=month, model__isnull=False).values("model", "effort")
        rung = models.F("model__rung")
        return rows.annotate(rung=rung, **SUMS).order_by("-cost", "model", "effort")

    def by_person(
        self, month: dt.date | Blank, before: dt.date | Blank
    ) -> "models.QuerySet[MonthlySpend, Any]":
        """Each person's and token's USD and charges of a month, dearest first, and USD of the one before."""
        this, last = models.Q(month=month), models.Q(month=before)
        rows = self.filter(this | last, user__isnull=False).values("user", "token")
        sums = rows.annotate(
            # First, for `cost` means the sum from then on.
            before=models.Sum("cost", filter=last, default=ZERO),
            cost=models.Sum("cost", filter=this, default=ZERO),
            jobs=models.Sum("jobs", filter=this, default=0),
        ).order_by("-cost", "-before", "user", "token")
        # Looked up for those that are shown: joined, it would be read for every row that is summed.
        person = User.objects.filter(pk=models.OuterRef("user")).values(said=name_of())
        token = ApiToken.objects.filter(pk=models.OuterRef("token")).values("name")
        return sums.annotate(name=models.Subquery(person), token_name=models.Subquery(token))

    def buckets_of(
        self, model: str | Blank, months: Sequence[dt.date] | Blank
    ) -> "models.QuerySet[MonthlySpend, Any]":
        """Month and charges by cost of a model, a pair for each project and effort."""
        return self.filter(Among("month", months), model=model).values_list("month", "buckets")


class MonthlySpend(models.Model):
    """A month's spend of one project, in small: by day, by model and effort, and by person and token.

    Each row is of one of the three; what belongs to the others is empty. A page of a month reads these: the
    daily rows of a large team are tens of thousands a month. `buckets` is kept by model only.
    """

    month = models.DateField(help_text="Its first day.")
    project = models.ForeignKey(Project, on_delete=models.PROTECT)
    spent_on = models.DateField(null=True)
    model = models.ForeignKey("jobs.ModelSpec", on_delete=models.PROTECT, null=True)
    effort = models.CharField(max_length=16, blank=True)
    user = models.ForeignKey("jobs.User", on_delete=models.PROTECT, null=True)
    token = models.ForeignKey("jobs.ApiToken", on_delete=models.PROTECT, null=True)
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


class Refusal(models.Model):
    """A job that was not admitted: who wanted what, and how much was missing. Never the prompt."""

    at = models.DateTimeField(db_default=Now(), editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT)
    user = models.ForeignKey("jobs.User", on_delete=models.PROTECT)
    token = models.ForeignKey("jobs.ApiToken", on_delete=models.PROTECT, null=True)
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT)
    month = models.DateField()
    ceiling = models.DecimalField(**AMOUNT)
    shortfall = models.DecimalField(**AMOUNT)

    class Meta:
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"refused {self.ceiling} in {self.project}"
