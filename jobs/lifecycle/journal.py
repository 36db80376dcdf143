"""The journal: one fsynced line for each accepted send, written before the database knows."""

import json
import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from jobs.lifecycle.adoption import DECLARED, adopt
from jobs.models import Attempt, AttemptState

logger = logging.getLogger(__name__)


def path() -> Path:
    """The journal of this installation."""
    folder: Path = settings.JOURNAL_DIR
    return folder / f"{settings.INSTANCE}.jsonl"


def write(nonce: uuid.UUID, response_id: str, request_id: str) -> None:
    """Append a line for the attempt of a nonce and force it to disk; other processes may append too.

    The nonce and not the row's number: a database that was restored or made anew gives numbers again.
    """
    line = json.dumps({"attempt": str(nonce), "response_id": response_id, "request_id": request_id})
    path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One write of less than a page to an O_APPEND file is not interleaved with another's. It begins a line
    # of its own, for a kill may have left half of one.
    descriptor = os.open(path(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"\n{line}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replay() -> int:
    """Adopt every response the journal knows and the database does not; return how many. Idempotent."""
    sent = Q(state__in=[AttemptState.SENDING, AttemptState.UNCONFIRMED])
    # A send that was declared lost or paid may still be in the journal.
    declared = Q(state=AttemptState.ENDED, response_id="", error_code__in=DECLARED)
    mine = Attempt.objects.filter(sent | declared, instance=settings.INSTANCE)
    unsure: dict[uuid.UUID, int] = dict(mine.values_list("nonce", "pk"))
    adopted = 0
    for nonce, response_id, request_id in _lines() if unsure else ():
        if nonce in unsure:
            with transaction.atomic():
                adopted += adopt(unsure[nonce], response_id, request_id=request_id, how="journal")
    return adopted


def _lines() -> Iterator[tuple[uuid.UUID, str, str]]:
    if not path().exists():
        return
    with path().open(encoding="utf-8", errors="replace") as file:
        for line in filter(str.strip, file):
            try:
                entry = json.loads(line)
                yield uuid.UUID(entry["attempt"]), str(entry["response_id"]), str(entry["request_id"])
            except (ValueError, KeyError, TypeError, AttributeError):
                # A kill can leave half a line; its answer is then found by webhook or by a person.
                logger.warning("a line of the journal cannot be read")
