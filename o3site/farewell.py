"""What is told and asked of the database when the workers stop."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from django.db import DatabaseError, connection, transaction

from jobs import lifecycle


def note_stop() -> None:
    """Tell the others that these workers are gone on purpose, as far as the database can be told."""
    with suppress(DatabaseError, OSError), _briefly():
        lifecycle.note_stop()


def await_sends(*, say: Callable[[str], None]) -> None:
    """Return when no POST of this installation is in progress; say it when one is.

    Without the database no answer can be stored, and there is nothing to wait for.
    """
    is_told = False
    with suppress(DatabaseError):
        while sends := _sends():
            if not is_told:
                noun = "send" if sends == 1 else "sends"
                say(f"Waiting for {sends} {noun} to be answered (Ctrl-C again leaves them unconfirmed)")
                is_told = True
            time.sleep(0.2)


def _sends() -> int:
    with _briefly():
        return lifecycle.sends_in_progress()


@contextmanager
def _briefly() -> Iterator[None]:
    """Open a transaction in which no statement lasts longer than 5 s; raise a database error if one would."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '5s'")
        yield
