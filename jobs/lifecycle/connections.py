"""Pauses, resumes, tests and relieves connections: their jobs wait meanwhile, nothing is lost."""

import datetime as dt
import logging
import time

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from jobs import openai_client
from jobs.lifecycle.doorbell import ring, ring_for
from jobs.models import (
    UNASKABLE,
    Attempt,
    AttemptState,
    Connection,
    Job,
    KeySource,
    ModelSpec,
    Project,
    SecretUnreadable,
    Status,
    User,
)
from jobs.models.attempt import TOLD_WITHIN
from jobs.models.connections import RESTORED, sources_here
from jobs.models.trail import note
from jobs.notify import alarm
from jobs.openai_client import Blocked, BorderError, Endpoint

# A test takes at most 20 s, half of it for a token; after this long no worker is there to do it.
TEST_PATIENCE = dt.timedelta(seconds=30)
# A job that is due for so long while its connection has nothing under way is nobody's.
LEFT_LYING = dt.timedelta(minutes=1)
# Keys that are set where Ponder runs, by the name of their variable.
_OF_THE_MACHINE = {
    KeySource.ENVIRONMENT: "OPENAI_API_KEY",
    KeySource.COMMAND: "PONDER_AZURE_TOKEN_COMMAND",
}

logger = logging.getLogger(__name__)


def endpoint_of(connection: Connection) -> Endpoint:
    """Return what the border needs to reach a connection.

    Raises Blocked when its key cannot be read, or in a copy from a backup that is held.
    """
    if connection.is_restored:
        raise Blocked("This is a copy from a backup, and its original may run.", code=RESTORED.rstrip(":"))
    if connection.key_source == KeySource.COMMAND:
        return _endpoint(connection, token_command=_token_command(connection))
    try:
        key = connection.reveal_key()
    except SecretUnreadable:
        raise Blocked(
            "Its key does not decrypt with PONDER_KEYS. Set the key again.", code="key_unreadable"
        ) from None
    if not key:
        raise Blocked("It has no key.", code="no_key")
    return _endpoint(connection, key=key)


def _endpoint(connection: Connection, *, key: str = "", token_command: tuple[str, ...] = ()) -> Endpoint:
    return Endpoint(
        kind=connection.kind,
        base_url=connection.base_url,
        key=key,
        organization=connection.organization,
        project=connection.openai_project,
        is_guarded=not (connection.is_trusted or settings.PONDER_ALLOW_PRIVATE_ADDRESSES),
        token_command=token_command,
    )


def _token_command(connection: Connection) -> tuple[str, ...]:
    """Return the command that gives a connection its tokens: at Azure's own addresses only.

    A token is good for all that whoever runs Ponder may do at Azure, so no other host is shown one.
    """
    if not connection.is_at_azure:
        raise Blocked("Entra tokens are sent to addresses of Azure only.", code="token_address")
    command: tuple[str, ...] = settings.PONDER_AZURE_TOKEN_COMMAND
    if not command:
        raise Blocked("PONDER_AZURE_TOKEN_COMMAND is not set where Ponder runs.", code="no_key")
    return command


def pause(connection_id: int, reason: str, *, by: User | None = None, is_with_all: bool = False) -> bool:
    """Send nothing more through a connection until someone resumes it; True if this call paused it."""
    with transaction.atomic():
        paused = Connection.objects.filter(pk=connection_id, paused_at=None).update(
            paused_at=Now(), paused_reason=reason[:600], paused_by=by, is_paused_with_all=is_with_all
        )
        if paused and by is None:
            alarm("connection_paused", reason, connection_id=connection_id)
        elif paused and by is not None:
            said = "Paused with everything" if is_with_all else "Paused"
            note(by, Connection.objects.get(pk=connection_id), f"{said}: {reason}" if reason else said)
        if paused:
            _log("paused", connection_id)
    return bool(paused)


def pause_all(reason: str, *, by: User) -> int:
    """Send nothing more at all until someone resumes everything; return how many this call paused.

    A connection that is added meanwhile begins paused like the others.
    """
    with transaction.atomic():
        found = Connection.objects.filter(paused_at=None).order_by("pk").values_list("pk", flat=True)
        return sum(pause(pk, reason, by=by, is_with_all=True) for pk in list(found))


def resume_all(*, by: User) -> int:
    """Go on with what `pause_all` has paused, and nothing else; return how many connections that are."""
    with transaction.atomic():
        found = Connection.objects.paused_with_all().order_by("pk").values_list("pk", flat=True)
        return sum(resume(pk, by=by) for pk in list(found))


def pause_for(connection_id: int, error: BorderError) -> None:
    """Pause a connection because of what the API said."""
    pause(connection_id, f"{error.code}: {error.message}")


def resume(connection_id: int, *, by: User | None = None) -> bool:
    """Go on sending through a connection; True if it was paused.

    What was unknown there is asked for afresh: whoever resumes has looked. No rule decides about its
    unconfirmed sends for a while, for what tells of them may have been paused or off as well.
    """
    with transaction.atomic():
        found = Connection.objects.filter(pk=connection_id, paused_at__isnull=False)
        was_restored = found.filter(paused_reason__startswith=RESTORED).exists()
        resumed = found.update(
            paused_at=None, paused_reason="", paused_by=None, is_paused_with_all=False, not_before=None
        )
        if resumed:
            missing = Attempt.objects.filter(connection=connection_id, missed_since__isnull=False)
            missing.update(misses=0, missed_since=None)
            soon = Attempt.objects.filter(connection=connection_id, state=AttemptState.UNCONFIRMED)
            soon.filter(rule_due_at__lt=Now() + TOLD_WITHIN).update(rule_due_at=Now() + TOLD_WITHIN)
            ring("send")
        if resumed and was_restored:
            # Each was looked at in vain a moment ago.
            known = Job.objects.filter(attempt__connection=connection_id, attempt__state=AttemptState.KNOWN)
            known.filter(next_action_at__isnull=False).exclude(status__in=UNASKABLE).update(
                next_action_at=Now(), claim_token=None
            )
            ring("poll")
        if resumed and by is not None:
            note(by, Connection.objects.get(pk=connection_id), "Resumed")
        if resumed:
            _log("resumed", connection_id)
    return bool(resumed)


@transaction.atomic
def relieve(connection_id: int, *, by: User, through: int) -> int:
    """Let all projects of a connection send through another of the same side; return how many.

    What waits goes there too; what was sent is followed where it is.
    """
    both = Connection.objects.select_for_update().in_bulk([connection_id, through])
    if len(both) < 2 or both[connection_id].is_practice != both[through].is_practice:
        return 0
    projects = list(Project.objects.select_for_update().filter(connection=connection_id))
    Project.objects.filter(connection=connection_id).update(connection=through)
    for project in projects:
        note(by, project, f"Connection: {both[connection_id]} → {both[through]}")
    ring("send")
    return len(projects)


def set_webhook_secret(connection_id: int, plain: str, *, by: User) -> None:
    """Keep the webhook secret of a connection; the one before it stays valid until it is dropped."""
    with transaction.atomic():
        row = Connection.objects.select_for_update().get(pk=connection_id)
        said = "Webhook secret rotated" if row.webhook_secret else "Webhook secret set"
        row.set_webhook_secret(plain)
        row.save(update_fields=["webhook_secret", "previous_webhook_secret"])
        note(by, row, said)


def drop_previous_webhook_secret(connection_id: int, *, by: User) -> bool:
    """Let only the current webhook secret of a connection count; True if there was one before it."""
    with transaction.atomic():
        row = Connection.objects.select_for_update().get(pk=connection_id)
        if not row.previous_webhook_secret:
            return False
        row.drop_previous_webhook_secret()
        row.save(update_fields=["previous_webhook_secret"])
        note(by, row, "Previous webhook secret dropped")
    return True


def ask_for_test(connection_id: int) -> bool:
    """Have a worker test a connection; False where a test is under way."""
    free = Q(test_asked_at=None) | Q(test_asked_at__lte=F("last_test_at"))
    free |= Q(test_asked_at__lte=Now() - TEST_PATIENCE)
    with transaction.atomic():
        asked = Connection.objects.filter(free, pk=connection_id).update(test_asked_at=Now())
        if asked:
            ring_for("test_connection", connection_id)
    return bool(asked)


def test(connection_id: int) -> None:
    """Ask a connection for its models and keep what became of it; takes at most 20 s.

    The result is dropped if the connection was changed, or another test asked for, meanwhile.
    """
    connection = Connection.objects.filter(pk=connection_id).exclude(test_asked_at=None).first()
    if connection is None:
        return
    try:
        began = time.monotonic()
        models = models_at(connection)
    except BorderError as error:
        is_good, result = False, f"{error.code}: {error.message}"
    else:
        is_good, result = True, _seen(models, seconds=time.monotonic() - began)
    Connection.objects.filter(pk=connection_id, test_asked_at=connection.test_asked_at).update(
        last_test_at=Now(), last_test_result=result[:600], is_last_test_good=is_good
    )


def models_at(connection: Connection) -> list[dict[str, str | None]]:
    """Return the models that a connection lists, each with `id` and `shutdown_date`. Raises BorderError."""
    return openai_client.models(endpoint_of(connection))


def _seen(models: list[dict[str, str | None]], *, seconds: float) -> str:
    """Say what a list of models tells: how many, and which of the catalogue's are to be shut down."""
    ending: dict[dt.date, list[str]] = {}
    known = set(ModelSpec.objects.values_list("pk", flat=True))
    for model in models:
        day = _day(model["shutdown_date"])
        if model["id"] in known and day:
            ending.setdefault(day, []).append(str(model["id"]))
    said = [f"Key accepted in {seconds * 1000:.0f} ms, {len(models)} model{'s' * (len(models) != 1)} seen."]
    for day, names in sorted(ending.items()):
        listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        said.append(f"{listed} shut{'s' * (len(names) == 1)} down on {day:%-d %b %Y}.")
    return " ".join(said)


def _day(text: str | None) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text or "")
    except ValueError:
        return None


def mind_key() -> None:
    """Resume what paused for want of a key of this machine that is set; pause what nobody has the key of.

    An installation without the key leaves that connection's jobs to the others (`Job.objects.to_send`), for
    one machine's environment must not stop them all. When nobody takes them, it pauses: people see why.
    """
    here = sources_here()
    for source, name in _OF_THE_MACHINE.items():
        connections = Connection.objects.filter(key_source=source)
        if source in here:
            for found in connections.filter(paused_by=None, paused_reason__startswith="no_key:"):
                resume(found.pk)
            continue
        for found in _left_lying(connections):
            pause(found.pk, f"no_key: {name} is not set where Ponder runs. Set it there and start again.")


def _left_lying(connections: QuerySet[Connection]) -> QuerySet[Connection]:
    """Those that may be sent to and whose jobs nobody sends or asks for."""
    since = Now() - LEFT_LYING
    waiting = Job.objects.filter(
        project__connection=OuterRef("pk"), status=Status.WAITING, next_action_at__lte=since
    )
    # Final ones too: one that is asked for its usage holds money. And the attempt's connection, for a project
    # may have moved to another since.
    unasked = Job.objects.to_poll_anywhere(-LEFT_LYING).filter(
        attempt__connection=OuterRef("pk"), attempt__state=AttemptState.KNOWN
    )
    under_way = Attempt.objects.filter(
        connection=OuterRef("pk"), state__in=[AttemptState.SENDING, AttemptState.KNOWN], end_seen_at=None
    )
    # While polls are on time someone has the key: what waits then waits for room.
    is_waiting = Exists(waiting) & ~Exists(under_way)
    return connections.filter(
        Q(not_before=None) | Q(not_before__lte=since),
        Exists(unasked) | is_waiting,
        paused_at=None,
    )


def hold_back(connection_id: int, seconds: float) -> None:
    """Keep every cluster from sending through a connection for a while; what holds it back longer stays."""
    until = Now() + dt.timedelta(seconds=seconds)
    sooner = Q(not_before=None) | Q(not_before__lt=until)
    Connection.objects.filter(sooner, pk=connection_id).update(not_before=until)


def is_stopping() -> bool:
    """Tell whether the installation is being stopped: then nothing more is claimed."""
    stopping: bool = settings.STOP_FILE.exists()
    return stopping


def _log(what: str, connection_id: int) -> None:
    """Write a line once the caller's transaction has committed. Without the reason: it may be an API's."""
    if logger.isEnabledFor(logging.INFO):
        name = Connection.objects.values_list("name", flat=True).get(pk=connection_id)
        transaction.on_commit(lambda: logger.info(what, extra={"connection": name}))
