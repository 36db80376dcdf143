"""Reads an answer's JSON so that every number keeps the digits and every object the order it came with."""

import json
import re
from typing import Any
from urllib.parse import quote

# What an id and a fragment may hold as it is; a name with a blank in it would be two ids.
PLAIN_IN_IDS = "/-._~:@!$&'()*+,;="

HALVES = re.compile("[\ud800-\udfff]")


class Number(str):
    """A JSON number as it was written: 1.10, 1e400, forty digits."""

    __slots__ = ()


def read(text: str) -> Any:
    """Return JSON with its numbers as `Number`; halves of characters become U+FFFD.

    Raises ValueError for what is no JSON, also for what is nested too deeply.
    """
    try:
        found = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=Number)
        # Only an escape can bring in what a page cannot be encoded with.
        return _whole(found) if "\\u" in text else found
    except RecursionError:
        raise ValueError("nested too deeply") from None


def pretty(value: Any) -> str:
    """Return a value read by `read` as indented JSON, digit for digit."""
    found: list[str] = []
    _write(value, found, "\n")
    return "".join(found)


def step(name: str) -> str:
    """Return a name or index as one step of a JSON pointer, with its slash."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def anchor(pointer: str) -> str:
    """Return a JSON pointer as an id that a fragment can lead to: /items/2 stays /items/2."""
    return quote(pointer, safe=PLAIN_IN_IDS)


def quoted(text: str) -> str:
    """Return a text as JSON writes it."""
    return json.dumps(text, ensure_ascii=False)


def _whole(value: Any) -> Any:
    if isinstance(value, Number):
        return value
    if isinstance(value, str):
        return HALVES.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_whole(name): _whole(part) for name, part in value.items()}
    return [_whole(part) for part in value] if isinstance(value, list) else value


def _write(value: Any, found: list[str], end: str) -> None:
    """Append JSON; `end` is a line end with the indentation where the value stands."""
    if isinstance(value, Number):
        found.append(value)
    elif isinstance(value, dict) and value:
        inner = end + "  "
        for place, (name, part) in enumerate(value.items()):
            found += ["," if place else "{", inner, quoted(name), ": "]
            _write(part, found, inner)
        found += [end, "}"]
    elif isinstance(value, list) and value:
        inner = end + "  "
        for place, part in enumerate(value):
            found += ["," if place else "[", inner]
            _write(part, found, inner)
        found += [end, "]"]
    else:
        found.append(json.dumps(value, ensure_ascii=False))
