"""The beat: a task that this installation's workers run every few seconds, to prove that they are alive."""

import time
import uuid
from typing import Any

import django.db
from django.conf import settings
from django.db import connection
from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from jobs import lifecycle
from jobs.management import first_start

EVERY = 5.0  # seconds

type Message = tuple[int, str]


class Broker(ORM):  # type: ignore[misc]  # Django-Q is untyped
    """Django-Q's broker in our database; where it hands messages to workers it adds the beat to them."""

    _beat_at = float("-inf")

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:  # noqa: ARG004
        """Return the messages; unlike Django-Q's own it opens no connection: a cluster starts without any."""
        if not connection.in_atomic_block:
            django.db.close_old_connections()
        return OrmQ.objects

    def dequeue(self) -> list[Message]:
        """Return the next free messages, locked for us; wait a moment if there are none.

        A beat comes first, for it must not wait behind a backlog, and only where the database was just asked.
        """
        try:
            found = self._next()
        except django.db.Error:
            # Who is silent meanwhile is not to blame.
            settings.OUTAGE_FILE.touch()
            raise
        if time.monotonic() - self._beat_at < EVERY:
            return found
        self._beat_at = time.monotonic()
        return [_beat(), *found]

    def _next(self) -> list[Message]:
        queue = self.get_connection()
        free = list(queue.filter(key=self.list_key, lock__lt=timezone.now()).order_by("pk")[: Conf.BULK])
        if not free:
            time.sleep(Conf.POLL)
        # Compare and set: of several clusters that read the same row, one gets it.
        return [
            (message.pk, message.payload)
            for message in free
            if queue.filter(pk=message.pk, lock=message.lock).update(lock=self.timeout(message))
        ]


def stamp() -> None:
    """Note that a worker of this instance ran a task just now, and ring for work that nobody is doing.

    It says nothing while Ponder stops: the others have been told that these workers are gone.
    """
    settings.BEAT_FILE.touch()
    if settings.STOP_FILE.exists():
        return
    lifecycle.note_beat()
    note_practice()
    # A pump that was killed is replaced within a beat, not within the watchdog's minute.
    lifecycle.wake()


def note_practice() -> None:
    """Note in a file whether practice needs the sandbox, for the supervisor, who asks no database."""
    if first_start.needs_sandbox():
        settings.PRACTICE_FILE.touch()
    else:
        settings.PRACTICE_FILE.unlink(missing_ok=True)


def _beat() -> Message:
    """Return a message that is in no queue; 0 is the id of no row, so there is nothing to acknowledge."""
    task = {"id": uuid.uuid4().hex, "name": "beat", "func": stamp, "args": (), "kwargs": {}}
    return 0, SignedPackage.dumps({**task, "started": timezone.now()})
