"""Finds the lists of flat objects in a JSON answer, and lays them out as rows and columns."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any, NamedTuple

from jobs.rendering.results.problems import Problem
from jobs.rendering.results.values import Number, pretty, step

MOST_SPOTS = 5
MOST_COLUMNS = 60
DEEP = 3  # objects to look through from the root
GROUPED = 10_000  # whole numbers from here on get thousands separators: 2024 may be a year
LONGEST = 2_000  # characters of one cell on a page
LONGEST_NAME = 200  # characters that go before a name: 20,000 fields below one of 200 kB would be 4 GB
MOST_CELLS = 1_000_000  # of a file; rows that each have fields of their own would be billions

_PLAIN = frozenset({str, Number, bool, type(None)})


class Spot(NamedTuple):
    """A list of flat objects in an answer, and its JSON pointer."""

    path: str
    rows: list[dict[str, Any]]


class Cell(NamedTuple):
    """A value as a cell shows it; `kind` is text, number, true, false, null, list or none."""

    kind: str
    text: str

    @property
    def shown(self) -> str:
        """The text as a page has room for it."""
        if self.kind == "number":
            return _grouped(self.text)
        return self.text if len(self.text) <= LONGEST else self.text[:LONGEST] + "…"


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its place in the list from 0, its JSON pointer, its cells and what does not fit in it."""

    index: int
    path: str
    cells: list[tuple[Cell, bool]]  # with whether the schema objects to the cell
    problems: list[Problem]

    @property
    def number(self) -> int:
        return self.index + 1


@dataclass(slots=True)
class Table:
    """One list of flat objects: `sort` names the column it is sorted by, `down` from high to low."""

    spot: Spot
    problems: Sequence[Problem] = ()
    sort: str = ""
    down: bool = False
    columns: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.columns = columns_of(self.spot.rows)
        if self.sort not in self.columns:
            self.sort = ""

    @property
    def size(self) -> int:
        return len(self.spot.rows)

    def rows(self, most: int) -> list[Row]:
        """Return the first `most` rows in the order asked for; of those that do not fit, none is left out."""
        bad: dict[int, list[Problem]] = {}
        for problem in self.problems:
            index = self.index_of(problem)
            if index is not None:
                bad.setdefault(index, []).append(problem)
        order = [index for place, index in enumerate(self._order()) if place < most or index in bad]
        return [self._row(index, bad.get(index, [])) for index in order]

    def index_of(self, problem: Problem) -> int | None:
        """Return the index of the row that a problem lies in."""
        if not problem.path.startswith(f"{self.spot.path}/"):
            return None
        index = problem.path[len(self.spot.path) + 1 :].partition("/")[0]
        return int(index) if index.isascii() and index.isdecimal() and int(index) < self.size else None

    def is_numeric(self, column: str) -> bool:
        return is_numeric(self.spot.rows, column)

    def _row(self, index: int, problems: list[Problem]) -> Row:
        row, path = self.spot.rows[index], f"{self.spot.path}/{index}"
        bad = {name for name in self.columns if any(one.is_within(path + step(name)) for one in problems)}
        cells = [(cell_of(row[name]) if name in row else NONE, name in bad) for name in self.columns]
        return Row(index, path, cells, problems)

    def _order(self) -> Iterable[int]:
        if not self.sort:
            return range(self.size)
        filled = [index for index, row in enumerate(self.spot.rows) if row.get(self.sort) is not None]
        gaps = [index for index, row in enumerate(self.spot.rows) if row.get(self.sort) is None]
        filled.sort(key=lambda index: _rank(self.spot.rows[index][self.sort]), reverse=self.down)
        return [*filled, *gaps]


NONE = Cell("none", "")


def spots(value: Any) -> list[Spot]:
    """Return the lists of flat objects in a value, the longest first."""
    found = sorted(_spots(value, "", DEEP), key=lambda spot: -len(spot.rows))
    return found[:MOST_SPOTS]


def rows_of(value: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return what a value gives to a table of many answers: the rows of its longest list of flat objects,
    or itself as one row, each with its JSON pointer.
    """
    found = spots(value)
    if not found:
        return [("", flattened(value))]
    return [(f"{found[0].path}/{at}", row) for at, row in enumerate(found[0].rows)]


def flattened(value: Any, room: int = LONGEST_NAME) -> dict[str, Any]:
    """Return a value as one row: objects within objects by dotted names, lists as they are.

    What stands in an object for whose names there is no room is left in it.
    """
    if not isinstance(value, dict):
        return {"value": value}
    row: dict[str, Any] = {}
    for name, part in value.items():
        left = room - len(name) - 1
        if isinstance(part, dict) and part and left > 0:
            row |= {f"{name}.{inner}": found for inner, found in flattened(part, left).items()}
        else:
            row[name] = part
    return row


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names in rows in the order they turn up, at most 60."""
    return list(dict.fromkeys(name for row in rows for name in row))[:MOST_COLUMNS]


def columns_in_file(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names in rows in the order they turn up, as many as a file of these rows has room for."""
    names, count = dict[str, None](), 0
    for row in rows:
        names |= dict.fromkeys(row)
        count += 1
    return list(islice(names, max(MOST_COLUMNS, MOST_CELLS // max(1, count))))


def is_numeric(rows: Iterable[Mapping[str, Any]], column: str) -> bool:
    """Tell whether a column of rows holds numbers and nothing else but gaps."""
    return {type(row.get(column)) for row in rows} - {type(None)} == {Number}


def cell_of(value: Any) -> Cell:
    """Return a value as a cell; lists of plain values are set apart by commas, all else is JSON."""
    if isinstance(value, Number):
        return Cell("number", value)
    if isinstance(value, str):
        return Cell("text", value)
    if value is None or isinstance(value, bool):
        return Cell(json.dumps(value), json.dumps(value))
    if isinstance(value, list) and all(_is_plain(part) for part in value):
        return Cell("list", ", ".join(cell_of(part).text for part in value))
    return Cell("list", " ".join(pretty(value).split("\n")))


def _spots(value: Any, path: str, depth: int) -> Iterator[Spot]:
    if isinstance(value, list) and value and all(_is_flat(row) for row in value):
        yield Spot(path, value)
    elif isinstance(value, dict) and depth:
        for name, part in value.items():
            yield from _spots(part, path + step(name), depth - 1)


def _is_flat(row: Any) -> bool:
    if not isinstance(row, dict) or not row:
        return False
    # A result has thousands of rows, of words and numbers mostly: these are told in place.
    others = [value for value in row.values() if type(value) not in _PLAIN]
    return all(isinstance(value, list) and all(map(_is_plain, value)) for value in others)


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN


def _rank(value: Any) -> tuple[int, Decimal, str]:
    """Return what orders mixed values: numbers by size, then truth, then words."""
    cell = cell_of(value)
    if cell.kind == "number":
        return 0, _decimal(cell.text), ""
    return 1, Decimal(0), cell.text.casefold()


def _decimal(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return Decimal(0)
    return Decimal(0) if number.is_nan() else number


def _grouped(text: str) -> str:
    whole, point, rest = text.partition(".")
    digits = whole.removeprefix("-")
    if not digits.isdecimal() or len(digits) > 30 or int(digits) < GROUPED:
        return text
    return f"{whole[: len(whole) - len(digits)]}{int(digits):,}{point}{rest}"
