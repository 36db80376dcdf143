"""Keep what people wrote out of logs and task rows: an error is told by its type and places alone."""

import logging
import re
import traceback
from types import TracebackType
from typing import Any

FRAME = re.compile(r'  File "[^"\n]+", line \d+, in [\w<>.]+')
TYPE = re.compile(r"[A-Za-z_][\w.]*")


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
