"""Finds where in a JSON text each value stands, so that a mistake can be shown and mended in its place."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from jobs.schemas.strict import Problem, Steps

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


@dataclass(slots=True)
class Spot:
    """A value in a text: `start` is where it begins, with its name where it has one, and `end` is behind it.

    `value` is where the value itself begins. Names that stand twice are both in `items`; the last one counts.
    """

    start: int
    value: int
    end: int = 0
    items: "list[tuple[str | int, Spot]]" = field(default_factory=list)

    def member(self, step: str | int) -> "Spot | None":
        """Return the value with a name, or at a place in a list."""
        return next((spot for name, spot in reversed(self.items) if name == step), None)

    def inside(self, steps: Steps) -> "Spot":
        """Return the value that steps lead to, as far as they lead."""
        spot = self
        for step in steps:
            spot = spot.member(step) or spot
        return spot


def scan(text: str) -> Spot:
    """Return the places of a text that is JSON (`reading.read` has read it)."""
    tokens = _TOKEN.finditer(text)
    first = next(tokens)
    return _value(first, first.start(), tokens)


def line_of(text: str, root: Spot, problem: Problem) -> int:
    """Return the line, from 1, that marks a problem: that of its keyword, or where its schema begins."""
    schema = root.inside(problem.at)
    return text.count("\n", 0, (schema.member(problem.keyword) or schema).start) + 1


def _value(token: re.Match[str], start: int, tokens: Iterator[re.Match[str]]) -> Spot:
    spot = Spot(start, token.start(), token.end())
    if token[0] not in "{[":
        return spot
    is_object = token[0] == "{"
    for found in tokens:
        if found[0] in "}]":
            spot.end = found.end()
            break
        if found[0] == ",":
            continue
        if is_object:
            next(tokens)  # the colon
            spot.items.append((json.loads(found[0]), _value(next(tokens), found.start(), tokens)))
        else:
            spot.items.append((len(spot.items), _value(found, found.start(), tokens)))
    return spot
