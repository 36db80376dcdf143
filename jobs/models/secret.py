"""Keeps keys encrypted at rest: a column whose value is never shown by accident."""

from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.apps import apps
from django.conf import settings
from django.db import models, transaction


class SecretUnreadable(Exception):
    """The stored value does not decrypt with any of `PONDER_KEYS`."""


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.PONDER_KEYS])


class Secret:
    """An encrypted value: shows nothing of itself until `reveal` is called."""

    __slots__ = ("_token",)

    def __init__(self, token: str) -> None:
        self._token = token

    @classmethod
    def of(cls, plain: str) -> "Secret":
        """Encrypt `plain` with the newest key; the empty string stays empty."""
        return cls(_fernet().encrypt(plain.encode()).decode() if plain else "")

    def reveal(self) -> str:
        """Decrypt. Raises SecretUnreadable; never returns ciphertext."""
        if not self._token:
            return ""
        try:
            return _fernet().decrypt(self._token.encode()).decode()
        except (InvalidToken, ValueError) as error:
            raise SecretUnreadable from error

    def rotated(self) -> "Secret":
        """Return the same value under the newest key."""
        return Secret.of(self.reveal())

    @property
    def token(self) -> str:
        """The ciphertext, as stored."""
        return self._token

    def __bool__(self) -> bool:
        return bool(self._token)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._token == self._token

    def __hash__(self) -> int:
        return hash(self._token)

    def __repr__(self) -> str:
        return "<Secret>" if self._token else "<no Secret>"

    __str__ = __repr__


if TYPE_CHECKING:
    _TextOfSecret = models.TextField[Secret, Secret]
else:
    _TextOfSecret = models.TextField


class SecretField(_TextOfSecret):
    """A text column that holds a `Secret`'s ciphertext."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"blank": True, "default": "", "editable": False, **kwargs})

    def from_db_value(self, value: str | None, *_: object) -> Secret:
        return Secret(value or "")

    def to_python(self, value: object) -> Secret:
        if isinstance(value, Secret):
            return value
        if not value:
            return Secret("")
        raise TypeError("Assign Secret.of(...), never the plain value")

    def get_default(self) -> Secret:
        return Secret("")

    def get_prep_value(self, value: object) -> str:
        return self.to_python(value).token


@transaction.atomic
def rotate_all() -> tuple[int, list[str]]:
    """Encrypt every stored secret anew with the newest key, all or none.

    Returns how many, and the names of those that none of the keys reads: they are left as they are.
    """
    count, unreadable = 0, []
    for model in apps.get_models():
        columns = [field.name for field in model._meta.concrete_fields if isinstance(field, SecretField)]
        # Locked: what someone sets meanwhile would be written over.
        rows = model._default_manager.select_for_update().order_by("pk") if columns else ()
        for row in rows:
            kept: dict[str, Secret] = {name: getattr(row, name) for name in columns if getattr(row, name)}
            for name, secret in kept.items():
                try:
                    model._default_manager.filter(pk=row.pk).update(**{name: secret.rotated()})
                    count += 1
                except SecretUnreadable:
                    unreadable.append(f"{model._meta.verbose_name} {row.pk} ({row}): {name}")
    return count, unreadable
