"""People: who signs in, with what, and the single-use links that let them in."""

import datetime as dt
import hashlib
import secrets
from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.db import models
from django.db.models.functions import Lower, Now
from django.utils import timezone

LINK_LIFETIME = dt.timedelta(minutes=15)


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

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=(username or "").strip())


class User(AbstractUser):
    """A person. An operator is a superuser: sees every project and the admin console."""

    username = None  # type: ignore[assignment]
    email = models.EmailField("e-mail", max_length=254)
    name = models.CharField(max_length=150, blank=True)
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

    def can_sign_in_by_password(self) -> bool:
        return self.has_usable_password()


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
        """Use a link up and return whom it lets in; None if it is unknown, used or expired."""
        user = self.peek(token)
        taken, _ = self.filter(digest=_digest(token), expires_at__gt=Now()).delete()
        return user if taken else None


class SignInLink(models.Model):
    """A single-use way in; the secret itself is never stored."""

    user = models.ForeignKey(User, on_delete=models.CASCADE)
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    objects = SignInLinkQuerySet.as_manager()

    def __str__(self) -> str:
        return f"sign-in link for {self.user}"


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
