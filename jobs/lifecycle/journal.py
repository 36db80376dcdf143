"""The journal: one fsynced line for each accepted send, written before the database knows."""

import contextlib
import datetime as dt
import fcntl
import json
import logging
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from jobs.lifecycle.adoption import adopt
from jobs.models import DECLARED, Attempt, AttemptState

# Upstream keeps a stored response for 30 days (openai-python, response_create_params). Until then a line is
# worth keeping also when its attempt has ended: a database restored from a backup has forgotten that.
KEEP = dt.timedelta(days=30)
TRIM_EVERY = dt.timedelta(days=1)

logger = logging.getLogger(__name__)


def path() -> Path:
    """The journal of this installation."""
    folder: Path = settings.JOURNAL_DIR
    return folder / f"{settings.INSTANCE}.jsonl"


def write(nonce: uuid.UUID, response_id: str, request_id: str) -> None:
    """Append a line for the attempt of a nonce and force it to disk; other processes may append too.

    The nonce and not the row's number: a database that was restored or made anew gives numbers again. Raises
    OSError where it could not be written whole.
    """
    line = json.dumps(
        {
            "attempt": str(nonce),
            "response_id": response_id,
            "request_id": request_id,
            "written_at": int(time.time()),
        }
    )
    with _alone():
        # It begins a line of its own, for a kill may have left half of one.
        _put(path(), f"\n{line}\n".encode(), os.O_APPEND)


def replay() -> int:
    """Adopt every response the journal knows and the database does not; return how many. Idempotent."""
    unsure = _unsure(instance=settings.INSTANCE)
    adopted = _adopt(unsure, _search.found(set(unsure))) if unsure else 0
    try:
        _tidy()
    except OSError as error:
        logger.error("the journal could not be tidied (%s)", error.strerror)
    return adopted


def replay_copied() -> int:
    """Adopt what any journal in the folder knows, where others lie beside this installation's own.

    They come with a backup of several machines. What one of them was sending when it was made, another may
    have sent since: every line counts, whoever wrote it. Returns how many were adopted.
    """
    journals = sorted(path().parent.glob("*.jsonl"))
    if journals in ([], [path()]):
        return 0
    unsure, adopted = _unsure(), 0
    for journal in journals if unsure else ():
        with journal.open("rb") as file:
            adopted += _adopt(unsure, (line for line in map(_parse, file) if line and line.nonce in unsure))
    return adopted


def _unsure(**of: str) -> dict[uuid.UUID, int]:
    """Return the attempts that a journal may tell of, by nonce."""
    sent = Q(state__in=[AttemptState.SENDING, AttemptState.UNCONFIRMED])
    # A send that was declared lost or paid may still be in the journal.
    declared = Q(state=AttemptState.ENDED, response_id="", error_code__in=DECLARED)
    return dict(Attempt.objects.filter(sent | declared, **of).values_list("nonce", "pk"))


def _adopt(unsure: dict[uuid.UUID, int], lines: "Iterable[_Line]") -> int:
    adopted = 0
    for line in lines:
        with transaction.atomic():
            adopted += adopt(unsure[line.nonce], line.response_id, request_id=line.request_id, how="journal")
    return adopted


@dataclass(frozen=True, slots=True)
class _Line:
    nonce: uuid.UUID
    response_id: str
    request_id: str
    written_at: float  # seconds since 1970; 0 where it does not say


def _parse(line: bytes) -> _Line | None:
    """Read a line; None if it is none."""
    try:
        entry = json.loads(line)
        return _Line(
            uuid.UUID(entry["attempt"]),
            str(entry["response_id"]),
            str(entry["request_id"]),
            float(entry.get("written_at", 0)),
        )
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None


class _Search:
    """Looks for attempts, and remembers how far it has read in vain.

    A send may stay unconfirmed for days: then only what was appended since is read, not all of it by every
    pump.
    """

    def __init__(self) -> None:
        self._file = (0, 0)  # device and inode: a trimmed journal is another file
        self._end = 0  # bytes read of it
        self._nonces: set[uuid.UUID] = set()
        self.has_met_damage = False

    def found(self, nonces: set[uuid.UUID]) -> Iterator[_Line]:
        """Yield the lines of these attempts that this search has not yielded before."""
        if not path().exists():
            return
        with path().open("rb") as file:
            stat = os.fstat(file.fileno())
            identity = (stat.st_dev, stat.st_ino)
            if identity == self._file and stat.st_size >= self._end and nonces <= self._nonces:
                file.seek(self._end)
            end = file.tell()
            # Forgotten until the end is reached: what was not adopted for an error is looked for again.
            self._nonces = set()
            met = set()
            for text in file:
                line = _parse(text)
                if line is not None and line.nonce in nonces:
                    met.add(line.nonce)
                    yield line
                if text.endswith(b"\n"):  # the last one may be half written yet
                    end += len(text)
                    self.has_met_damage |= line is None and bool(text.strip())
        # One that was met and is unsure still is looked for from the beginning: its id may come free.
        self._file, self._end, self._nonces = identity, end, nonces - met


_search = _Search()


def _tidy() -> None:
    """Set lines that nobody can read aside, and once a day forget the old ones that are of no use."""
    # Its lock file's age tells every process when it was last done.
    lock = _beside(".lock")
    is_due = lock.exists() and time.time() - lock.stat().st_mtime > TRIM_EVERY.total_seconds()
    if not (is_due or _search.has_met_damage):
        return
    _search.has_met_damage = False
    over: set[uuid.UUID] = set()
    if is_due:
        # First: what fails is tried again tomorrow, not by every pump.
        os.utime(lock)
        limit = time.time() - KEEP.total_seconds()
        old = {line.nonce for line in map(_parse, _lines()) if line is not None and line.written_at < limit}
        # Asked before the journal is locked, so that no answer has to wait for the database.
        over = old - set(Attempt.objects.exclude(state=AttemptState.ENDED).values_list("nonce", flat=True))
    _rewrite(without=over)


def _rewrite(*, without: set[uuid.UUID]) -> None:
    """Write the journal anew without the lines of some attempts; unreadable ones go to a file beside it.

    Nobody appends meanwhile, for a writer opens the journal only while it holds the lock. A kill loses
    nothing: until it is renamed, the new file is not the journal.
    """
    with _alone():
        kept, damaged = [], []
        for text in _lines():
            line = _parse(text)
            if line is None:
                damaged.append(text)
            elif line.nonce not in without:
                kept.append(text)
        if damaged:
            # A kill can leave half a line; its answer is then found by webhook or by a person.
            aside = _beside(".unreadable")
            _put(aside, b"\n".join([*damaged, b""]), os.O_APPEND)
            logger.warning("unreadable lines of the journal, set aside in %s: %d", aside.name, len(damaged))
        new = _beside(".new")
        _put(new, b"\n".join([*kept, b""]), os.O_TRUNC)
        new.rename(path())
        # Without it a power cut could bring the old file back, and lose what is appended to the new one.
        folder = os.open(path().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _lines() -> Iterable[bytes]:
    """Return the lines of the journal that are not empty."""
    return filter(None, path().read_bytes().splitlines()) if path().exists() else ()


def _put(target: Path, content: bytes, flag: int) -> None:
    """Write to a file, whole, and force it to disk."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | flag, 0o600)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(suffix: str) -> Path:
    return path().with_suffix(suffix)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Keep every other process from appending to the journal and from trimming it; a kill frees the lock."""
    path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(_beside(".lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
