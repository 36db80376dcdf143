"""Runs a pump: for some seconds under a lease, as long as rows fall due, then hands on to the next."""

import datetime as dt
import logging
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, cast

from django.conf import settings
from django.db import Error, OperationalError, connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs.lifecycle import claiming, deliveries, polling, replanning, sending
from jobs.lifecycle.connections import is_stopping
from jobs.lifecycle.doorbell import PumpKind, once, ring
from jobs.lifecycle.journal import replay, write
from jobs.models import Job, PumpLease, WebhookDelivery
from jobs.models.connections import sources_here
from jobs.models.questions import BY_INDEX, Blank, Statement
from jobs.openai_client import Outcome, Session

CLAIM_FOR = {"send": 15.0, "poll": 20.0}  # seconds a pump claims
# Seconds a send pump claims while it has POSTs to wait for: no job of another connection waits for an API
# that hangs. A send may then take 10 s to be counted, 60 s to be answered, and until its lease ends to be
# written down, all within the task's timeout, which must never fire inside a POST.
CLAIM_BESIDE = 120.0
ROUND = 0.2  # seconds between looks for due rows
LEASE = dt.timedelta(seconds=10)  # renewed as it runs: a killed pump is replaced soon
RENEW_EVERY = 2.0  # seconds
# A connection may hold as many as it leaves free, 32 and 100 if it is alone: one that hangs leaves the others
# room.
SENDS_AT_ONCE = 64
POLLS_AT_ONCE = 200
WRITE_AGAIN = 1.0  # seconds until what could not be written down is tried again
CHORES_EVERY = 5.0  # seconds

type Asked = polling.Poll | deliveries.Lookup  # what a poll pump asks for

logger = logging.getLogger(__name__)


def run_pump(kind: PumpKind) -> None:
    """Run the pump of a kind if no other holds its lease; returns when nothing falls due before its end."""
    with _lease(kind) as lease:
        if lease is None:
            return
        if kind == "send":
            _send(lease)
        else:
            _poll(lease)


class _Lease:
    """The right to pump, renewed every two seconds by `alive`."""

    def __init__(self, kind: PumpKind, holder: uuid.UUID) -> None:
        self.kind, self.holder = kind, holder
        self.began = self.renewed = time.monotonic()
        self.is_lost = False

    def renew(self) -> None:
        """Renew it when it is time; notice that another pump took it while this one was held up."""
        if time.monotonic() - self.renewed >= RENEW_EVERY:
            self.renewed = time.monotonic()
            mine = PumpLease.objects.filter(holder=self.holder)
            self.is_lost = not mine.update(expires_at=Now() + LEASE)

    def goes_on(self, *, is_busy: bool = False) -> bool:
        """Tell whether to claim another round: not stopping, lease and time left, something due within it.

        A busy pump has something to wait for anyway: it may claim for longer, but only what is due now.
        """
        self.renew()
        left = (CLAIM_BESIDE if is_busy else CLAIM_FOR[self.kind]) - (time.monotonic() - self.began)
        if self.is_lost or left <= 0 or is_stopping():
            return False
        return falls_due(self.kind, within=0 if is_busy else left)


def falls_due(kind: PumpKind, *, within: float) -> bool:
    """Tell whether a row of this kind falls due within some seconds."""
    [(is_due,)] = _due(kind, tuple(sources_here())).ask(within=dt.timedelta(seconds=within))
    return bool(is_due)


@lru_cache
def _due(kind: PumpKind, here: tuple[str, ...]) -> Statement:  # noqa: ARG001 - what is due depends on it
    span = Blank("within")
    rows: list[QuerySet[Any]]
    if kind == "send":
        rows = [Job.objects.to_send(span), Job.objects.to_reap(span)]
    else:
        rows = [Job.objects.to_poll(span), WebhookDelivery.objects.due(span)]
    looks = (one.order_by().values("pk") for one in rows)
    return Statement("SELECT EXISTS ({}) OR EXISTS ({})", *looks, hint=BY_INDEX)


# Takes the lease of a pump if nobody has it; the first pump of an installation makes it.
_TAKE = """
INSERT INTO jobs_pumplease AS l (kind, instance, holder, expires_at)
VALUES (%(kind)s, %(instance)s, %(holder)s, statement_timestamp() + %(span)s::interval)
ON CONFLICT (kind, instance) DO UPDATE SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at
WHERE l.holder IS NULL OR l.expires_at <= statement_timestamp()"""


@contextmanager
def _lease(kind: PumpKind) -> Iterator[_Lease | None]:
    holder = uuid.uuid4()
    with connection.cursor() as cursor:
        cursor.execute(
            _TAKE,
            {"kind": kind, "instance": settings.INSTANCE, "holder": holder, "span": f"{LEASE.seconds} s"},
        )
        is_taken = cursor.rowcount == 1
    if not is_taken:
        yield None
        return
    try:
        yield _Lease(kind, holder)
    finally:
        # In one transaction: a row that falls due after the look is not lost between two pumps.
        with transaction.atomic():
            freed = PumpLease.objects.filter(holder=holder).update(holder=None, expires_at=Now())
            if freed and not is_stopping() and falls_due(kind, within=CLAIM_FOR[kind]):
                ring(kind)


def _send(lease: _Lease) -> None:
    replay()
    _do_chores()
    done = time.monotonic()
    with Session[sending.Send](concurrency=SENDS_AT_ONCE, on_created=_journal) as session:
        sends = _Sends(session)
        try:
            while (may_claim := lease.goes_on(is_busy=sends.is_busy)) or sends.is_busy:
                if time.monotonic() - done > CHORES_EVERY:
                    _do_chores()
                    done = time.monotonic()
                if may_claim:
                    sends.claim()
                sends.write_down()
        finally:
            # What is on the wire costs money, whatever has gone wrong here: its outcome is written down, and
            # under the lease, for a second pump would take the worker that is left for the beat.
            while sends.is_busy:
                with suppress(Error):
                    lease.renew()
                sends.write_down()


def _do_chores() -> None:
    """Decide about sends whose lease has ended, and hold anew what waits at a price of the past."""
    for chore in (sending.reap, replanning.replan_due):
        try:
            chore()
        except Exception as error:
            # The rest can be sent all the same: a claim leaves out what is not held at today's price.
            logger.error("%s failed (%s)", chore.__name__, type(error).__name__)


class _Sends:
    """The sends of one pump, each until its outcome is written down or its lease has ended."""

    def __init__(self, session: Session[sending.Send]) -> None:
        self._session = session
        self._open: dict[sending.Send, float] = {}  # and the end of each lease, monotonic seconds
        self._unwritten: list[Outcome[sending.Send]] = []
        self._again_at = 0.0

    @property
    def is_busy(self) -> bool:
        return bool(self._open)

    def claim(self) -> None:
        """Claim what is due and there is room for, and begin to send it."""
        until = time.monotonic() + sending.LEASE.total_seconds()
        busy = Counter(send.connection_id for send in self._open)
        under_way = sum(send.size for send in self._open)
        for send in claiming.claim_sends(SENDS_AT_ONCE - busy.total(), busy, under_way=under_way):
            self._open[send] = until
            self._session.create(send, send.endpoint, send.body, bound=send.bound)

    def write_down(self) -> None:
        """Write down the outcomes that are there, or come within a moment; none waits for one that fails."""
        for outcome in self._accept(self._session.outcomes(ROUND)):
            self._write(outcome, is_first=True)
        if self._unwritten and time.monotonic() >= self._again_at:
            self._again_at = time.monotonic() + WRITE_AGAIN
            again, self._unwritten = self._unwritten, []
            for outcome in again:
                self._write(outcome, is_first=False)

    def _accept(self, outcomes: Sequence[Outcome[sending.Send]]) -> Sequence[Outcome[sending.Send]]:
        """Write down at once what was accepted; return what has to be written one by one."""
        accepted = [outcome for outcome in outcomes if outcome.error is None]
        if len(accepted) < 2:
            return outcomes
        try:
            left = set(map(id, sending.write_back_accepted(accepted)))
        except Exception:
            # Of which one it comes, and what to do about it, is seen when each is written by itself.
            _close_if_dropped()
            return outcomes
        for outcome in accepted:
            if id(outcome) not in left:
                del self._open[outcome.key]
        return [outcome for outcome in outcomes if outcome.error is not None or id(outcome) in left]

    def _write(self, outcome: Outcome[sending.Send], *, is_first: bool) -> None:
        send = outcome.key
        try:
            sending.write_back(outcome)
        except Exception as error:
            _close_if_dropped()
            is_over = time.monotonic() >= self._open[send]
            if is_first or is_over:
                # Only the kind of error: its text could hold a row.
                end = "is left to the reaper" if is_over else "is tried again"
                kind = type(error).__name__
                logger.error(
                    "writing down what became of attempt %d failed (%s): it %s", send.attempt_id, kind, end
                )
            if not is_over:
                self._unwritten.append(outcome)
                return
        del self._open[send]


def _close_if_dropped() -> None:
    """Close a session that the database has dropped: it is not opened anew as long as it is not closed."""
    if not connection.is_usable():
        connection.close()


def _journal(send: sending.Send, response_id: str, request_id: str) -> None:
    write(send.nonce, response_id, request_id)


def _poll(lease: _Lease) -> None:
    stretched, measured = polling.stretch(), time.monotonic()
    busy: Counter[int] = Counter()  # slots, by connection
    with Session[Asked](concurrency=POLLS_AT_ONCE) as session:
        while lease.goes_on():
            if time.monotonic() - measured > 5:
                stretched, measured = polling.stretch(), time.monotonic()
            room = POLLS_AT_ONCE - session.in_progress
            for poll in polling.claim_polls(room, busy) if room > 0 else ():
                busy[poll.connection_id] += 1
                if poll.asks_cancel:
                    session.cancel(poll, poll.endpoint, poll.response_id)
                else:
                    session.retrieve(poll, poll.endpoint, poll.response_id)
            room = POLLS_AT_ONCE - session.in_progress
            for lookup in deliveries.claim_lookups(room) if room > 0 else ():
                busy[lookup.connection_id] += 1
                session.retrieve(lookup, lookup.endpoint, lookup.response_id)
            outcomes = session.outcomes(ROUND)
            busy.subtract(outcome.key.connection_id for outcome in outcomes)
            _write_down(outcomes, stretched=stretched)
        # What was claimed is answered or comes back after its visibility; when stopping, it is cut off.
        until = time.monotonic() + 12
        while session.in_progress and time.monotonic() < until and not is_stopping():
            lease.renew()
            _write_down(session.outcomes(ROUND), stretched=stretched)


def _write_down(outcomes: Sequence[Outcome[Asked]], *, stretched: float) -> None:
    """Write down what polls and look-ups found; one that fails comes back after its visibility."""
    polls = [outcome for outcome in outcomes if isinstance(outcome.key, polling.Poll)]
    with once():
        _write_polls(cast(list[Outcome[polling.Poll]], polls), stretched=stretched)
    lookups = [outcome for outcome in outcomes if isinstance(outcome.key, deliveries.Lookup)]
    for lookup in cast(list[Outcome[deliveries.Lookup]], lookups):
        try:
            deliveries.write_back(lookup)
        except OperationalError:
            raise
        except Exception as error:
            delivery_id, kind = lookup.key.delivery_id, type(error).__name__
            logger.error("writing down whose response delivery %d is about failed (%s)", delivery_id, kind)


def _write_polls(outcomes: Sequence[Outcome[polling.Poll]], *, stretched: float) -> None:
    """Write polls down in bulk, one by one where that fails; a lost one comes back after its visibility."""
    try:
        polling.write_back(outcomes, stretched=stretched)
    except OperationalError:  # the database's trouble, not a response's
        raise
    except Exception as error:
        if len(outcomes) > 1:
            for outcome in outcomes:
                _write_polls([outcome], stretched=stretched)
        else:
            # Only the kind of error: its text could hold a row.
            attempt_id, kind = outcomes[0].key.attempt_id, type(error).__name__
            logger.error("writing down what a poll of attempt %d found failed (%s)", attempt_id, kind)
