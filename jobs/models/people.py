"""People: who signs in, with what, and the single-use links that let them in."""

import datetime as dt
import hashlib
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.db import models, transaction
from django.db.models.functions import Coalesce, Lower, Now, NullIf
from django.utils import timezone

from jobs.access import LOWEST_ROLE, Act, Role
from jobs.models import trail

if TYPE_CHECKING:
    from jobs.models.projects import Project

LINK_LIFETIME = dt.timedelta(minutes=15)
INVITATION_LIFETIME = dt.timedelta(days=7)


def month_end_of(day: dt.date, projects: Iterable[int]) -> str:
    """Return what tells of which day and projects, by their ids, `User.month_end` is."""
    return hashlib.sha256(f"{day} {sorted(projects)}".encode()).hexdigest()[:32]


def name_of(person: str = "") -> Coalesce:
    """Return what `str` says of the user that a field names, or of each user, as an expression."""
    own = f"{person}__" if person else ""
    name = NullIf(models.F(f"{own}name"), models.Value(""))
    return Coalesce(name, f"{own}email", output_field=models.CharField())


class UserManager(BaseUserManager["User"]):
    """Makes people; an e-mail address is the name one signs in with."""

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> "User":
        """Make a person who can sign in with `password`, or only by a link when it is None."""
        user = self.model(email=self.normalize_email(email).strip().lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> "User":
        """Make an operator: staff, who may do everything."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **extra)

    def matching(self, text: str) -> "models.QuerySet[User]":
        """Return those whose address or name holds `text`, by address, each with their memberships."""
        rows = self.filter(models.Q(email__icontains=text) | models.Q(name__icontains=text))
        return rows.prefetch_related("membership_set__project").order_by("email")

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=(username or "").strip())


class User(AbstractUser):
    """A person. An operator is a superuser: sees every project and the admin console."""

    username = None  # type: ignore[assignment]
    email = models.EmailField("e-mail", max_length=254)
    name = models.CharField(max_length=150, blank=True)
    wants_mail = models.BooleanField(
        "mail when a job ends",
        default=False,
        db_default=False,
        help_text="For one's own jobs that took longer than two minutes.",
    )
    # Beside every page, which reads this row anyway.
    month_end = models.DecimalField(
        max_digits=20,
        decimal_places=2,
        null=True,
        editable=False,
        help_text="USD that this month of the real projects they see likely comes to; told anew every hour.",
    )
    month_end_of = models.CharField(
        max_length=32, blank=True, db_default="", editable=False, help_text="The day and projects it is of."
    )
    first_name = None  # type: ignore[assignment]
    last_name = None  # type: ignore[assignment]

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = UserManager()  # type: ignore[misc,assignment]

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_unique")]

    def __str__(self) -> str:
        return self.name or self.email

    def get_full_name(self) -> str:
        return str(self)

    def get_short_name(self) -> str:
        return str(self)

    @transaction.atomic
    def deactivate(self, *, by: "User") -> None:
        """Shut someone out at once; what they did, and their jobs under way, stay."""
        if User.objects.filter(pk=self.pk, is_active=True).update(is_active=False):
            trail.note(by, self, "Deactivated")

    @transaction.atomic
    def reactivate(self, *, by: "User") -> None:
        """Let someone in again, with the roles they had."""
        if User.objects.filter(pk=self.pk, is_active=False).update(is_active=True):
            trail.note(by, self, "Reactivated")


class SignInLinkQuerySet(models.QuerySet["SignInLink"]):
    """Links that let someone in once."""

    def make_for(self, user: User) -> str:
        """Make a link that lives 15 minutes and return its secret; only its hash is stored."""
        token = secrets.token_urlsafe(32)
        self.create(user=user, digest=_digest(token), expires_at=timezone.now() + LINK_LIFETIME)
        return token

    def peek(self, token: str) -> User | None:
        """Return whom a link would let in, without using it up."""
        link = self.filter(digest=_digest(token), expires_at__gt=Now()).select_related("user").first()
        return link.user if link and link.user.is_active else None

    def use(self, token: str) -> User | None:
        """Use a link up and return whom it lets in; None if it is unknown, used or expired.

        All links of its owner go with it: one in another's hands must not undo what is chosen now.
        """
        user = self.peek(token)
        taken, _ = self.filter(digest=_digest(token), expires_at__gt=Now()).delete()
        if user is None or not taken:
            return None
        self.filter(user=user).delete()
        return user


class SignInLink(models.Model):
    """A single-use way in; the secret itself is never stored."""

    user = models.ForeignKey(User, on_delete=models.CASCADE)
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    objects = SignInLinkQuerySet.as_manager()

    def __str__(self) -> str:
        return f"sign-in link for {self.user}"


class InvitationGone(Exception):
    """An invitation was used, withdrawn or replaced, is too old, or leads nowhere any more."""


class InvitationQuerySet(models.QuerySet["Invitation"]):
    """Invitations: made, looked at, and used once."""

    def pending(self) -> "InvitationQuerySet":
        """Those that can still be used; whoever may not invite any more has left no way back in."""
        may_there = User.objects.filter(
            pk=models.OuterRef("invited_by"),
            membership__project=models.OuterRef("project"),
            membership__role__gte=LOWEST_ROLE[Act.CHANGE_MEMBERS],
        )
        return self.filter(
            models.Q(invited_by__is_superuser=True) | models.Exists(may_there),
            used_at=None,
            expires_at__gt=Now(),
            project__archived_at=None,
            invited_by__is_active=True,
        )

    @transaction.atomic
    def make(self, email: str, *, project: "Project | None", role: Role, by: User) -> str:
        """Invite an address for 7 days and return the secret; an earlier invitation there ends.

        Without a project it only makes an account.
        """
        email, token = email.strip().lower(), secrets.token_urlsafe(32)
        self.filter(email=email, project=project, used_at=None).delete()
        made = self.create(
            email=email,
            project=project,
            role=role,
            digest=_digest(token),
            invited_by=by,
            expires_at=timezone.now() + INVITATION_LIFETIME,
        )
        trail.note(by, project or made, f"{email} invited" + (f" as {role.name.lower()}" if project else ""))
        return token

    @transaction.atomic
    def withdraw(self, pk: int, *, project: "Project | None", by: User) -> None:
        """End an invitation before it was used."""
        for found in self.pending().filter(pk=pk, project=project):
            trail.note(by, project or found, f"Invitation of {found.email} withdrawn")
            found.delete()

    def peek(self, token: str) -> "Invitation | None":
        """Return what an invitation offers, without using it up; None if its owner was shut out."""
        found = self.pending().filter(digest=_digest(token)).select_related("project", "invited_by").first()
        is_shut_out = found and User.objects.filter(email__iexact=found.email, is_active=False).exists()
        return None if is_shut_out else found

    @transaction.atomic
    def accept(
        self, token: str, *, person: User | None = None, name: str = "", password: str | None = None
    ) -> User:
        """Use an invitation up: let `person` in, or make the account it is for. Raises InvitationGone.

        Whoever calls this has made sure that `person` is the owner of the invitation's address.
        """
        found = self.peek(token)
        # The UPDATE comes first: of two who use it at once one goes on, before anything is made.
        if found is None or not self.filter(pk=found.pk, used_at=None).update(used_at=Now()):
            raise InvitationGone
        if person is None:
            person = User.objects.create_user(found.email, password, name=name)
            trail.note(found.invited_by, person, "Joined by an invitation", is_new=True)
        if found.project is not None:
            found.project.members.add(person, through_defaults={"role": found.role})
            said = f"{person} joined as {found.get_role_display().lower()}, invited by {found.invited_by}"
            trail.note(person, found.project, said)
        return person


class Invitation(models.Model):
    """A single-use way into a project for someone who may be new here; the secret is never stored."""

    email = models.EmailField("e-mail", max_length=254)
    project = models.ForeignKey("jobs.Project", on_delete=models.CASCADE, null=True, blank=True)
    role = models.PositiveSmallIntegerField(choices=[(role.value, role.name.capitalize()) for role in Role])
    digest = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    objects = InvitationQuerySet.as_manager()

    def __str__(self) -> str:
        return f"invitation for {self.email}"


class SignInFailureQuerySet(models.QuerySet["SignInFailure"]):
    """Failed sign-ins, read as phrases."""

    def within(self, span: dt.timedelta) -> "SignInFailureQuerySet":
        """Those of the last `span`."""
        return self.filter(at__gt=timezone.now() - span)

    def note(self, keys: Iterable[str], *, keep: dt.timedelta) -> None:
        """Count a failure under each key, and drop those older than `keep`."""
        self.filter(at__lt=timezone.now() - keep).delete()
        self.bulk_create(SignInFailure(key=key) for key in keys)

    def forget(self, key: str) -> None:
        """Start afresh for a key."""
        self.filter(key=key).delete()


class SignInFailure(models.Model):
    """One failed sign-in, counted to slow down guessing."""

    key = models.CharField(max_length=64, db_index=True)  # a hash of the address typed, or of the client's
    at = models.DateTimeField(auto_now_add=True)
    objects = SignInFailureQuerySet.as_manager()

    def __str__(self) -> str:
        return f"failed sign-in at {self.at:%F %T}"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
