"""A job's answer as a file, as it was written, as text, JSON or a table; and the rest of a long one."""

import csv
import io
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.text import slugify
from django.views.decorators.http import require_safe

from jobs.models import Answer, Job
from jobs.rendering import RENDERER_VERSION, reading, results
from jobs.rendering.results import Cell, tables
from jobs.views import job_page
from jobs.views.answer import rest_of, value_of
from jobs.views.frame import fragment, person_of

LONGEST_NAME = 60  # characters of a title in a file's name
# A spreadsheet runs a cell that begins with one of these as a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
JSON_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@require_safe
def download(request: HttpRequest, short_id: str, kind: str) -> HttpResponse:
    """Send a job's answer as a file of a kind: md, txt, json or csv."""
    job = job_page.find(person_of(request), short_id)
    answer = job_page.answer_of(job)
    if answer is None:
        raise Http404
    write, media_type = KINDS[kind]
    return file(write(job, answer), media_type, f"{_name(job)}.{kind}")


@require_safe
@fragment
def job_answer_rest(request: HttpRequest, short_id: str) -> HttpResponse:
    """Answer with what a page kept back of a long answer; with a reload if it was rendered anew meanwhile."""
    answer = job_page.answer_of(job_page.find(person_of(request), short_id))
    if answer is None:
        raise Http404
    if request.GET.get("version") != str(answer.renderer_version):
        return HttpResponse(status=204, headers={"HX-Refresh": "true"})
    return HttpResponse(rest_of(answer))


def file(content: str, media_type: str, name: str) -> HttpResponse:
    """Answer with a text to be saved, never shown: what it holds is not ours."""
    return HttpResponse(
        content,
        content_type=f"{media_type}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def streamed(request: HttpRequest, parts: Iterator[str], media_type: str, name: str) -> StreamingHttpResponse:
    """Answer with a file of many parts, each made when the one before it is sent."""
    return StreamingHttpResponse(
        _one_by_one(parts) if isinstance(request, ASGIRequest) else parts,
        content_type=f"{media_type}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def stream(
    request: HttpRequest, head: Sequence[str], batches: Iterable[Iterable[Sequence[Any]]], name: str
) -> StreamingHttpResponse:
    """Answer with CSV of any length, a batch of rows at a time, in which no cell is a formula."""
    found = (_lines(rows) for rows in batches)
    return streamed(request, chain([_lines([head])], found), "text/csv", name)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return CSV in which no cell is a formula."""
    return _lines(chain([head], rows))


def spreadsheet_cell(value: Any) -> str:
    """Return a value as a spreadsheet may have it: what begins like a formula gets an apostrophe.

    An amount keeps its last digit, the parts of a list are set apart by commas, and None is an empty cell.
    """
    if isinstance(value, list):
        value = ", ".join(value)
    if isinstance(value, Decimal | int):
        value = Cell("number", f"{value:f}" if isinstance(value, Decimal) else str(value))
    cell = value if isinstance(value, Cell) else Cell("text", "" if value is None else str(value))
    if cell.kind == "number" and JSON_NUMBER.fullmatch(cell.text):
        return cell.text
    text = "" if cell.kind == "null" else cell.text
    return f"'{text}" if text.startswith(FORMULA) else text


def _lines(rows: Iterable[Sequence[Any]]) -> str:
    found = io.StringIO()
    csv.writer(found).writerows([spreadsheet_cell(value) for value in row] for row in rows)
    return found.getvalue()


async def _one_by_one(parts: Iterator[str]) -> AsyncIterator[str]:
    """Read each part in the request's own thread, once the one before it is sent."""

    def read() -> str | None:
        part = next(parts, None)
        # A slow reader keeps none of the few connections from other pages.
        close_old_connections()
        return part

    while (part := await sync_to_async(read, thread_sensitive=True)()) is not None:
        yield part


def _name(job: Job) -> str:
    title = slugify(getattr(getattr(job, "prompt", None), "title", ""))[:LONGEST_NAME].strip("-_")
    return f"{job.short_id}-{title}" if title else job.short_id


def _markdown(_job: Job, answer: Answer) -> str:
    return answer.text


def _text(job: Job, answer: Answer) -> str:
    value = value_of(job)
    if value is not None:
        return results.pretty(value) + "\n"
    return reading.text_of(answer.html) if answer.renderer_version == RENDERER_VERSION else answer.text


def _json(job: Job, answer: Answer) -> str:
    value = value_of(job)
    record = {
        **_about(job),
        "mode": job.mode,
        "max_output_tokens": job.max_output_tokens,
        "tags": job.tags,
        "response_id": answer.attempt.response_id,
        "usage": answer.attempt.usage,
        "is_refusal": answer.is_refusal,
        "validation_errors": answer.validation_errors,
        "answer": answer.text if value is None else value,
    }
    return results.pretty(record) + "\n"


def _csv(job: Job, answer: Answer) -> str:
    value = value_of(job)
    if value is None:
        about = _about(job)
        return table([*about, "answer"], [[*about.values(), answer.text]])
    rows = [row for _, row in results.rows_of(value)]
    columns = tables.columns_in_file(rows)
    return table(columns, ([results.cell_of(row.get(name)) for name in columns] for row in rows))


def _about(job: Job) -> dict[str, str]:
    return {
        "job": job.short_id,
        "title": getattr(getattr(job, "prompt", None), "title", ""),
        "project": job.project.slug,
        "submitted_by": str(job.submitted_by),
        "model": job.model_id,
        "effort": job.effort,
        "status": job.status,
        "created_at": job.created_at.isoformat(timespec="seconds"),
        "finished_at": job.finished_at.isoformat(timespec="seconds") if job.finished_at else "",
        "cost_usd": f"{job.cost:f}",
    }


KINDS: dict[str, tuple[Callable[[Job, Answer], str], str]] = {
    "md": (_markdown, "text/markdown"),
    "txt": (_text, "text/plain"),
    "json": (_json, "application/json"),
    "csv": (_csv, "text/csv"),
}
