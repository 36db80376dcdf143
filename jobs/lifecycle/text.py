"""Reads what people see out of a response, and has it rendered, and its words kept for search, once."""

import datetime as dt
import signal
import time
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from jobs import rendering, schemas
from jobs.lifecycle.calls import kept
from jobs.lifecycle.transition import tell
from jobs.models import Answer, Attempt, Job, JobText, ModelSpec, Prompt, RawResponse, Verdict

RENDER_LIMIT = 10  # seconds for one answer; then it stays plain
AGAIN = 0.2  # seconds between alarms once the time is up
RENDER_FOR = dt.timedelta(seconds=10)
RENDER_REST = 1.0  # seconds a process that rendered for that long leaves to others
# One renderer at a time: the other workers are for pumps and the beat.
_RENDER_LOCK = 7_066_372
_rests_until = 0.0  # monotonic seconds


@dataclass(frozen=True, slots=True)
class Content:
    """What a response says: its text, whether that is a refusal, and the calls it waits for."""

    text: str = ""
    is_refusal: bool = False
    calls: list[dict[str, Any]] = field(default_factory=list)


def content_of(body: dict[str, Any]) -> Content:
    """Read a response body; anything that is not as documented is passed over."""
    texts, refusals, calls = [], [], []
    output = body.get("output")
    for item in output if isinstance(output, list) else []:
        if not isinstance(item, dict):
            continue
        if call := kept(item):
            calls.append(call)
        parts = item.get("content")
        for part in parts if item.get("type") == "message" and isinstance(parts, list) else []:
            if not isinstance(part, dict):
                continue
            if part.get("type") == "output_text" and isinstance(part.get("text"), str):
                texts.append(part["text"])
            elif part.get("type") == "refusal" and isinstance(part.get("refusal"), str):
                refusals.append(part["refusal"])
    text = "\n\n".join(texts or refusals)
    return Content(text=text, is_refusal=bool(refusals and not texts), calls=calls)


def keep_answer(job: Job, attempt: Attempt, content: Content) -> None:
    """Store the answer of the end that a job takes, parsed and validated where it has a schema."""
    if not (content.text or content.calls):
        return
    prompt = Prompt.objects.filter(job=job).only("schema").first()
    parsed: object = None
    errors: list[dict[str, Any]] = []
    if prompt is not None and prompt.schema is not None and content.text and not content.is_refusal:
        checked = schemas.validate(prompt.schema, content.text)
        parsed, errors = checked.parsed, checked.errors
    # A verdict on what a cancelled job had written by then is none on what it wrote in the end.
    judged = Verdict.objects.filter(job=job).exclude(job__answer__text=content.text)
    if job.finished_at is not None and judged.delete()[0]:
        tell(job.pk, "verdict_withdrawn")
    answer = Answer(
        job=job,
        attempt=attempt,
        text=content.text,
        is_refusal=content.is_refusal,
        parsed=parsed,
        validation_errors=errors,
        calls=content.calls,
        html="",
        # Without a text there is nothing to render, and a page does not wait for it.
        renderer_version=0 if content.text else rendering.RENDERER_VERSION,
    )
    keep(answer, by="job")


def keep(row: Answer | RawResponse, *, by: str) -> None:
    """Store a payload in place of the one that has the same key, `by`, if there is one; one statement."""
    others = [field.name for field in row._meta.concrete_fields if not field.primary_key]
    type(row)._default_manager.bulk_create(
        [row],  # type: ignore[list-item]
        update_conflicts=True,
        unique_fields=[by],
        update_fields=others,
    )


def render_due() -> int:
    """Render the answers whose renderer version is not current; return how many. Safe to run twice.

    Ends at once while another worker renders; what is left after ten seconds is rung for by the next beat.
    For that one to come through, rings that have piled up before it end at once too.
    """
    global _rests_until
    if time.monotonic() < _rests_until:
        return 0
    until, done = timezone.now() + RENDER_FOR, 0
    while timezone.now() < until:
        with transaction.atomic():
            if not _may_render():
                break
            due = Answer.objects.filter(renderer_version__gte=0).exclude(
                renderer_version=rendering.RENDERER_VERSION
            )
            answer = due.order_by("-pk").select_for_update(skip_locked=True).first()
            if answer is None:
                break
            try:
                html, version = _within(RENDER_LIMIT, answer.text), rendering.RENDERER_VERSION
            except (Exception, _TooSlow):
                # Model output is hostile: one answer must not keep all others from being rendered.
                html, version = "", Answer.PLAIN
            Answer.objects.filter(pk=answer.pk).update(html=html, renderer_version=version)
            JobText.objects.keep(answer.job_id)
            Job.objects.filter(pk=answer.job_id).update(version=F("version") + 1)
            done += 1
    else:
        _rests_until = time.monotonic() + RENDER_REST
    return done


def _may_render() -> bool:
    """Take the renderer's lock until the transaction ends; False while another worker has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_RENDER_LOCK])
        return bool(cursor.fetchone()[0])


class _TooSlow(BaseException):
    """The time is up; no `except Exception` on the way may swallow it."""


def _within(seconds: float, text: str) -> str:
    """Render under a time limit, and give the task its own alarm back afterwards."""

    def stop(_signal: int, frame: FrameType | None) -> None:
        # Python drops what is raised in a finaliser, and prints it: for that there is a next alarm.
        if frame is None or frame.f_code.co_name != "__del__":
            raise _TooSlow

    began = timezone.now()
    before = signal.signal(signal.SIGALRM, stop)
    left = signal.alarm(0)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        return rendering.render(text)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.alarm(max(1, left - int((timezone.now() - began).total_seconds())))


def usual_seconds(spec: ModelSpec, effort: str) -> tuple[float, float]:
    """Return P10 and P90 of the seconds a model usually takes at an effort, by the catalogue's prior."""
    seconds = spec.usual(effort)["seconds"]
    return float(seconds[0]), float(seconds[2])
