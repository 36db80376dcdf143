"""The beat: a message through Django-Q that only this instance's workers take, to prove they are alive."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.tasks import async_task

from jobs import lifecycle

# Clusters of several machines share one queue: a beat in it could be answered by another machine's workers,
# which would prove nothing about ours. So every instance has a second queue of its own.
OWN_QUEUE = f"{settings.CLUSTER_NAME}-{settings.INSTANCE}"
STAMP: Path = settings.DATA_DIR / "run" / "beat"


class Broker(ORM):  # type: ignore[misc]  # Django-Q is untyped
    """Django-Q's broker in our database, which also serves this instance's own queue."""

    def dequeue(self) -> list[tuple[int, str]]:
        """Return the next free messages of both queues, locked for us; wait a moment if there are none."""
        keys = [self.list_key, OWN_QUEUE]
        queue = self.get_connection()
        # Our own queue sorts last by name and comes first: a beat must not wait behind a backlog.
        waiting = queue.filter(key__in=keys, lock__lt=timezone.now()).order_by("-key", "pk")
        free = list(waiting[: Conf.BULK])
        if not free:
            time.sleep(Conf.POLL)
        # Compare and set: of several clusters that read the same row, one gets it.
        return [
            (message.pk, message.payload)
            for message in free
            if queue.filter(pk=message.pk, lock=message.lock).update(lock=self.timeout(message))
        ]


@contextmanager
def briefly() -> Iterator[None]:
    """Open a transaction in which no statement lasts longer than 5 s; raise a database error if one would.

    The supervisor must not hang with the database: its other duties wait meanwhile.
    """
    connection.close_if_unusable_or_obsolete()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '5s'")
        yield


def ring() -> None:
    """Put a beat into the queue in place of the one before; raise a database error if that fails."""
    with briefly():
        OrmQ.objects.filter(key=OWN_QUEUE).delete()
        async_task(stamp, cluster=OWN_QUEUE)


def stamp() -> None:
    """Note that a worker of this instance ran a task just now, and ring for work that nobody is doing."""
    STAMP.touch()
    lifecycle.note_beat()
    # A pump that was killed is replaced within a beat, not within the watchdog's minute.
    lifecycle.wake()


def last() -> int:
    """Return a number that differs whenever a worker has answered since; 0 before the first answer."""
    try:
        return STAMP.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
