"""Reads JSON that people and models wrote: refuses what a database cannot keep, and says why in words."""

import json
import math
import re
from collections.abc import Iterator

LIMIT = 1_000_000  # characters of a schema's text
MAX_DEPTH = 100  # levels; what is deeper ends in recursion errors somewhere between here and the database
MAX_DIGITS = 4_000  # Python reads no longer whole number
# PostgreSQL's jsonb takes neither NUL nor half of a surrogate pair.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

WORDS = {
    "Expecting ',' delimiter": "a comma is missing",
    "Expecting ':' delimiter": "a colon is missing",
    "Expecting property name enclosed in double quotes": "a name in double quotes is missing",
    "Expecting value": "a value is missing",
    "Extra data": "something follows after the end",
    "Illegal trailing comma before end of array": "a comma stands before the closing bracket",
    "Illegal trailing comma before end of object": "a comma stands before the closing brace",
    "Invalid \\escape": "a backslash is followed by a wrong character",
    "Invalid \\uXXXX escape": "a \\u is not followed by four hexadecimal digits",
    "Invalid control character at": "a line break or tab stands inside a text",
    "Unexpected UTF-8 BOM (decode using utf-8-sig)": "it begins with a byte order mark",
    "Unterminated string starting at": "a text is not closed",
}


class SchemaTextError(ValueError):
    """A text is not the JSON it should be.

    `message` continues "Not JSON: "; `line` and `column` count from 1, and are 0 where no place is known.
    """

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        self.message, self.line, self.column = message, line, column
        super().__init__(message, line, column)

    def __str__(self) -> str:
        where = f" on line {self.line}, column {self.column}" if self.line else ""
        return f"Not JSON: {self.message}{where}."


def parse(text: str) -> object:
    """Return a schema's text as JSON; raise SchemaTextError with the place of the first mistake."""
    if len(text) > LIMIT:
        raise SchemaTextError(f"it is longer than {LIMIT:,} characters")
    value = read(text)
    for found, _depth in walk(value):
        if isinstance(found, str) and UNSTORABLE.search(found):
            raise SchemaTextError("it holds NUL or half a character, which cannot be stored")
    return value


def read(text: str) -> object:
    """Return JSON that can be stored but for the characters in UNSTORABLE; raise SchemaTextError."""
    try:
        value: object = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole
        )
    except json.JSONDecodeError as error:
        words = WORDS.get(error.msg, "it cannot be read")
        raise SchemaTextError(words, error.lineno, error.colno) from None
    except RecursionError:
        raise SchemaTextError("it is nested too deeply") from None
    if any(depth > MAX_DEPTH for _found, depth in walk(value)):
        raise SchemaTextError("it is nested too deeply")
    return value


def walk(value: object) -> Iterator[tuple[object, int]]:
    """Yield every value and every name inside a JSON value, with its level; without recursion."""
    rest: list[tuple[object, int]] = [(value, 0)]
    while rest:
        found, depth = rest.pop()
        yield found, depth
        if isinstance(found, dict):
            rest += [(part, depth + 1) for pair in found.items() for part in pair]
        elif isinstance(found, list):
            rest += [(part, depth + 1) for part in found]


def _refuse_constant(name: str) -> object:
    raise SchemaTextError(f"{name} is not a number in JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise SchemaTextError("a number is too large")
    return number


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise SchemaTextError(f"a number has more than {MAX_DIGITS:,} digits")
    return int(digits)
