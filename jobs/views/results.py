"""The results of all jobs that used one schema in a project, as one table and as a spreadsheet."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from jobs.models import Job, Project
from jobs.rendering import results as rendering
from jobs.rendering.results import Cell, tables
from jobs.views import words
from jobs.views.answer import read
from jobs.views.downloads import file, table
from jobs.views.frame import person_of

PAGE = 25  # jobs
MOST_ROWS = 50  # of one job on the page
ENOUGH = 150  # rows after which a page ends, with its job
MOST_IN_FILE = 5_000  # jobs in the spreadsheet, the newest


@dataclass(frozen=True, slots=True)
class Line:
    """One row of one job: its number and place there (0 and nothing for a job with one row)."""

    number: int
    path: str
    row: dict[str, Any]
    is_bad: bool
    columns: Sequence[str] = ()

    @property
    def anchor(self) -> str:
        return rendering.anchor(self.path)

    @property
    def cells(self) -> list[tuple[Cell, bool]]:
        """Its values under the columns of the whole table; which of them does not fit, its own page shows."""
        return [(cell, False) for cell in self.values(self.columns)]

    def values(self, columns: Iterable[str]) -> list[Cell]:
        """Return its values under some columns."""
        return [rendering.cell_of(self.row[name]) if name in self.row else tables.NONE for name in columns]


@require_safe
def results(request: HttpRequest, slug: str, schema: str) -> HttpResponse:
    """Show what every job of a project with this schema came to; ?format=csv for a spreadsheet."""
    project = get_object_or_404(Project.objects.visible_to(person_of(request)), slug=slug)
    page = Results(project, schema, after=request.GET.get("after", ""))
    if not page.count:
        raise Http404
    if request.GET.get("format") == "csv":
        return file(page.spreadsheet(), "text/csv", f"{slug}-{schema}.csv")
    return render(request, "results.html", {"page": page})


class Results:
    """A project's results of one schema, newest first, from after a job on."""

    def __init__(self, project: Project, schema: str, *, after: str = "") -> None:
        self.project, self.schema = project, schema
        self._after = "" if "\x00" in after else after  # PostgreSQL refuses NUL in a parameter

    @cached_property
    def count(self) -> str:
        """How many jobs used the schema, as it is said; empty for none."""
        return words.counted(self._jobs())

    @cached_property
    def columns(self) -> list[str]:
        """The names of the page's columns, in the order they turn up."""
        return tables.columns_of(line.row for _, lines in self._groups for line in lines)

    @cached_property
    def numeric(self) -> set[str]:
        """The columns of the page that hold numbers and nothing else but gaps."""
        rows = [line.row for _, lines in self._groups for line in lines]
        return {name for name in self.columns if tables.is_numeric(rows, name)}

    @property
    def heads(self) -> list[tuple[str, bool]]:
        """The names of the page's columns, each with whether it holds numbers."""
        return [(name, name in self.numeric) for name in self.columns]

    @property
    def groups(self) -> list[tuple[Job, list[Line]]]:
        """The jobs of the page with their rows."""
        return [(job, [replace(line, columns=self.columns) for line in lines]) for job, lines in self._groups]

    @property
    def older(self) -> str:
        """The short id after which the next page begins; empty on the last."""
        return self._groups[-1][0].short_id if len(self._page) > len(self._groups) else ""

    @property
    def is_first(self) -> bool:
        return not self._after

    def spreadsheet(self) -> str:
        """Return the results of the newest 5,000 jobs as CSV."""
        jobs = list(self._answered()[:MOST_IN_FILE])
        columns = tables.columns_in_file(line.row for job in jobs for line in lines_of(job))
        head = ("job", "title", "created_at", "model", "row", *columns)
        return table(head, (_cells(job, line, columns) for job in jobs for line in lines_of(job)))

    @cached_property
    def _groups(self) -> list[tuple[Job, list[Line]]]:
        found: list[tuple[Job, list[Line]]] = []
        rows = 0
        for job in self._page[:PAGE]:
            found.append((job, list(islice(lines_of(job), MOST_ROWS))))
            rows += len(found[-1][1])
            if rows >= ENOUGH:
                break
        return found

    @cached_property
    def _page(self) -> list[Job]:
        rows = self._answered()
        last = self._jobs().filter(short_id=self._after).only("pk").first() if self._after else None
        if last is not None:
            rows = rows.filter(pk__lt=last.pk)
        return list(rows[: PAGE + 1])

    def _answered(self) -> QuerySet[Job]:
        rows: QuerySet[Job] = self._jobs().filter(answer__parsed__isnull=False)
        rows = rows.select_related("prompt", "answer")
        return rows.defer(
            "prompt__text", "prompt__instructions", "prompt__input_items", "prompt__tools",
            "answer__html", "answer__parsed", "answer__calls",
        ).order_by("-pk")  # fmt: skip

    def _jobs(self) -> Any:
        return Job.objects.filter(project=self.project).asked_with(self.schema)


def lines_of(job: Job) -> Iterator[Line]:
    """Yield the rows of a job's structured answer."""
    value = read(job.answer.text)
    problems = rendering.problems_of(job.answer.validation_errors, None)
    for at, (path, row) in enumerate(rendering.rows_of(value), 1):
        is_bad = any(problem.is_within(path) for problem in problems)
        yield Line(at if path else 0, path, row, is_bad)


def _cells(job: Job, line: Line, columns: list[str]) -> list[Any]:
    about = (job.short_id, job.prompt.title, job.created_at.isoformat(timespec="seconds"), job.model_id)
    return [*about, line.number or "", *line.values(columns)]
