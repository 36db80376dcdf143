"""Attachments from their bytes to the practice API over HTTP, looked into and sent for real."""

import hashlib

import pytest
from django.db.models import Sum
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.attachments import Found, digest_of
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


def run(project: Project, person: User, *given: Given, model: str = "gpt-6-sol") -> Job:
    """Submit a job with attachments, send it and poll it to its end."""
    prompt = "Is lemma 4.7 true? [[sandbox: seconds=0 reasoning=64]]"
    job = lifecycle.submit(
        a_spec(project, person, prompt=prompt, model=model, mode="standard", effort="high", attachments=given)
    )
    for kind in ("send", "poll"):
        Job.objects.filter(next_action_at__isnull=False).update(next_action_at=Now())
        lifecycle.run_pump(kind)  # type: ignore[arg-type]
    job.refresh_from_db()
    return job


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
    held = LedgerEntry.objects.filter(job=job, kind=EntryKind.HOLD).aggregate(sum=Sum("amount"))["sum"]
    assert 0 < job.cost <= held
    # The guess that people see is near what the sandbox counts by formulas of its own.
    about = sum(one.attachment.tokens_about(job.model) for one in given)
    assert 0.9 < about / attempt.input_tokens < 1.1


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
