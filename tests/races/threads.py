"""Runs functions at the same moment on connections of their own."""

import threading
from collections.abc import Callable, Iterable

from django.db import connection


def at_once[T](functions: Iterable[Callable[[], T]]) -> list[T | Exception]:
    """Run each function in a thread with its own connection, all let go together; return what each came to.

    An exception is returned in its place.
    """
    wanted = list(functions)
    gate = threading.Barrier(len(wanted))
    found: list[T | Exception | None] = [None] * len(wanted)

    def run(place: int, function: Callable[[], T]) -> None:
        try:
            connection.ensure_connection()
            gate.wait(timeout=30)
            found[place] = function()
        except Exception as error:
            gate.abort()
            found[place] = error
        finally:
            connection.close()

    threads = [
        threading.Thread(target=run, args=(place, function), daemon=True)
        for place, function in enumerate(wanted)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "a race did not end: a deadlock that PostgreSQL cannot see"
    return found  # type: ignore[return-value]  # every place was filled by its thread
