"""Asks questions of which an index knows the answer, whatever the planner thinks of it."""

from collections.abc import Sequence
from typing import Any

from django.db import connection

# The planner may count on finding the first few rows it wants early in the table. It cannot know which those
# are when that is left open, nor that long texts are stored apart and take their time to be read.
BY_INDEX = "SET LOCAL enable_seqscan = off; {}; SET LOCAL enable_seqscan TO DEFAULT"


def by_index(sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of one SELECT that reads no table from end to end.

    Several statements sent at once are one transaction, so nothing of the setting stays behind.
    """
    with connection.cursor() as cursor:
        cursor.execute(BY_INDEX.format(sql), params)
        cursor.nextset()
        return list(cursor.fetchall())
