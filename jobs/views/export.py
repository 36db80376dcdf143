"""Hands out the jobs of a list as CSV and as JSON lines, a batch at a time: a million rows fill no memory."""

import csv
import datetime as dt
import io
import json
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from jobs.forms.job_filter import Wanted
from jobs.models import Job
from jobs.pricing import Usage
from jobs.views.downloads import spreadsheet_cell, streamed
from jobs.views.frame import frame_of, person_of
from jobs.views.job_list import JobList
from jobs.views.job_tally import practice_aside

BATCH = 1_000  # jobs read at once
COLUMNS = (
    "job", "title", "project", "submitted_by", "model", "effort", "mode", "status", "reason", "tags",
    "created_at", "sent_at", "finished_at", "ceiling_usd", "cost_usd",
)  # fmt: skip
TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


@require_GET
def export(request: HttpRequest, kind: str) -> StreamingHttpResponse:
    """Send every job of the list that the address asks for, from its first page on, as csv or jsonl.

    Jobs of practice are left out where others are asked for beside them.
    """
    write, media_type = KINDS[kind]
    found = JobList(frame_of(request), Wanted.of(request.GET, person_of(request)))
    aside = set(practice_aside(found.frame, found.wanted))
    return streamed(request, _parts(found, write, aside), media_type, f"jobs-{timezone.localdate()}.{kind}")


def _parts(found: JobList, write: "Write", aside: Container[int]) -> Iterator[str]:
    is_first = True
    for batch in found.batches(BATCH):
        yield write([_record(job) for job in batch if job.project_id not in aside], is_first)
        is_first = False
    if is_first:
        yield write([], True)


def _record(job: Job) -> dict[str, Any]:
    shown: Any = job  # with what a list shows of other records
    usage = Usage.reported(shown.usage)
    return {
        "job": job.short_id,
        "title": shown.title,
        "project": shown.project_slug,
        "submitted_by": shown.person,
        "model": job.model_id,
        "effort": job.effort,
        "mode": job.mode,
        "status": job.status,
        "reason": job.error_code or job.incomplete_reason,
        "tags": job.tags,
        "created_at": _moment(job.created_at),
        "sent_at": _moment(job.sent_at),
        "finished_at": _moment(job.finished_at),
        "ceiling_usd": f"{job.worst_case:f}",
        "cost_usd": f"{job.cost:f}" if job.finished_at else None,
        **{name: getattr(usage, name, None) for name in TOKENS},
    }


def _moment(at: dt.datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None


def _csv(records: Sequence[dict[str, Any]], is_first: bool) -> str:
    found = io.StringIO()
    writer = csv.writer(found)
    if is_first:
        writer.writerow((*COLUMNS, *TOKENS))
    writer.writerows([spreadsheet_cell(value) for value in record.values()] for record in records)
    return found.getvalue()


def _jsonl(records: Sequence[dict[str, Any]], _is_first: bool) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


type Write = Callable[[Sequence[dict[str, Any]], bool], str]

KINDS: dict[str, tuple[Write, str]] = {
    "csv": (_csv, "text/csv"),
    "jsonl": (_jsonl, "application/jsonl"),
}
