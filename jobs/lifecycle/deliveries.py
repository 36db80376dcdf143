"""Takes in what an API announces: asks for jobs that ended at once, and finds out whose else a response is.

An event is a hint and nothing more: a poll reads the response and books it, so late, doubled, missing and
reordered events do no harm.
"""

import datetime as dt
import logging
import uuid
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from django.db import OperationalError, connection, transaction
from django.db.models import DateTimeField, F
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from psycopg.errors import LockNotAvailable

from jobs.lifecycle.adoption import adopt
from jobs.lifecycle.connections import endpoint_of, hold_back, pause_for
from jobs.lifecycle.doorbell import ring, ring_unless_pumped
from jobs.lifecycle.transition import ASKED_NEXT
from jobs.models import UNASKABLE, Attempt, AttemptState, DeliveryState, Job, User, WebhookDelivery
from jobs.models.connections import sources_here
from jobs.models.questions import Blank, Statement
from jobs.models.trail import note
from jobs.notify import alarm
from jobs.openai_client import Blocked, Endpoint, NotFound, Outcome

# A look-up of a killed pump is done again after this long.
VISIBILITY = dt.timedelta(seconds=30)
# While a POST may still be answered, the response is perhaps its own: looked at again after this long.
WHILE_SENDING = dt.timedelta(seconds=5)
# For so long a delivery waits for a lock: three of them and the rest are within a second.
LOCK_PATIENCE = "250ms"
FIRST_BACK_OFF, LONGEST_BACK_OFF = 5.0, 600.0  # seconds between look-ups that failed
# What was announced as ended and is not found for so often belongs where our key does not lead.
MISSES_TO_GIVE_UP = 3
KEEP = dt.timedelta(days=30)
BATCH = 5_000  # rows deleted at once
FORGET_FOR = dt.timedelta(seconds=10)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Announcement:
    """A verified event; `response_id` is '' where it is about something else than a response."""

    webhook_id: str
    event_type: str
    response_id: str
    event_at: dt.datetime | None


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """One claimed delivery whose response is asked for, to see whose it is."""

    delivery_id: int
    connection_id: int
    response_id: str
    looks: int
    endpoint: Endpoint = field(repr=False)


class _Finding(NamedTuple):
    """Whose a response is, as far as the database knows."""

    attempt_id: int | None = None  # it is this one's, of this job and in this state
    job_id: int = 0
    state: str = ""
    is_open: bool = False  # it can be one's of which nobody knows the response
    is_asked: bool = False  # and nobody but us will find that out


def receive(connection_id: int, news: Announcement) -> bool:
    """Keep a delivery and make due what it announces, in one transaction; False for one that came before.

    It waits for no lock for longer than a moment: what is locked by then is looked up by a pump instead.
    """
    found = _find(connection_id, news.response_id)
    if found.is_open and not found.attempt_id and _is_known_as_foreign(connection_id, news.response_id):
        found = _Finding()
    state = DeliveryState.PENDING
    if found.attempt_id or not news.response_id:
        state = DeliveryState.DONE
    elif not found.is_open:
        state = DeliveryState.FOREIGN
    try:
        with transaction.atomic():
            if not _keep(connection_id, news, found, state):
                return False
            if found.attempt_id:
                _ask_for(found)
            elif state == DeliveryState.PENDING and found.is_asked:
                ring_unless_pumped("poll")
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        # Somebody is at its job or at the pump's lease: whoever delivers does not wait for that, a pump may.
        state = DeliveryState.PENDING if found.attempt_id else state
        with transaction.atomic():
            if not _keep(connection_id, news, _Finding(is_asked=True), state):
                return False
            ring("poll")
    return True


def refuse(connection_id: int, reason: str) -> None:
    """Count a delivery that was not taken, by hour and reason; nothing that came with it is kept."""
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    counted = WebhookDelivery.objects.filter(
        connection=connection_id, state=DeliveryState.REFUSED, note=reason, received_at__gte=hour
    )
    with transaction.atomic():
        # Two that come first at once make a row each: the next count in one of them, not in both.
        one = WebhookDelivery.objects.filter(pk=counted.order_by("pk").values("pk")[:1])
        if not one.update(repeats=F("repeats") + 1, handled_at=Now()):
            WebhookDelivery.objects.create(
                connection_id=connection_id, state=DeliveryState.REFUSED, note=reason, handled_at=Now()
            )
            # Once an hour: whoever knows the address could fill the log.
            logger.warning(
                "deliveries to the webhook of connection %d are refused: %s", connection_id, reason
            )


def handle_again(delivery_id: int, *, by: User) -> bool:
    """Handle a delivery as if it had just come; False for one that is about no response."""
    with transaction.atomic():
        found = WebhookDelivery.objects.select_for_update().get(pk=delivery_id)
        if not found.can_be_handled_again:
            return False
        _set(found.pk, DeliveryState.PENDING, next_look_at=Now(), handled_at=None, looks=0)
        note(by, found, "Handled again")
        ring("poll")
    return True


def claim_lookups(room: int) -> list[Lookup]:
    """Claim up to `room` due deliveries, settle what needs no question, and return what is to be asked."""
    with transaction.atomic():
        if not (ids := [pk for (pk,) in _due(tuple(sources_here())).ask(most=room)]):
            return []
        due = WebhookDelivery.objects.filter(pk__in=ids)
        claimed = list(due.select_related("connection").order_by("next_look_at"))
        due.update(next_look_at=Now() + VISIBILITY)
    found = [_lookup(delivery) for delivery in claimed]
    return [lookup for lookup in found if lookup is not None]


@lru_cache
def _due(here: tuple[str, ...]) -> Statement:  # noqa: ARG001 - what is due depends on it
    due = WebhookDelivery.objects.due().select_for_update(skip_locked=True, of=("self",))
    return Statement("{} LIMIT {}", due.order_by("next_look_at").values("pk"), Blank("most"))


def write_back(outcome: Outcome[Lookup]) -> None:
    """Adopt the response for the send that it names; one that names none of this connection's is foreign."""
    lookup, error = outcome.key, outcome.error
    if outcome.body is not None:
        _recognize(lookup, outcome.body, request_id=outcome.request_id)
        return
    if isinstance(error, NotFound) and lookup.looks >= MISSES_TO_GIVE_UP:
        _set(lookup.delivery_id, DeliveryState.FOREIGN, note="There is no response with that id.")
        return
    if isinstance(error, Blocked):
        pause_for(lookup.connection_id, error)
    wait = min(FIRST_BACK_OFF * 2 ** min(lookup.looks - 1, 10), LONGEST_BACK_OFF)
    if error is not None and error.retry_after is not None:
        hold_back(lookup.connection_id, error.retry_after)
        wait += error.retry_after
    _look_again(lookup.delivery_id, Now() + dt.timedelta(seconds=wait))


def forget_deliveries() -> int:
    """Delete the deliveries of 30 days ago, for at most some seconds; return how many."""
    until, before, forgotten = timezone.now() + FORGET_FOR, timezone.now() - KEEP, 0
    while timezone.now() < until:
        batch = WebhookDelivery.objects.forget(before, most=BATCH)
        forgotten += batch
        if batch < BATCH:
            break
    return forgotten


def _find(connection_id: int, response_id: str, *, by: dt.datetime | None = None) -> _Finding:
    """Look whose a response is that was announced by a moment, or just now."""
    if not response_id:
        return _Finding()
    return _Finding(*_whose().ask(connection=connection_id, response=response_id, by=by)[0])


@lru_cache
def _whose() -> Statement:
    # In one look: what is accepted meanwhile is found on the one side of it or on the other.
    mine = Attempt.objects.filter(connection=Blank("connection"))
    unheard = mine.unheard(Coalesce(Blank("by"), Now(), output_field=DateTimeField()))
    return Statement(
        "SELECT own.id, own.job_id, own.state, EXISTS ({}), EXISTS ({})"
        " FROM (SELECT) one LEFT JOIN LATERAL ({}) own(id, job_id, state) ON true",
        unheard.values("pk"),
        unheard.left_to_webhooks().values("pk"),
        mine.filter(response_id=Blank("response")).order_by().values_list("pk", "job_id", "state"),
    )


def _is_known_as_foreign(connection_id: int, response_id: str) -> bool:
    seen = WebhookDelivery.objects.filter(connection=connection_id, response_id=response_id)
    return seen.filter(state=DeliveryState.FOREIGN).exists()


def _keep(connection_id: int, news: Announcement, found: _Finding, state: DeliveryState) -> bool:
    """Store a delivery; count it if it is there already, also when two come at the same moment: False.

    From here on its transaction waits for no lock for longer than a moment.
    """
    wait = None
    if state == DeliveryState.PENDING:
        wait = 0.0 if found.is_asked else WHILE_SENDING.total_seconds()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO jobs_webhookdelivery (connection_id, webhook_id, event_type, response_id, attempt_id,
              state, note, repeats, looks, event_at, received_at, handled_at, next_look_at)
            SELECT %(connection)s, %(webhook_id)s, %(event_type)s, %(response_id)s, %(attempt)s::bigint,
              %(state)s, '', 0, 0, %(event_at)s::timestamptz, statement_timestamp(),
              CASE WHEN %(wait)s::float8 IS NULL THEN statement_timestamp() END,
              statement_timestamp() + %(wait)s::float8 * interval '1 second'
            FROM set_config('lock_timeout', %(patience)s, true)
            ON CONFLICT DO NOTHING
            """,
            {
                "connection": connection_id,
                "webhook_id": news.webhook_id,
                "event_type": news.event_type,
                "response_id": news.response_id,
                "attempt": found.attempt_id,
                "state": state,
                "event_at": news.event_at,
                "wait": wait,
                "patience": LOCK_PATIENCE,
            },
        )
        if cursor.rowcount:
            return True
    again = WebhookDelivery.objects.filter(connection=connection_id, webhook_id=news.webhook_id)
    again.update(repeats=F("repeats") + 1)
    return False


def _ask_for(found: _Finding) -> None:
    """Have a response that was announced as ended polled at once, unless nothing more is expected of it."""
    if found.state != AttemptState.KNOWN:
        return
    followed = Job.objects.filter(pk=found.job_id).exclude(status__in=UNASKABLE)
    if followed.update(**ASKED_NEXT):
        ring_unless_pumped("poll")


def _lookup(delivery: WebhookDelivery) -> Lookup | None:
    """Return what is to be asked about a claimed delivery; None where that is settled or put off."""
    found = _find(delivery.connection_id, delivery.response_id, by=delivery.received_at)
    if found.attempt_id:
        with transaction.atomic():
            _ask_for(found)
            _set(delivery.pk, DeliveryState.DONE, attempt=found.attempt_id)
        return None
    if not found.is_open:
        _set(delivery.pk, DeliveryState.FOREIGN)
        return None
    until = delivery.connection.not_before
    if until is not None and until > timezone.now():
        _look_again(delivery.pk, until)
        return None
    if not found.is_asked:
        _look_again(delivery.pk, Now() + WHILE_SENDING)
        return None
    try:
        endpoint = endpoint_of(delivery.connection)
    except Blocked as error:
        pause_for(delivery.connection_id, error)
        return None
    # Only what is asked counts: waits are no misses, and for weeks they would not fit the column.
    WebhookDelivery.objects.filter(pk=delivery.pk).update(looks=F("looks") + 1)
    return Lookup(
        delivery_id=delivery.pk,
        connection_id=delivery.connection_id,
        response_id=delivery.response_id,
        looks=delivery.looks + 1,
        endpoint=endpoint,
    )


def _recognize(lookup: Lookup, body: dict[str, Any], *, request_id: str) -> None:
    named = _named_in(body, lookup.connection_id)
    if named is None:
        _set(lookup.delivery_id, DeliveryState.FOREIGN, note="It names no send of this connection.")
        return
    with transaction.atomic():
        adopt(named.pk, lookup.response_id, request_id=request_id, how="webhook")
        named.refresh_from_db()
        if named.response_id != lookup.response_id:
            # Ours, and paid for, though that send has another response, or was surely not accepted.
            message = f"{lookup.response_id} names attempt {named.number}, which it cannot belong to."
            alarm("twin_response", f"{named.job.short_id}: {message} It is not booked.", job_id=named.job_id)
            _set(lookup.delivery_id, DeliveryState.FOREIGN, note=message[:200])
            return
        _set(lookup.delivery_id, DeliveryState.DONE, attempt=named)


def _named_in(body: dict[str, Any], connection_id: int) -> Attempt | None:
    """Return the send of a connection that a response names in its metadata."""
    metadata = body.get("metadata")
    try:
        nonce = uuid.UUID(str(metadata["ponder_attempt"])) if isinstance(metadata, dict) else None
    except (LookupError, ValueError):
        return None
    sent = Attempt.objects.filter(connection=connection_id, nonce=nonce) if nonce else Attempt.objects.none()
    return sent.select_related("job").first()


def _set(delivery_id: int, state: DeliveryState, **fields: Any) -> None:
    """Write down what became of a delivery; it is not looked at again unless `fields` say when."""
    fields = {"next_look_at": None, "handled_at": Now(), "note": "", **fields}
    WebhookDelivery.objects.filter(pk=delivery_id).update(state=state, **fields)


def _look_again(delivery_id: int, at: Any) -> None:
    WebhookDelivery.objects.filter(pk=delivery_id).update(next_look_at=at)
