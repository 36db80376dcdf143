"""Runs a pump: for at most 20 s under a lease, as long as rows fall due, then hands on to the next."""

import datetime as dt
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from jobs.lifecycle import polling, sending
from jobs.lifecycle.connections import is_stopping
from jobs.lifecycle.doorbell import PumpKind, ring
from jobs.lifecycle.journal import replay, write
from jobs.models import Job, PumpLease
from jobs.openai_client import Session

# Seconds a pump claims. A send may then take 10 s to be counted and 60 s to be answered, all within the
# task's timeout of 90 s, which must never fire inside a POST.
CLAIM_FOR = {"send": 15.0, "poll": 20.0}
ROUND = 0.2  # seconds between looks for due rows
LEASE = dt.timedelta(seconds=10)  # renewed as it runs: a killed pump is replaced soon
RENEW_EVERY = 2.0  # seconds
SENDS_AT_ONCE = 32
POLLS_AT_ONCE = 100


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

    @property
    def left(self) -> float:
        """Seconds for which it may still claim."""
        return CLAIM_FOR[self.kind] - (time.monotonic() - self.began)

    def renew(self) -> None:
        if time.monotonic() - self.renewed >= RENEW_EVERY:
            self.renewed = time.monotonic()
            PumpLease.objects.filter(holder=self.holder).update(expires_at=Now() + LEASE)

    def goes_on(self) -> bool:
        """Tell whether to claim another round: not stopping, time left, and something falls due within it."""
        self.renew()
        return not is_stopping() and self.left > 0 and falls_due(self.kind, within=self.left)


def falls_due(kind: PumpKind, *, within: float) -> bool:
    """Tell whether a row of this kind falls due within some seconds."""
    span = dt.timedelta(seconds=within)
    if kind == "send":
        return Job.objects.to_send(span).exists() or Job.objects.to_reap(span).exists()
    return Job.objects.to_poll(span).exists()


@contextmanager
def _lease(kind: PumpKind) -> Iterator[_Lease | None]:
    holder = uuid.uuid4()
    PumpLease.objects.get_or_create(kind=kind, instance=settings.INSTANCE)
    free = Q(holder=None) | Q(expires_at__lte=Now())
    taken = PumpLease.objects.filter(free, kind=kind, instance=settings.INSTANCE).update(
        holder=holder, expires_at=Now() + LEASE
    )
    if not taken:
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
    with Session[sending.Send](concurrency=SENDS_AT_ONCE, on_created=_journal) as session:
        while lease.goes_on():
            sending.reap()
            for send in sending.claim_sends(SENDS_AT_ONCE - session.sending):
                session.create(send, send.endpoint, send.body, bound=send.bound)
            _write_sends(session)
        while session.sending:
            lease.renew()
            _write_sends(session)


def _write_sends(session: Session[sending.Send]) -> None:
    for outcome in session.outcomes(ROUND):
        sending.write_back(outcome)


def _journal(send: sending.Send, response_id: str, request_id: str) -> None:
    write(send.nonce, response_id, request_id)


def _poll(lease: _Lease) -> None:
    stretched, measured = polling.stretch(), time.monotonic()
    with Session[polling.Poll](concurrency=POLLS_AT_ONCE) as session:
        while lease.goes_on():
            if time.monotonic() - measured > 5:
                stretched, measured = polling.stretch(), time.monotonic()
            room = 2 * POLLS_AT_ONCE - session.in_progress
            for poll in polling.claim_polls(room) if room > 0 else ():
                if poll.asks_cancel:
                    session.cancel(poll, poll.endpoint, poll.response_id)
                else:
                    session.retrieve(poll, poll.endpoint, poll.response_id)
            polling.write_back(session.outcomes(ROUND), stretched=stretched)
        # What was claimed is answered or comes back after its visibility; when stopping, it is cut off.
        until = time.monotonic() + 12
        while session.in_progress and time.monotonic() < until and not is_stopping():
            lease.renew()
            polling.write_back(session.outcomes(ROUND), stretched=stretched)
