"""Money: budgets, the append-only ledger, and the rollups kept beside it."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from django.core.exceptions import EmptyResultSet
from django.db import models
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Now

from jobs.models.list_indexes import AMONG_TAGS, TagsAndProject
from jobs.models.people import name_of
from jobs.models.projects import Project, Someone
from jobs.models.questions import Among, Blank, Statement
from jobs.models.status import UNFINISHED

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
        """Every budget that a job of this project, person and token counts in, in id order."""
        return self.counting(project.pk, user_id, token_id, is_practice=project.is_practice)

    def counting(
        self, project: int | Blank, user: int | Blank, token: int | Blank | None, *, is_practice: bool
    ) -> "BudgetQuerySet":
        """The same by their ids, any of which may be asked for later.

        A practice project counts in its own budget only: nothing of it enters anyone's totals.
        """
        match = models.Q(scope=Scope.PROJECT, project=project)
        if not is_practice:
            match |= models.Q(scope=Scope.WORKSPACE) | models.Q(scope=Scope.MEMBER, user=user)
            if token is not None:
                match |= models.Q(scope=Scope.TOKEN, token=token)
        return self.filter(match).order_by("pk")

    def standing(self) -> "BudgetQuerySet":
        """Those whose cap was not lifted."""
        return self.filter(lifted_at=None)

    def of_members(self) -> "BudgetQuerySet":
        """The standing caps of people, by address."""
        return self.standing().filter(scope=Scope.MEMBER).select_related("user").order_by("user__email")

    def own_of(self, person: int) -> "BudgetQuerySet":
        """The standing cap of one person, named by their id, if there is one."""
        return self.standing().filter(scope=Scope.MEMBER, user=person).select_related("user")

    def of_projects(self, projects: Sequence[int]) -> "BudgetQuerySet":
        """The projects' own."""
        return self.in_sight(projects, with_workspace=False)

    def in_sight(
        self, projects: Sequence[int] | Blank, *, with_workspace: bool, person: Blank | None = None
    ) -> "BudgetQuerySet":
        """The projects' own, the workspace's where it may be seen, and a person's where one is named."""
        match = models.Q(Among("project", projects), scope=Scope.PROJECT)
        if with_workspace:
            match |= models.Q(scope=Scope.WORKSPACE)
        if person is not None:
            match |= models.Q(scope=Scope.MEMBER, user=person)
        return self.standing().filter(match)

    def with_period(self, month: dt.date | Blank) -> "BudgetQuerySet":
        """Each with what `period_of` makes its period of a month of, which is named by its first day."""
        there = models.FilteredRelation("budgetperiod", condition=models.Q(budgetperiod__month=month))
        columns = {f"its_{name}": models.F(f"period__{name}") for name in ("id", *_PERIOD)}
        return self.annotate(period=there).annotate(**columns)

    def room_in(self, month: dt.date | Blank) -> "models.QuerySet[Budget, Any]":
        """USD that each allows in a month; one without rows stands at its cap."""
        room = Coalesce(models.F("its_cap") + models.F("its_granted"), "cap")
        rows: models.QuerySet[Budget, Any] = self.with_period(month)
        return rows.annotate(room=room).values("room")

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
    lifted_at = models.DateTimeField(
        null=True, blank=True, help_text="Since then nothing is refused by it; it goes on counting."
    )
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
            # Nothing is admitted to a project without one.
            models.CheckConstraint(
                condition=models.Q(lifted_at=None) | ~models.Q(scope="project"),
                name="project_cap_is_never_lifted",
            ),
        ]

    def __str__(self) -> str:
        target = self.project or self.user or self.token or "workspace"
        return f"cap of {target}"

    @property
    def refuses(self) -> bool:
        """Whether nothing above it is admitted."""
        return self.is_hard and self.lifted_at is None

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

    def missing(self, ceiling: Decimal) -> Decimal:
        """Return what it lacks to admit a ceiling, USD; 0 where that fits."""
        return max(ceiling - self.left, ZERO)

    @property
    def is_over(self) -> bool:
        return self.left < 0

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is admitted until it fits."""
        return self.is_over and self.budget.refuses

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
    # By their places, as a QuerySet makes a row: by name it takes three times as long, and pages make fifty.
    period = BudgetPeriod(  # type: ignore[misc]  # the stubs expect a row, not its id
        budget.its_id,
        budget.pk,
        month,
        budget.its_cap,
        budget.its_granted,
        budget.its_spent,
        budget.its_held,
    )
    period.budget = budget
    return period


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
    BILL = "bill", "What the API billed"
    NONE = "none", "Nothing was reported"


class LedgerRow(NamedTuple):
    """What a page shows of a row of the ledger; `job` is the short id of its job, `title` that one's title.

    Read for every row of every page, so that no rows of four records are made of it.
    """

    pk: int
    spent_on: dt.date
    kind: str
    amount: Decimal
    basis: str
    reason: str
    project: str | None
    person: str | None
    token: str | None
    job: str | None
    title: str | None


class Charged(NamedTuple):
    """What was charged, USD, and how many charges of it rest on something: what pages count as jobs."""

    cost: Decimal
    jobs: int


class LedgerQuerySet(models.QuerySet["LedgerEntry"]):
    """Ledger rows, read as phrases."""

    def visible_to(self, user: Someone) -> "LedgerQuerySet":
        """Those of the projects a person may see."""
        if user.is_authenticated and user.is_superuser:
            return self.all()
        return self.filter(project__in=Project.objects.visible_to(user))

    def real(self) -> "LedgerQuerySet":
        """Those that are real money: the one filter that keeps practice out of every total."""
        return self.exclude(project__connection__is_practice=True)

    def in_month(self, month: dt.date) -> "LedgerQuerySet":
        """Those that count in a month, named by its first day."""
        return self.filter(month=month)

    def tagged(self, tag: str, projects: Sequence[int] | None = None) -> "LedgerQuerySet":
        """Those of jobs that have a tag now; of jobs of some projects only, where these are named.

        Among all rows of a month those of a few projects are few.
        """
        if len(tag) > len(AMONG_TAGS):
            return self.none()  # no tag is so long: it is a project's, or is cut to one that it is not
        if projects is None:
            return self.filter(job__tags__contains=[tag])
        # By a column of its own, or Django joins jobs as if there might be none, and then all are read.
        of_projects = self.filter(job__project__in=projects)
        found: Any = of_projects.alias(found=TagsAndProject("job__tags", "job__project_id"))
        own = [f"{AMONG_TAGS}{project}" for project in projects]
        tagged: LedgerQuerySet = found.filter(found__contains=[tag], found__overlap=own)
        return tagged

    def spent(self) -> "LedgerQuerySet":
        """Those that spent is the sum of."""
        return self.filter(kind__in=[EntryKind.CHARGE, EntryKind.ADJUST])

    def held_now(self) -> "LedgerQuerySet":
        """Those that what is held now is the sum of: all other holds were released whole.

        A job that is over has none, unless an attempt of it is still asked for, and then it has a next time.
        """
        is_open = models.Q(job__status__in=UNFINISHED) | models.Q(job__next_action_at__isnull=False)
        return self.filter(is_open, kind__in=[EntryKind.HOLD, EntryKind.RELEASE])

    def page(self, most: int, *, after: tuple[dt.date, int] | None = None) -> "list[LedgerRow]":
        """Return the first `most`, newest first, with all that is shown; after a row with a day and an id."""
        # They are looked for first: what is shown beside a row would be read for all those it is chosen from.
        try:
            first, params = self._newest(most, after=after).values("pk").query.sql_with_params()
        except EmptyResultSet:
            return []  # of no project, say
        rows = LedgerEntry.objects.filter(pk__in=RawSQL(first, params))  # noqa: S611 - as the ORM writes it
        found = rows.annotate(person=name_of("user")).order_by("-spent_on", "-pk").values_list(
            "pk", "spent_on", "kind", "amount", "basis", "reason", "project__name", "person", "token__name",
            "job__short_id", "job__prompt__title",
        )  # fmt: skip
        return [LedgerRow(*row) for row in found]

    def as_cells(
        self, most: int, *, after: tuple[dt.date, int] | None = None
    ) -> "models.QuerySet[LedgerEntry, Any]":
        """The same as cells of a file."""
        rows: Any = self._newest(most, after=after)
        rows = rows.annotate(person=name_of("user"), actor_name=name_of("actor"))
        found: models.QuerySet[LedgerEntry, Any] = rows.values_list(
            "pk", "month", "spent_on", "kind", "basis", "project__slug", "person", "token__name",
            "job__short_id", "attempt", "amount", "input_tokens", "cached_tokens", "output_tokens",
            "reasoning_tokens", "actor_name", "reason", "created_at",
        )  # fmt: skip
        return found

    def _newest(self, most: int, *, after: tuple[dt.date, int] | None) -> Any:
        rows = self.order_by("-spent_on", "-pk")
        if after is not None:
            # As one comparison, which the index begins at: a day has thousands of rows.
            below = "(jobs_ledgerentry.spent_on, jobs_ledgerentry.id) < (%s, %s)"
            rows = rows.filter(RawSQL(below, after, models.BooleanField()))  # noqa: S611 - both are values
        return rows[:most]

    def dearest_of(self, projects: Sequence[int] | Blank, month: dt.date | Blank, *, most: int) -> Statement:
        """Job and USD of a month's dearest charges; each project's are found in its own part of the index."""
        own = self.filter(month=month, project=RawSQL("own.id", ()), kind=EntryKind.CHARGE)
        wanted = Project.objects.filter(Among("pk", projects)).order_by().values("pk")
        return Statement(
            "SELECT found.* FROM ({}) own(id), LATERAL ({}) found(job, amount)"  # noqa: S608 - a number of ours
            f" WHERE found.amount > 0 ORDER BY found.amount DESC LIMIT {most}",
            wanted,
            own.order_by("-amount", "-pk").values_list("job", "amount")[:most],
        )

    def total(self, *kinds: EntryKind) -> Decimal:
        """Return the sum, USD, of the rows of these kinds."""
        found = self.filter(kind__in=kinds).aggregate(total=models.Sum("amount"))["total"]
        return ZERO if found is None else Decimal(found)

    def charged(self) -> Charged:
        """Return what their charges and corrections come to; an attempt that was corrected is one charge."""
        counted = models.Count("attempt", distinct=True, filter=~models.Q(basis=Basis.NONE))
        found = self.spent().aggregate(cost=models.Sum("amount", default=ZERO), jobs=counted)
        return Charged(**found)


def _in_order(name: str, *columns: str, **more: Any) -> models.Index:
    return models.Index(fields=["month", *columns, "-spent_on", "-id"], name=f"ledger_{name}", **more)


# A month's rows newest first, under each filter of the page of the ledger that is not one of their jobs.
LEDGER_INDEXES = [
    _in_order("newest"),
    _in_order("project_newest", "project"),
    _in_order("person_newest", "user"),
    _in_order("token_newest", "token", condition=models.Q(token__isnull=False)),
    # What nearly every row is not.
    _in_order("corrections", "project", condition=models.Q(kind__in=["adjust", "grant"])),
    models.Index(
        fields=["month", "project", "-amount", "-id"],
        name="ledger_costliest",
        condition=models.Q(kind="charge"),
    ),
]


class LedgerEntry(models.Model):
    """One movement of money, never changed. A trigger refuses UPDATE and DELETE.

    Amounts are signed: hold +, release −, charge +, adjust ±, grant ±; so held is Σ(hold + release)
    and spent is Σ(charge + adjust). Tokens are moved like spent.
    """

    # Only what is read by is indexed, below: each hold writes every index, while others wait for its budgets.
    kind = models.CharField(max_length=10, choices=EntryKind)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, null=True, db_index=False)
    user = models.ForeignKey(
        "jobs.User", on_delete=models.PROTECT, null=True, db_index=False, related_name="ledger_entries"
    )
    token = models.ForeignKey("jobs.ApiToken", on_delete=models.PROTECT, null=True, db_index=False)
    job = models.ForeignKey("jobs.Job", on_delete=models.PROTECT, null=True, db_index=False)
    attempt = models.ForeignKey("jobs.Attempt", on_delete=models.PROTECT, null=True)
    budget = models.ForeignKey(
        Budget,
        on_delete=models.PROTECT,
        null=True,
        db_index=False,
        help_text="Of a grant: the one that it raises.",
    )
    month = models.DateField()
    spent_on = models.DateField()
    amount = models.DecimalField(**AMOUNT)
    basis = models.CharField(max_length=10, choices=Basis, blank=True)
    input_tokens = models.BigIntegerField(default=0, db_default=0)
    cached_tokens = models.BigIntegerField(default=0, db_default=0)
    output_tokens = models.BigIntegerField(default=0, db_default=0)
    reasoning_tokens = models.BigIntegerField(default=0, db_default=0)
    price = models.ForeignKey("jobs.Price", on_delete=models.PROTECT, null=True, db_index=False)
    actor = models.ForeignKey(
        "jobs.User", on_delete=models.PROTECT, null=True, db_index=False, related_name="+"
    )
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
            # Other rows count in every budget of their project, person and token; a grant in one.
            models.CheckConstraint(
                condition=models.Q(kind="grant", budget__isnull=False)
                | (~models.Q(kind="grant") & models.Q(budget=None)),
                name="ledger_grant_names_its_budget",
            ),
        ]
        indexes = [
            models.Index(fields=["job", "id"], name="ledger_job"),
            *LEDGER_INDEXES,
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}"


class RefusalQuerySet(models.QuerySet["Refusal"]):
    """Refusals, read as phrases."""

    def visible_to(self, user: Someone) -> "RefusalQuerySet":
        """Those of the projects a person may see."""
        return self.filter(project__in=Project.objects.visible_to(user))

    def newest_of(
        self, projects: Sequence[int] | Blank, month: dt.date | Blank
    ) -> "models.QuerySet[Refusal, Any]":
        """Those of a month, newest first: when, who, through which token, project, cap, USD."""
        rows = self.filter(Among("project", projects), month=month).order_by("-at", "-pk")
        return rows.annotate(
            person=name_of("user"),
            token_name=models.F("token__name"),
            project_name=models.F("project__name"),
            scope=models.F("budget__scope"),
        )


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
    objects = RefusalQuerySet.as_manager()

    class Meta:
        ordering = ["-at"]
        indexes = [models.Index(fields=["month", "project", "-at"], name="refusal_newest")]

    def __str__(self) -> str:
        return f"refused {self.ceiling} in {self.project}"

    def tells_missing(self, reader: Someone) -> bool:
        """Tell whether someone may know how much was missing; of rows of `newest_of`.

        With what the job wanted it tells what was left, also of a person's own cap or of the workspace's:
        those are for who was refused, and for operators.
        """
        is_of_project = self.scope == Scope.PROJECT  # type: ignore[attr-defined]
        return is_of_project or self.user_id == reader.pk or reader.is_superuser
