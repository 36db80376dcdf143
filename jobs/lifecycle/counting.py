"""Counts what becomes of sends, polls and jobs, and how long they take, for those who watch Ponder."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from typing import Any

from jobs.models import Counted, Status, Tally
from jobs.openai_client import (
    Blocked,
    BorderError,
    NotFound,
    NotSent,
    OutcomeUnknown,
    Rejected,
    Retryable,
)

_WORDS: dict[type[BorderError], str] = {
    NotSent: "not_sent",
    Retryable: "retryable",
    Blocked: "blocked",
    Rejected: "rejected",
    NotFound: "not_found",
    OutcomeUnknown: "outcome_unknown",
}
ERRORS = tuple(_WORDS.values())


def count_accepted(sends: Iterable[tuple[int, dt.datetime]]) -> None:
    """Count accepted POSTs by their connections, and how long after their jobs were due they were."""
    Tally.objects.add_accepted(sends)


def count_refused(connection_id: int, error: BorderError) -> None:
    """Count a POST that was not accepted, surely or perhaps."""
    Tally.objects.add(Counted.SEND, connection_id, _WORDS[type(error)])


def count_polls(polls: Iterable[tuple[int, BorderError | dict[str, Any]]]) -> None:
    """Count what polls found, each with its connection: a response, by its own word, or an error."""
    found = Counter((connection_id, _found(answer)) for connection_id, answer in polls)
    Tally.objects.add_all(Counted.POLL, found.items())


def count_end(job_id: int, status: Status) -> None:
    """Count a job that has ended."""
    Tally.objects.add_end(job_id, status)


def count_detection(connection_id: int, body: dict[str, Any]) -> None:
    """Count how long an end upstream was not known here, where the response says when it was.

    `completed_at` is in whole seconds and stands in completed responses only (openai-python, Response).
    """
    moment = body.get("completed_at")
    if not isinstance(moment, int | float) or isinstance(moment, bool):
        return
    try:
        ended_at = dt.datetime.fromtimestamp(moment, dt.UTC)
    except (ValueError, OverflowError, OSError):
        return  # no moment of this world
    Tally.objects.time(Counted.DETECTED, connection_id, ended_at)


def _found(answer: BorderError | dict[str, Any]) -> str:
    if isinstance(answer, BorderError):
        return _WORDS[type(answer)]
    status = str(answer.get("status"))
    # The API's words alone: a label that anyone could invent would have no end.
    return status if status in Status.values else "unknown_word"
