"""The journal: one fsynced line for each accepted send, written before the database knows."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from jobs.lifecycle.adoption import adopt
from jobs.models import Attempt, AttemptState

logger = logging.getLogger(__name__)


def path() -> Path:
    """The journal of this installation."""
    folder: Path = settings.JOURNAL_DIR
    return folder / f"{settings.INSTANCE}.jsonl"


def write(attempt_id: int, response_id: str, request_id: str) -> None:
    """Append a line and force it to disk; other processes may append at the same time."""
    line = json.dumps({"attempt": attempt_id, "response_id": response_id, "request_id": request_id}) + "\n"
    path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One write of less than a page to an O_APPEND file is not interleaved with another's.
    descriptor = os.open(path(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replay() -> int:
    """Adopt every response the journal knows and the database does not; return how many. Idempotent."""
    unsure = set(
        Attempt.objects.filter(
            state__in=[AttemptState.SENDING, AttemptState.UNCONFIRMED], instance=settings.INSTANCE
        ).values_list("pk", flat=True)
    )
    # A send that was declared lost or paid may still be in the journal.
    unsure |= set(
        Attempt.objects.filter(
            state=AttemptState.ENDED, response_id="", instance=settings.INSTANCE, error_code__in=["lost", "assumed_paid"]
        ).values_list("pk", flat=True)
    )
    adopted = 0
    for line in _lines() if unsure else ():
        if line["attempt"] in unsure:
            with transaction.atomic():
                adopted += adopt(line["attempt"], line["response_id"], request_id=line["request_id"], how="journal")
    return adopted


def _lines() -> Iterator[dict[str, Any]]:
    if not path().exists():
        return
    with path().open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                entry = json.loads(line)
                yield {
                    "attempt": int(entry["attempt"]),
                    "response_id": str(entry["response_id"]),
                    "request_id": str(entry["request_id"]),
                }
            except (ValueError, KeyError, TypeError):
                # A kill can leave half a line; its answer is then found by webhook or by a person.
                logger.warning("a line of the journal cannot be read")
