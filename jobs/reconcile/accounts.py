"""Knows whose bill can be read from here, and which of our connections a line of it belongs to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import Q

from jobs.models import Connection, Kind
from jobs.openai_client import Cost, Endpoint

OPENAI_ADDRESS = "https://api.openai.com/v1"
PRACTICE_KEY = "sk-admin-practice"  # the sandbox takes any that begins so


class NoAccount(Exception):
    """There is no bill to read; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Part:
    """Connections whose lines a bill cannot tell apart: of the same keys, or of the same project."""

    connections: tuple[Connection, ...]
    keys: frozenset[str] = frozenset()
    project: str = ""

    @property
    def ids(self) -> list[int]:
        return [connection.pk for connection in self.connections]

    @property
    def only(self) -> Connection | None:
        """The connection, where it is one."""
        return self.connections[0] if len(self.connections) == 1 else None


@dataclass(frozen=True, slots=True)
class Account:
    """An organization whose bill can be read, and our connections in it."""

    endpoint: Endpoint
    parts: tuple[Part, ...]

    def part_of(self, cost: Cost) -> Part | None:
        """Return the part that a line of the bill is of; None for keys and projects that are not ours.

        A key that a connection names is its own; a project is of the connections that name it and no key; all
        else is of those that name neither, if there are any.
        """
        tests = (
            lambda part: cost.key in part.keys,
            lambda part: not part.keys and part.project and part.project == cost.project,
            lambda part: not part.keys and not part.project,
        )
        return next((part for test in tests for part in self.parts if test(part)), None)


def has_admin_key() -> bool:
    return bool(settings.OPENAI_ADMIN_KEY)


def is_on_a_bill(connection: Connection) -> bool:
    """Tell whether what is sent through a connection stands on the bill that is read once a day."""
    is_openai = connection.kind == Kind.OPENAI and not connection.is_practice
    return has_admin_key() and is_openai and _is_at(connection.base_url, _address())


def account(*, is_practice: bool) -> Account:
    """Return the account whose bill can be read, real or the sandbox's. Raises NoAccount.

    The admin key goes to the address that the environment names, or to OpenAI's own: never to one that people
    have set.
    """
    return _practice() if is_practice else _real()


def _real() -> Account:
    address = _address()
    found = Connection.objects.filter(is_practice=False, kind=Kind.OPENAI).order_by("pk")
    ours = [connection for connection in found if _is_at(connection.base_url, address)]
    if not ours:
        raise NoAccount(
            "No connection here leads to OpenAI. Azure and servers of your own have no such bill."
        )
    if not settings.OPENAI_ADMIN_KEY:
        raise NoAccount(
            "OPENAI_ADMIN_KEY is not set where Ponder runs. An owner of the organization makes one at "
            "platform.openai.com/settings/organization/admin-keys."
        )
    return Account(Endpoint("openai", address, settings.OPENAI_ADMIN_KEY), _parts(ours))


def _address() -> str:
    return settings.OPENAI_BASE_URL or OPENAI_ADDRESS


def _practice() -> Account:
    ours = list(
        Connection.objects.filter(
            Q(sandbox_of="") | Q(sandbox_of=settings.INSTANCE), is_practice=True
        ).order_by("pk")
    )
    if not ours:
        raise NoAccount("There is no practice connection here.")
    address = ours[0].base_url
    at_one = [connection for connection in ours if connection.base_url == address]
    return Account(Endpoint("openai", address, PRACTICE_KEY), _parts(at_one))


def _parts(connections: Iterable[Connection]) -> tuple[Part, ...]:
    alike: dict[tuple[frozenset[str], str], list[Connection]] = {}
    for connection in connections:
        keys = frozenset(connection.bill_keys)
        alike.setdefault((keys, "" if keys else connection.openai_project), []).append(connection)
    return tuple(Part(tuple(some), keys, project) for (keys, project), some in alike.items())


def _is_at(base_url: str, address: str) -> bool:
    """Tell whether an address is of the same account; OpenAI's regional hosts are."""
    if base_url.rstrip("/") == address.rstrip("/"):
        return True
    hosts: Sequence[str] = [urlsplit(url).hostname or "" for url in (base_url, address)]
    return all(host == "api.openai.com" or host.endswith(".api.openai.com") for host in hosts)
