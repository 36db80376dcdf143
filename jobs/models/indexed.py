"""Asks questions of which an index knows the answer, whatever the planner thinks of it."""

from collections.abc import Sequence
from typing import Any

from django.db import connection

# The planner may count on finding the first few rows it wants early in the table. It cannot know which those
# are when that is left open, nor that long texts are stored apart and take their time to be read.
BY_INDEX = "SET LOCAL enable_seqscan = off; {}; SET LOCAL enable_seqscan TO DEFAULT"
# Where it takes a busy project for an average one, it reads all that there is of a kind, to sort it.
IN_ORDER = f"SET LOCAL enable_bitmapscan = off; {BY_INDEX}; SET LOCAL enable_bitmapscan TO DEFAULT"


def by_index(sql: str, params: Sequence[Any], *, in_order: bool = False) -> list[tuple[Any, ...]]:
    """Return the rows of one SELECT that reads no table from end to end.

    With `in_order` it also reads each index in its own order, of which a limit leaves only the first rows.
    Several statements sent at once are one transaction, so nothing of the settings stays behind.
    """
    asked = IN_ORDER if in_order else BY_INDEX
    with connection.cursor() as cursor:
        cursor.execute(asked.format(sql), params)
        for _ in range(asked.partition("{}")[0].count(";")):
            cursor.nextset()
        return list(cursor.fetchall())
