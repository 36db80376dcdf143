"""What the database is told and asked when the workers stop: in SQL, for models take a second to load."""

import time
from collections.abc import Callable
from contextlib import suppress

import django
from django.conf import settings
from django.db import DatabaseError, connection, transaction


def note_stop() -> None:
    """Tell the others that these workers are gone on purpose, as far as the database can be told.

    Where sends are in doubt the journal is told first; if it cannot be, this installation counts as silent.
    """
    with suppress(DatabaseError, OSError):
        if _ask("SELECT id FROM jobs_attempt WHERE instance = %s AND state IN ('sending', 'unconfirmed')"):
            django.setup()
            from jobs import lifecycle

            lifecycle.replay()
        _ask("UPDATE jobs_installation SET stopped_at = statement_timestamp() WHERE instance = %s")


def await_sends(*, say: Callable[[str], None]) -> None:
    """Return when no POST of this installation is in progress; say it when one is.

    Without the database no answer can be stored, and there is nothing to wait for.
    """
    is_told = False
    with suppress(DatabaseError):
        while sends := sends_in_progress():
            if not is_told:
                noun = "send" if sends == 1 else "sends"
                say(f"Waiting for {sends} {noun} to be answered (Ctrl-C again leaves them unconfirmed)")
                is_told = True
            time.sleep(0.2)


def sends_in_progress() -> int:
    """Return how many POSTs of ours may be on the wire now: see `Attempt.objects.on_the_wire`."""
    return _ask(
        "SELECT id FROM jobs_attempt WHERE instance = %s AND state = 'sending'"
        " AND lease_expires_at > statement_timestamp()"
    )


def _ask(sql: str) -> int:
    """Run a statement about this installation; return how many rows it is about.

    A database error is raised also when it lasts longer than 5 s.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '5s'")
        cursor.execute(sql, [settings.INSTANCE])
        return int(cursor.rowcount)
