"""Draws a JSON answer as a tree that unfolds, each value at an address of its own."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from jobs.rendering.results.problems import Problem
from jobs.rendering.results.values import Number, anchor, quoted, step

MOST_NODES = 2_000
OPEN = 2  # levels that are open at first
FEW = 3  # of so few entries every one is open, of more only the first
LONGEST = 4_000  # characters of one text
PREVIEWED = 60  # characters of a folded object's first values


def tree(value: Any, problems: Sequence[Problem] = (), *, alert: str = "") -> tuple[str, int]:
    """Return HTML that shows a value read by `values.read`, and how many of its values were left out.

    `alert` is the HTML of the sign beside what does not fit.
    """
    drawing = _Drawing({problem.path: problem for problem in reversed(problems)}, alert)
    if isinstance(value, dict | list) and value:
        drawing.entries(value, "", 1)
    else:
        drawing.leaf("", "", value)
    return "".join(drawing.found), drawing.left_out


class _Drawing:
    """HTML that grows node by node."""

    def __init__(self, problems: dict[str, Problem], alert: str) -> None:
        self.found: list[str] = []
        self.problems, self.alert = problems, alert
        # Every place above a problem: it is open, so that the problem is seen.
        self.leading = {path[:at] for path in problems for at in _slashes(path)}
        self.drawn = self.left_out = 0

    def entries(self, value: dict[str, Any] | list[Any], path: str, depth: int) -> None:
        names: Iterable[tuple[str, Any]] = (
            value.items() if isinstance(value, dict) else ((str(at), part) for at, part in enumerate(value))
        )
        for at, (name, part) in enumerate(names):
            below = path + step(name)
            if self.drawn >= MOST_NODES and below not in self.leading and below not in self.problems:
                self.left_out += count(part)
                continue
            self.drawn += 1
            if isinstance(part, dict | list) and part:
                is_open = depth < OPEN or (depth == OPEN and (at == 0 or len(value) <= FEW))
                self.branch(name, below, part, depth, is_open=is_open or below in self.leading)
            else:
                self.leaf(name, below, part)

    def branch(self, name: str, path: str, value: Any, depth: int, *, is_open: bool) -> None:
        bad = self.problems.get(path)
        # No link in a summary: one thing to press cannot lie in another.
        self.found.append(
            f'<details id="{anchor(path)}"{" open" if is_open else ""}><summary{_bad(bad)}>{_key(name)}'
            f'<span class="pv">{escape(_preview(value))}</span>{self.flag(bad)}</summary><div class="kids">'
        )
        self.entries(value, path, depth + 1)
        self.found.append("</div></details>")

    def leaf(self, name: str, path: str, value: Any) -> None:
        place, bad = anchor(path), self.problems.get(path)
        shown = f' id="{place}"' if path else ""
        key = _key(name, place) if path else ""
        classes = "lf bad" if bad else "lf"
        self.found.append(f'<div class="{classes}"{shown}>{key}{_value(value)}{self.flag(bad)}</div>')

    def flag(self, problem: Problem | None) -> str:
        if problem is None:
            return ""
        must = f" <span>Must match <code>{escape(problem.must)}</code>.</span>" if problem.must else ""
        return f'<span class="flag">{self.alert}<span>{escape(problem.message)}{must}</span></span>'


def count(value: Any) -> int:
    """Return how many nodes a value and all below it would be."""
    if isinstance(value, dict):
        return 1 + sum(count(part) for part in value.values())
    return 1 + (sum(count(part) for part in value) if isinstance(value, list) else 0)


def _key(name: str, place: str = "") -> str:
    shown = escape(name) or "&quot;&quot;"
    return f'<a class="k" href="#{place}">{shown}</a>' if place else f'<span class="k">{shown}</span>'


def _bad(problem: Problem | None) -> str:
    return ' class="bad"' if problem else ""


def _value(value: Any) -> str:
    if isinstance(value, Number):
        return f'<span class="vn">{escape(value)}</span>'
    if isinstance(value, str):
        more = f"… {len(value) - LONGEST:,} more characters" if len(value) > LONGEST else ""
        return f'<span class="vs">{escape(quoted(value[:LONGEST]))}{more}</span>'
    words = {True: "true", False: "false", None: "null"}
    shown = words[value] if value is None or isinstance(value, bool) else "{}" if value == {} else "[]"
    return f'<span class="vb">{shown}</span>'


def _preview(value: dict[str, Any] | list[Any]) -> str:
    """Return how many items a list has, or what an object begins with."""
    size = len(value)
    if isinstance(value, list):
        return f"{size:,} item{'' if size == 1 else 's'}"
    words = [part for part in list(value.values())[:2] if part and type(part) is str]
    text = ", ".join(words)
    if not text:
        return f"{size:,} field{'' if size == 1 else 's'}"
    return text if len(text) <= PREVIEWED else text[: PREVIEWED - 1] + "…"


def _slashes(path: str) -> Iterable[int]:
    return (at for at, sign in enumerate(path) if sign == "/" and at)
