"""Attachments from their bytes to the practice API over HTTP, looked into and sent for real."""

import hashlib
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Sum
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.attachments import Found, digest_of
from jobs.lifecycle import Reply
from jobs.models import Attachment, Attempt, EntryKind, Given, Job, LedgerEntry, Project, Status, User
from tests.factories import a_spec
from tests.jobs.attachments.files import pdf, picture
from tests.sandbox_process import SandboxProcess

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

FILES = {
    "lemma-4-7.pdf": pdf("Lemma 4.7 of the draft", "Its proof"),
    "figure-2.png": picture("PNG", width=1240, height=880),
    "photo.jpeg": picture("JPEG", width=640, height=480),
    "scan.webp": picture("WEBP", width=300, height=3000),
    "plot.gif": picture("GIF"),
}
NO_ARGUMENTS = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def run(project: Project, person: User, *given: Given, **wanted: Any) -> Job:
    """Submit a job with attachments, send it and poll it to its end."""
    usual = {"model": "gpt-6-sol", "mode": "standard", "effort": "high"}
    usual["prompt"] = "Is lemma 4.7 true? [[sandbox: seconds=0 reasoning=64]]"
    return to_its_end(lifecycle.submit(a_spec(project, person, attachments=given, **{**usual, **wanted})))


def to_its_end(job: Job) -> Job:
    for kind in ("send", "poll"):
        Job.objects.filter(next_action_at__isnull=False).update(next_action_at=Now())
        lifecycle.run_pump(kind)  # type: ignore[arg-type]
    job.refresh_from_db()
    return job


def held_for(job: Job) -> Decimal:
    rows = LedgerEntry.objects.filter(job=job, kind=EntryKind.HOLD)
    found: Decimal = rows.aggregate(sum=Sum("amount"))["sum"]
    return found


@pytest.mark.parametrize("model", ["gpt-6-sol", "gpt-5.5-pro"])
def test_every_file_arrives_whole_and_costs_no_more_than_was_held(
    model: str, wired: Project, person: User, sandbox: SandboxProcess
) -> None:
    given = [Given(lifecycle.keep_file(data, project=wired, by=person), name) for name, data in FILES.items()]
    job = run(wired, person, *given, model=model)
    assert job.status == Status.COMPLETED
    (seen,) = sandbox.log()["responses"]
    assert [file["sha256"] for file in seen["files"]] == [
        hashlib.sha256(data).hexdigest() for data in FILES.values()
    ]
    assert [(file["type"], file["media_type"]) for file in seen["files"]] == [
        ("input_file", "application/pdf"),
        *(("input_image", f"image/{kind}") for kind in ("png", "jpeg", "webp", "gif")),
    ]
    assert {file["detail"] for file in seen["files"]} == {"high"}
    attempt = Attempt.objects.get(job=job)
    assert attempt.usage is not None
    assert 5_000 < attempt.usage["input_tokens"] == attempt.input_tokens <= job.input_bound
    assert 0 < job.cost <= held_for(job)
    # The guess that people see is near what the sandbox counts by formulas of its own.
    about = sum(one.attachment.tokens_about(job.model) for one in given)
    assert 0.9 < about / attempt.input_tokens < 1.1


def test_files_of_an_output_arrive_whole_and_cost_no_more_than_was_held(
    wired: Project, person: User, sandbox: SandboxProcess
) -> None:
    prompt = "Compute it. [[sandbox: seconds=0 reasoning=64 calls=1]]"
    function = {"type": "function", "name": "run_sage", "parameters": NO_ARGUMENTS}
    first = run(wired, person, prompt=prompt, tools=(function,), effort="low")
    assert first.status == Status.REQUIRES_ACTION
    names = ("figure-2.png", "lemma-4-7.pdf")
    given = [Given(lifecycle.keep_file(FILES[name], project=wired, by=person), name) for name in names]
    (card,) = lifecycle.cards(first)
    reply = Reply(key=card.call.key, output="The plot, and how it was made.", files=tuple(given))
    second = to_its_end(lifecycle.answer(first, [reply], by=person))
    assert second.status == Status.COMPLETED
    seen = next(one for one in sandbox.log()["responses"] if one["files"])
    assert [file["sha256"] for file in seen["files"]] == [
        hashlib.sha256(FILES[name]).hexdigest() for name in names
    ]
    assert 0 < second.cost <= held_for(second)


def test_a_file_that_only_the_api_finds_bad_fails_the_job_and_costs_nothing(
    wired: Project, person: User, sandbox: SandboxProcess
) -> None:
    data = b"\x89PNG and nothing that belongs to one"
    found = Found(media_type="image/png", size=len(data), digest=digest_of(data), width=9, height=9)
    kept = Attachment.objects.keep(wired, data, found, by=person)
    job = run(wired, person, Given(kept, "figure-2.png"))
    assert (job.status, job.error_code, job.cost) == (Status.FAILED, "image_parse_error", 0)
    assert LedgerEntry.objects.filter(job=job).aggregate(sum=Sum("amount"))["sum"] == 0
    assert sandbox.log()["responses"] == []
