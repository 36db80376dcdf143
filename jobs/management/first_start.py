"""Makes an installation ready: catalogue, watchdog, the first operator, connection and project."""

import json
from collections.abc import Iterable
from decimal import Decimal
from itertools import chain, count

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models.functions import Now

from jobs import lifecycle, spend
from jobs.models import (
    UNFINISHED,
    Connection,
    Job,
    KeySource,
    Kind,
    ModelSpec,
    Project,
    PumpLease,
    Secret,
    SignInLink,
    User,
    Workspace,
)
from jobs.models.catalogue import CATALOGUE
from jobs.models.connections import make_webhook_secret

PRACTICE_CAP = Decimal(200)
FIRST_CAP = Decimal(25)
FIRST_OPERATOR = "admin@localhost"
OPENAI_ADDRESS = "https://api.openai.com/v1"


def prepare(
    *,
    sandbox_base_url: str,
    moves_sandbox: bool = True,
    takes_sandbox: bool = False,
    frees_pumps: bool = True,
) -> str | None:
    """Make what is missing, idempotently; `sandbox_base_url` is where the sandbox would be reached.

    Practice connections that exist are pointed there only if this installation runs it (`moves_sandbox`) and
    no other one does: on a database that machines share it runs on one of them, the first, until another
    explicitly `takes_sandbox`. `frees_pumps` is for who starts the workers: no pump of theirs runs yet.
    Returns a sign-in link's secret as long as no operator can sign in.
    Raises ImproperlyConfigured when the day is shifted while real money could be spent.
    """
    with transaction.atomic():
        ModelSpec.objects.seed()
        _set_default_model()
        if settings.OPENAI_API_KEY:
            _real_connection()
        elif not Connection.objects.filter(is_practice=False).exists():
            _practice_connection(sandbox_base_url)
        if moves_sandbox:
            practice = Connection.objects.filter(is_practice=True)
            free = practice if takes_sandbox else practice.filter(sandbox_of__in=["", settings.INSTANCE])
            free.update(base_url=sandbox_base_url, sandbox_of=settings.INSTANCE)
        _make_practice_secret()
        if settings.PONDER_TODAY and Connection.objects.filter(is_practice=False).exists():
            raise ImproperlyConfigured(
                "PONDER_TODAY is for practice only: a connection here spends real money."
            )
        if frees_pumps:
            # Whoever held a lease was of an earlier start and is gone.
            PumpLease.objects.filter(instance=settings.INSTANCE).update(holder=None, expires_at=Now())
        lifecycle.install_watchdog()
    lifecycle.replay()
    # Someone may have put a newer journal of the original's into a copy.
    lifecycle.replay_copied()
    lifecycle.wake()
    return _operator_link()


def sandbox_elsewhere() -> str:
    """Return the address of another installation's sandbox, where practice leads to one; '' if not."""
    elsewhere = Connection.objects.filter(is_practice=True).exclude(sandbox_of__in=["", settings.INSTANCE])
    return elsewhere.values_list("base_url", flat=True).first() or ""


def practice_webhook() -> tuple[str, str] | None:
    """Return where on the web server our sandbox announces its ends, and the secret it signs with."""
    found = Connection.objects.filter(is_practice=True, sandbox_of=settings.INSTANCE).order_by("pk").first()
    secrets = found.reveal_webhook_secrets() if found else []
    return (found.webhook_path, secrets[0]) if found and secrets else None


def needs_sandbox() -> bool:
    """Tell whether practice needs ours: while nothing else is connected, and until its last job has ended."""
    if sandbox_elsewhere():
        return False
    if not Connection.objects.filter(is_practice=False).exists():
        return True
    return Job.objects.filter(attempt__connection__is_practice=True, status__in=UNFINISHED).exists()


def _set_default_model() -> None:
    workspace = Workspace.objects.the()
    if workspace.default_model_id is None:
        name = json.loads(CATALOGUE.read_text())["default_model"]
        Workspace.objects.filter(pk=workspace.pk).update(default_model=name)


def _real_connection() -> None:
    address = settings.OPENAI_BASE_URL or OPENAI_ADDRESS
    # Any other host may be a way to OpenAI, and is taken for one.
    kind = Kind.AZURE if Connection(base_url=address).is_at_azure else Kind.OPENAI
    connection = Connection.objects.filter(key_source=KeySource.ENVIRONMENT).first()
    if connection is None:
        wanted = "Azure" if kind == Kind.AZURE else "OpenAI"
        name = _free(wanted, Connection.objects.values_list("name", flat=True))
        connection = Connection.objects.create(
            name=name, kind=kind, base_url=address, key_source=KeySource.ENVIRONMENT
        )
    Connection.objects.filter(pk=connection.pk).update(base_url=address, kind=kind)
    if not Project.objects.filter(connection__is_practice=False).exists():
        slug = _free("general", Project.objects.values_list("slug", flat=True))
        project = Project.objects.create(name="General", slug=slug, connection=connection)
        spend.set_cap(FIRST_CAP, project=project)


def _practice_connection(address: str) -> None:
    names = Connection.objects.values_list("name", flat=True)
    connection, is_new = Connection.objects.get_or_create(
        is_practice=True,
        defaults={"name": _free("Practice", names), "base_url": address, "key": Secret.of("sk-practice")},
    )
    if is_new:
        slug = _free("practice", Project.objects.values_list("slug", flat=True))
        project = Project.objects.create(name="Practice", slug=slug, connection=connection)
        spend.set_cap(PRACTICE_CAP, project=project)


def _make_practice_secret() -> None:
    """Give practice that leads to our sandbox a webhook secret, if it has none that can be read."""
    for found in Connection.objects.filter(is_practice=True, sandbox_of=settings.INSTANCE):
        if not found.reveal_webhook_secrets():
            found.webhook_secret = Secret.of(make_webhook_secret())
            found.save(update_fields=["webhook_secret"])


def _free(wanted: str, taken: Iterable[str]) -> str:
    """Return a name that nobody has given to something else: `wanted`, or it with a number."""
    known = {name.lower() for name in taken}
    numbered = (f"{wanted}-{number}" for number in count(2))
    return next(name for name in chain([wanted], numbered) if name.lower() not in known)


def _operator_link() -> str | None:
    """Return a sign-in link's secret as long as no operator can sign in with a password."""
    operators = User.objects.filter(is_superuser=True, is_active=True).order_by("pk")
    if any(user.has_usable_password() for user in operators):
        return None
    operator = operators.first() or User.objects.create_superuser(FIRST_OPERATOR, name="Administrator")
    return SignInLink.objects.make_for(operator)
