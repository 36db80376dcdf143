"""Projects and who belongs to them: the borders of what a person may see."""

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django.contrib.auth.models import AnonymousUser
from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone

from jobs import access, clock
from jobs.access import Act, Role
from jobs.models import trail
from jobs.models.connections import Kind
from jobs.models.questions import Anyone, Blank, Question

if TYPE_CHECKING:
    from jobs.models.catalogue import ModelSpec
    from jobs.models.people import User

type Someone = "User | AnonymousUser | Anyone"

# Words that stand in an address where a slug would.
RESERVED = frozenset({"new"})


class UnconfirmedRule(models.TextChoices):
    """What a project does about a job that was sent perhaps, once nothing has told of it in time."""

    ASK = "ask", "Ask: it stays unconfirmed until someone decides"
    RESEND = "resend", "Send it again: both sends may be charged, twice its ceiling at most"
    LOST = "lost", "Take it for lost: its hold is released, and it is charged if it turns up"
    PAID = "paid", "Count it as paid: its ceiling is booked, and adjusted if its usage turns up"


class LastManager(Exception):
    """A project would be left without anyone who may manage it."""


class WorkspaceManager(models.Manager["Workspace"]):
    """Finds the one row."""

    def the(self) -> "Workspace":
        """Return the workspace, making it on first use."""
        return _workspace().first() or self.get_or_create(pk=1)[0]

    def lock(self) -> None:
        """Keep everybody else who locks it waiting until the caller's transaction ends."""
        self.select_for_update(no_key=True).get(pk=self.the().pk)

    @transaction.atomic
    def let_inherit(self, retiring: "ModelSpec", *, by: "User") -> "ModelSpec | None":
        """Default to what takes a model's place wherever the default is that model, and return it.

        A project that allows some models only gets this one added. None if nothing living takes its place.
        """
        workspace = self.the()
        heir = retiring.heir(retiring.shutdown_date or workspace.today())
        if heir is None:
            return None
        spec, mode = heir
        said = f"Default model: {retiring.pk} → {spec.pk}, {mode}"
        if self.filter(default_model=retiring).update(default_model=spec, default_mode=mode):
            trail.note(by, workspace, said)
        for project in Project.objects.select_for_update(of=("self",)).filter(default_model=retiring):
            project.default_model, project.default_mode = spec, mode
            project.save(update_fields=["default_model", "default_mode"])
            if project.allowed_models.exists():
                project.allowed_models.add(spec)
            trail.note(by, project, said)
        return spec


@lru_cache
def _workspace() -> "Question[Workspace]":
    return Question(Workspace.objects.filter(pk=1))


class Workspace(models.Model):
    """The installation: one row, one time zone for all budgets."""

    name = models.CharField(max_length=100, default="Ponder")
    time_zone = models.CharField(max_length=64, default="UTC")
    default_model = models.ForeignKey(
        "jobs.ModelSpec", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    default_mode = models.CharField(max_length=16, default="standard", db_default="standard")
    next_time_zone = models.CharField(max_length=64, blank=True)
    next_time_zone_on = models.DateField(
        null=True, blank=True, help_text="First day of the month it applies."
    )
    objects = WorkspaceManager()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(pk=1), name="workspace_is_one_row")]

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which months and days of money are counted now."""
        return clock.zone_now(self.time_zone, self.next_time_zone, self.next_time_zone_on)

    def today(self) -> dt.date:
        return clock.today(self.zone)


@dataclass(frozen=True, slots=True)
class Choice:
    """A model with its settings."""

    spec: "ModelSpec"
    mode: str
    effort: str
    max_output_tokens: int


class ProjectQuerySet(models.QuerySet["Project"]):
    """Projects, read as phrases."""

    def visible_to(self, user: Someone) -> "ProjectQuerySet":
        """Those a person may see; for someone not signed in, none."""
        if not user.is_authenticated:
            return self.none()
        if user.is_superuser:
            return self.all()
        return self.filter(membership__user=user.pk, membership__role__gte=access.LOWEST_ROLE[Act.SEE])

    def open_to(self, user: Someone) -> "ProjectQuerySet":
        """Those a person may submit to."""
        found = self.visible_to(user).filter(archived_at=None)
        if user.is_superuser or not user.is_authenticated:
            return found
        # In one call: a second filter on members would ask for anyone's role there.
        return found.filter(membership__user=user.pk, membership__role__gte=access.LOWEST_ROLE[Act.SUBMIT])

    def with_allowed_names(self) -> "ProjectQuerySet":
        """Each with the ids of the models it allows as `allowed_names`, none where it allows all."""
        through = Project.allowed_models.through.objects.filter(project=models.OuterRef("pk"))
        return self.annotate(allowed_names=ArraySubquery(through.order_by("modelspec").values("modelspec")))

    def real(self) -> "ProjectQuerySet":
        """Those whose money is real."""
        return self.filter(connection__is_practice=False)

    def without_windows(self) -> "ProjectQuerySet":
        """Those whose answers cannot be waited for at a discount: see `Connection.has_windows`."""
        return self.exclude(connection__kind=Kind.OPENAI)


class Project(models.Model):
    """A place for jobs with its own members, defaults and cap; archived, never deleted."""

    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=60, unique=True)
    cost_centre = models.CharField(max_length=60, blank=True)
    connection = models.ForeignKey("jobs.Connection", on_delete=models.PROTECT)
    default_model = models.ForeignKey(
        "jobs.ModelSpec", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    default_mode = models.CharField(max_length=16, default="standard", db_default="standard")
    default_effort = models.CharField(max_length=16, blank=True)
    default_max_output_tokens = models.PositiveIntegerField(default=40_000)
    allowed_models = models.ManyToManyField(
        "jobs.ModelSpec", blank=True, related_name="+", help_text="None chosen means all."
    )
    allowed_efforts = ArrayField(
        models.CharField(max_length=16), blank=True, default=list, help_text="Empty means all."
    )
    job_limit = models.DecimalField(
        "limit per job",
        max_digits=20,
        decimal_places=10,
        null=True,
        blank=True,
        help_text="USD; a job whose ceiling is above it needs approval.",
    )
    unconfirmed_rule = models.CharField(
        "rule for unconfirmed jobs",
        max_length=8,
        choices=UnconfirmedRule,
        default=UnconfirmedRule.ASK,
        db_default=UnconfirmedRule.ASK,
    )
    retention_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="Empty keeps prompts and answers."
    )
    archived_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    members = models.ManyToManyField("jobs.User", through="Membership")
    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(unconfirmed_rule__in=UnconfirmedRule.values), name="project_rule_known"
            )
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return f"/projects/{self.slug}/"

    def clean(self) -> None:
        """Refuse a slug that is the address of another page."""
        if self.slug in RESERVED:
            raise ValidationError({"slug": "This word is taken by a page."})

    @property
    def is_practice(self) -> bool:
        return self.connection.is_practice

    @property
    def has_jobs(self) -> bool:
        return self.job_set.exists()

    @transaction.atomic
    def archive(self, *, by: "User") -> None:
        """Take no more jobs; those that are under way go on."""
        if Project.objects.filter(pk=self.pk, archived_at=None).update(archived_at=timezone.now()):
            trail.note(by, self, "Archived")

    @transaction.atomic
    def unarchive(self, *, by: "User") -> None:
        """Take jobs again."""
        if Project.objects.filter(pk=self.pk).exclude(archived_at=None).update(archived_at=None):
            trail.note(by, self, "Taken out of the archive")

    @transaction.atomic
    def change_role(self, person: "User", role: Role, *, by: "User") -> None:
        """Give a member another role. Raises LastManager, and Membership.DoesNotExist."""
        before = self._locked_membership(person, leaves_managing=role < Role.MANAGER)
        if before.role != role:
            Membership.objects.filter(pk=before.pk).update(role=role)
            said = f"{person}: {before.get_role_display().lower()} → {role.name.lower()}"
            trail.note(by, self, said)

    @transaction.atomic
    def remove(self, person: "User", *, by: "User") -> None:
        """End a membership; what the person did stays. Raises LastManager, and Membership.DoesNotExist."""
        self._locked_membership(person, leaves_managing=True).delete()
        trail.note(by, self, f"{person} left" if person == by else f"{person} removed")

    def _locked_membership(self, person: "User", *, leaves_managing: bool) -> "Membership":
        # The project's row is locked, so that of two managers who leave at once one stays.
        Project.objects.select_for_update().get(pk=self.pk)
        found = Membership.objects.get(project=self, user=person)
        managers = Membership.objects.filter(project=self, role=Role.MANAGER, user__is_active=True)
        if leaves_managing and found.role == Role.MANAGER and not managers.exclude(user=person).exists():
            raise LastManager
        return found

    def default_choice(self, day: dt.date, workspace: Workspace | None = None) -> "Choice | None":
        """Return what a new job starts from on `day`: the default model, or its living successor.

        `workspace` is for a caller that has it at hand.
        """
        source = self if self.default_model else workspace or Workspace.objects.the()
        spec, mode, effort = source.default_model, source.default_mode, self.default_effort
        if spec is not None and spec.is_off(day):
            spec, mode = spec.heir(day) or (None, mode)
        if spec is None:
            return None
        if effort not in spec.efforts:
            effort = spec.default_effort
        limit = min(self.default_max_output_tokens, spec.max_output_tokens)
        return Choice(spec, mode if mode in spec.modes else spec.modes[0], effort, limit)

    def allows(self, spec: "ModelSpec") -> bool:
        """Tell whether it uses a model: any, unless some are chosen."""
        chosen = _allowed().ask(project=self.pk)
        return not chosen or spec.pk in chosen

    def role_of(self, user: Any) -> Role | None:
        """Return the person's role here, or None."""
        role = _role().first(project=self.pk, user=user.pk)
        return None if role is None else Role(role)

    def may(self, user: Any, act: Act) -> bool:
        """Tell whether the person may do this here, by the matrix in `access`."""
        if not user.is_authenticated or not user.is_active:
            return False
        return access.allowed(act, role=self.role_of(user), is_operator=user.is_superuser)


@lru_cache
def _role() -> "Question[int]":
    rows = Membership.objects.filter(project=Blank("project"), user=Blank("user"))
    return Question(rows.values_list("role", flat=True))


@lru_cache
def _allowed() -> "Question[str]":
    chosen = Project.allowed_models.through.objects.filter(project=Blank("project"))
    return Question(chosen.values_list("modelspec", flat=True))


class MembershipQuerySet(models.QuerySet["Membership"]):
    """Memberships, read as phrases."""

    def that_see(self, user: Someone) -> "models.QuerySet[Membership, Any]":
        """The ids of the projects in which a person, who is no operator, may see what there is."""
        if not user.is_authenticated:
            return self.none().values("project")
        return self.filter(user=user.pk, role__gte=access.LOWEST_ROLE[Act.SEE]).values("project")

    def that_may(self, act: Act) -> "MembershipQuerySet":
        """Those whose role allows an act to anything in the project, of people who can sign in."""
        return self.filter(role__gte=access.LOWEST_ROLE[act], user__is_active=True)


class Membership(models.Model):
    """A person's role in a project."""

    user = models.ForeignKey("jobs.User", on_delete=models.CASCADE)
    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    role = models.PositiveSmallIntegerField(choices=[(role.value, role.name.capitalize()) for role in Role])
    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "user"], name="one_membership_each")]

    def __str__(self) -> str:
        return f"{self.user} in {self.project}: {Role(self.role).name.lower()}"


class ApiToken(models.Model):
    """A pipeline's way in: only the hash of its secret is kept."""

    name = models.CharField(max_length=60)
    project = models.ForeignKey(Project, on_delete=models.PROTECT)
    user = models.ForeignKey("jobs.User", on_delete=models.PROTECT)
    prefix = models.CharField(max_length=16)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
