"""Says of each place that does not fit the schema what the schema asks for there."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

LONGEST = 80  # characters of what a schema asks for that a sentence quotes
MOST_PLACES = 2_000  # parts of a schema that are looked at for one problem
DEEP = 100  # steps through a schema
CALENDAR = {"date", "date-time", "time"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One place that does not fit: its JSON pointer, what is wrong there, and the rule it breaks."""

    path: str
    message: str
    rule: str
    asked: str

    @property
    def must(self) -> str:
        """The rule as the schema has it, such as format: date; empty where that says nothing more."""
        return f"{self.rule}: {self.asked}" if self.asked else ""

    @property
    def is_about_the_calendar(self) -> bool:
        """Whether it has the shape that strict mode guarantees, and is no day or time all the same."""
        return self.rule == "format" and self.asked in CALENDAR

    def is_within(self, path: str) -> bool:
        """Tell whether it lies at a place or below it."""
        return self.path == path or self.path.startswith(f"{path}/")


def problems_of(errors: Iterable[Mapping[str, Any]], schema: Any) -> list[Problem]:
    """Return a validator's errors ({"path", "message", "rule"}) with what the schema asks for there."""
    found = []
    for error in errors:
        path, rule = str(error.get("path", "")), str(error.get("rule", ""))
        places = islice(_at(schema, schema, _steps(path), DEEP), MOST_PLACES)
        asked = next((part[rule] for part in places if rule in part), None)
        found.append(Problem(path, str(error.get("message", "")), rule, _shown(asked)))
    return found


def _steps(path: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _at(root: Any, part: Any, steps: list[str], left: int) -> Iterator[dict[str, Any]]:
    """Yield every part of a schema on the way to a place that speaks of it, and {} for all others.

    What is yielded can be counted, so that circles of $ref and thickets of anyOf come to an end.
    """
    if not isinstance(part, dict) or not left:
        return
    yield {} if steps else part
    if "$ref" in part:
        yield from _at(root, _referred(root, part["$ref"]), steps, left - 1)
    choices = part.get("anyOf")
    for choice in choices if isinstance(choices, list) else []:
        yield from _at(root, choice, steps, left - 1)
    if not steps:
        return
    properties = part.get("properties")
    if isinstance(properties, dict) and steps[0] in properties:
        yield from _at(root, properties[steps[0]], steps[1:], left - 1)
    elif "items" in part:
        yield from _at(root, part["items"], steps[1:], left - 1)


def _referred(root: Any, name: Any) -> Any:
    found = root
    for part in _steps(name[1:]) if isinstance(name, str) and name.startswith("#") else [""]:
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _shown(asked: Any) -> str:
    if asked is None or isinstance(asked, dict):
        return ""
    text = asked if isinstance(asked, str) else json.dumps(asked, ensure_ascii=False)
    return text if len(text) <= LONGEST else ""
