"""What a page shows of a job's answer, as prose or as a structured result, and what people make of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict
from django.utils.safestring import SafeString

from jobs.access import Act
from jobs.models import Answer, Job, JobNote, User, VerdictValue
from jobs.rendering import RENDERER_VERSION, parts, plain, results
from jobs.rendering.results import Problem, Row, Spot, Table
from jobs.templatetags import ui
from jobs.views import words

FIRST_ROWS = 200
ALL_ROWS = 2_000
MOST_FIXED = 20  # rows that one follow-up asks about
MOST_OF_ROW = 5  # problems of each that it names
MOST_JSON = 100_000  # characters of JSON that stand on the page; all of it is a download
TABLE, TREE, JSON = "table", "tree", "json"
VIEWS = {TABLE: ("Table", "table-2"), TREE: ("Tree", "list-tree"), JSON: ("JSON", "braces")}


@dataclass(frozen=True, slots=True)
class Prose:
    """An answer to read: safe HTML, and how many kilobytes of it are kept for 'Show the rest'."""

    html: SafeString
    left: int
    version: int


@dataclass(frozen=True, slots=True)
class View:
    """One way to look at a result."""

    key: str
    name: str
    icon: str
    query: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column's head: how it is sorted now, and the query that sorts by it next."""

    name: str
    is_numeric: bool
    sorted: str  # ascending, descending or nothing
    query: str


class Result:
    """A structured answer as one URL asks for it."""

    def __init__(
        self, value: Any, spots: Sequence[Spot], problems: Sequence[Problem], query: QueryDict
    ) -> None:
        self.value, self.spots, self.problems = value, spots, problems
        asked = query.get("at", "")
        self.spot: Spot | None = next((spot for spot in self.spots if spot.path == asked), None) or next(
            iter(self.spots), None
        )
        views = [key for key in VIEWS if key != TABLE or self.spot]
        self.view = query.get("view") if query.get("view") in views else views[0]
        self._views = views
        self._sort, self._down = query.get("sort", ""), query.get("order") == "down"
        self.shows_all = query.get("rows") == "all"

    @property
    def views(self) -> list[View]:
        """The ways to look at it, the first being the usual one."""
        return [View(key, *VIEWS[key], self._query(view=key)) for key in self._views]

    @cached_property
    def table(self) -> Table | None:
        """The list of flat objects that is laid out, if there is one."""
        return Table(self.spot, self.problems, self._sort, self._down) if self.spot else None

    @property
    def path(self) -> str:
        """Where in the answer the view begins."""
        return (self.spot.path if self.spot and self.view == TABLE else "") or "/"

    @property
    def others(self) -> list[tuple[str, str]]:
        """The other lists that have a table: path and query."""
        others = [spot for spot in self.spots if spot is not self.spot] if self.view == TABLE else []
        return [(spot.path or "/", self._query(at=spot.path, sort="", order="")) for spot in others]

    @cached_property
    def rows(self) -> list[Row]:
        assert self.table is not None
        return self.table.rows(ALL_ROWS if self.shows_all else FIRST_ROWS)

    @property
    def hidden_rows(self) -> int:
        return self.table.size - len(self.rows) if self.table else 0

    @property
    def all_rows_query(self) -> str:
        """The query that shows more rows; empty where no more are shown on a page."""
        return "" if self.shows_all else self._query(rows="all")

    @property
    def columns(self) -> list[Column]:
        assert self.table is not None
        return [self._column(self.table, name) for name in self.table.columns]

    @cached_property
    def drawn(self) -> tuple[str, int]:
        return results.tree(self.value, self.problems, alert=ui.icon("triangle-alert"))

    @property
    def tree(self) -> SafeString:
        """The tree: `results.tree` escapes all that is the model's."""
        return SafeString(self.drawn[0])

    @property
    def left_out(self) -> int:
        return self.drawn[1]

    @cached_property
    def whole_json(self) -> str:
        return results.pretty(self.value)

    @property
    def json(self) -> str:
        return self.whole_json[:MOST_JSON]

    @property
    def is_json_cut(self) -> bool:
        return len(self.whole_json) > MOST_JSON

    @cached_property
    def bad_rows(self) -> list[int]:
        """The numbers of the rows that do not fit, if everything that does not fit lies in rows."""
        found = self._problems_of_rows
        return [] if None in found else sorted(number for number in found if number is not None)

    @cached_property
    def _problems_of_rows(self) -> dict[int | None, list[Problem]]:
        """What does not fit by the number of its row; None for what lies in no row."""
        found: dict[int | None, list[Problem]] = {}
        for problem in self.problems:
            index = self.table.index_of(problem) if self.table else None
            found.setdefault(None if index is None else index + 1, []).append(problem)
        return found

    @property
    def fixed_rows(self) -> list[int]:
        """The numbers of those that one follow-up asks for."""
        return self.bad_rows[:MOST_FIXED]

    @property
    def first_bad(self) -> str:
        """The id of the first row that does not fit."""
        return results.anchor(f"{self.spot.path}/{self.bad_rows[0] - 1}") if self.spot else ""

    @property
    def correction(self) -> str:
        """A follow-up that asks for the rows that do not fit, and for nothing else."""
        numbers = self.fixed_rows
        rows = f"row{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
        # Its first line is the title under which the thread shows it.
        lines = [f"Answer again with {rows} only, corrected, in the same form."]
        lines.append("These values of your answer do not fit the schema:")
        for number in numbers:
            for problem in self._problems_of_rows[number][:MOST_OF_ROW]:
                must = f" It must match {problem.must}." if problem.must else ""
                lines.append(f"- {problem.path}: {problem.message}{must}")
        return "\n".join(lines)

    @property
    def listed(self) -> list[tuple[Problem, str]]:
        """What does not fit, with the id of its place."""
        return [(problem, results.anchor(problem.path)) for problem in self.problems]

    def _column(self, table: Table, name: str) -> Column:
        numeric = table.is_numeric(name)
        order = ("down", "up") if numeric else ("up", "down")
        now = ("down" if table.down else "up") if table.sort == name else ""
        # One click sorts the way one mostly wants, the next the other way, the third as it came.
        following = {"": order[0], order[0]: order[1], order[1]: ""}[now]
        said = {"": "", "up": "ascending", "down": "descending"}[now]
        return Column(name, numeric, said, self._query(sort=name if following else "", order=following))

    def _query(self, **changed: str) -> str:
        assert self.view is not None
        now = {"view": self.view, "at": self.spot.path if self.spot else "", "sort": self._sort}
        now |= {"order": "down" if self._down else "", "rows": "all" if self.shows_all else ""} | changed
        usual = {"view": self._views[0], "order": "up", "at": self.spots[0].path if self.spots else ""}
        return urlencode({name: word for name, word in now.items() if word and word != usual.get(name)})


def prose_of(answer: Answer, *, whole: bool = False) -> Prose:
    """Return an answer as HTML: all of it, or the first part of a long one."""
    first, rest = parts.cut(_html(answer))
    shown = first + rest if whole else first
    return Prose(SafeString(shown), 0 if whole else -(-len(rest) // 1000), answer.renderer_version)


def rest_of(answer: Answer) -> SafeString:
    """Return the HTML that `prose_of` keeps back."""
    return SafeString(parts.cut(_html(answer))[1])


def value_of(job: Job) -> Any:
    """Return a job's structured answer as it was written, None for one that is none.

    It is read from its text again: the database keeps neither the order of fields nor the digits of numbers.
    """
    answer: Answer | None = getattr(job, "answer", None)
    is_value = answer is not None and getattr(job, "has_result", False) and not answer.is_refusal
    return read(answer.text) if answer is not None and is_value else None


def read(text: str) -> Any:
    """Return JSON as it was written, None for a text that cannot be read."""
    try:
        return results.read(text)
    except ValueError:
        return None


def shown(
    job: Job, answer: Answer | None, value: Any, spots: Sequence[Spot], query: QueryDict
) -> dict[str, Any]:
    """Return what `_job_answer.html` shows of an answer, whose value and its tables were found before."""
    if answer is None:
        return {}
    schema = getattr(getattr(job, "prompt", None), "schema", None)
    problems = results.problems_of(answer.validation_errors, schema)
    if value is None:
        return {"prose": prose_of(answer, whole="whole" in query), "unfit": problems}
    name = getattr(getattr(job, "prompt", None), "schema_name", "")
    same = Job.objects.filter(project=job.project_id).asked_with(name)
    return {"result": Result(value, spots, problems, query), "same_schema": words.counted(same)}


def _html(answer: Answer) -> str:
    """Return safe HTML; what is not rendered yet, or never will be, is shown as it was written."""
    return answer.html if answer.renderer_version == RENDERER_VERSION else plain(answer.text)


def remarks_on(
    job: Job, answer: Answer | None, *, by: User, acts: Collection[Act], has_notes: bool = True
) -> dict[str, Any]:
    """Return what `_job_remarks.html` shows to someone who may do `acts`."""
    notes = JobNote.objects.filter(job=job).select_related("by") if has_notes else []
    return {
        "may_judge": Act.JUDGE in acts,
        "may_tag": Act.TAG in acts,
        "can_be_judged": bool(answer and answer.text),
        "verdict": getattr(job, "verdict", None),
        "verdicts": VerdictValue,
        "notes": [(note, note.by_id == by.pk) for note in notes],
    }
