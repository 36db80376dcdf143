"""Write log lines, and keep what people wrote out of them: an error is told by its type and places alone."""

import datetime as dt
import json
import logging
import re
import traceback
from types import TracebackType
from typing import Any

FRAME = re.compile(r'  File "[^"\n]+", line \d+, in [\w<>.]+')
TYPE = re.compile(r"[A-Za-z_][\w.]*")
# What a record may say it is about, beside its message: names and ids, never content.
ABOUT = ("job", "attempt", "connection")


class Formatter(logging.Formatter):
    """Formats exceptions without their messages: a database's holds rows, a parser's holds answers."""

    def formatException(
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        """Return type and places of an exception and of those that led to it, the first one first."""
        lines: list[str] = []
        error, seen = ei[1], set[int]()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            places = [
                f'  File "{place.filename}", line {place.lineno}, in {place.name}'
                for place in traceback.extract_tb(error.__traceback__)
            ]
            lines = [*places, f"{type(error).__module__}.{type(error).__qualname__}", *lines]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n".join(lines)


class JsonFormatter(Formatter):
    """Formats each record as one line of JSON; `instance` names the installation that wrote it."""

    def __init__(self, *, instance: str) -> None:
        super().__init__()
        self._instance = instance

    def format(self, record: logging.LogRecord) -> str:
        """Return time (UTC), level, logger and message, what it is about, and an error's type and places."""
        found: dict[str, object] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        found |= {name: getattr(record, name) for name in ABOUT if getattr(record, name, None) is not None}
        if record.exc_info:
            found["error"] = self.formatException(record.exc_info)
        return json.dumps({**found, "instance": self._instance}, default=str)

    def said(self, line: str) -> str:
        """Return what `start` prints of its own, as one of these lines."""
        return self.format(logging.LogRecord("ponder", logging.INFO, "", 0, line, None, None))


def forget_words(*, task: dict[str, Any], **_: object) -> None:
    """Cut the result of a failed task down to type and places, before Django-Q stores and logs it.

    Django-Q makes it of the exception's text and traceback (django_q.worker, 1.11).
    """
    if task["success"]:
        return
    lines = str(task["result"]).split("\n")
    places = [number for number, line in enumerate(lines) if FRAME.fullmatch(line)]
    kind = ""
    for line in lines[places[-1] + 1 :] if places else []:
        found = TYPE.match(line)
        if found:
            kind = found[0]
            break
    task["result"] = "\n".join([*(lines[number] for number in places), kind or "failed"])
