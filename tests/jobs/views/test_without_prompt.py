"""A job whose prompt is no longer stored: every page shows it, and says what cannot be done any more."""

from typing import Any

import pytest
from django.test import Client

from jobs.access import Role
from jobs.models import Job, Project, Prompt, Status, User
from tests.factories import a_person
from tests.jobs.views.states import ARXIV, DOWNLOAD, SAGE, a_job

pytestmark = pytest.mark.django_db

ANSWERED = {"text": '{"ok": true}', "parsed": {"ok": True}}
ABOUT: dict[Status, dict[str, Any]] = {
    Status.COMPLETED: {"answer": ANSWERED},
    Status.REQUIRES_ACTION: {
        "spec": {"tools": (ARXIV,), "max_tool_calls": 1},
        "answer": {"calls": [SAGE, DOWNLOAD]},
    },
    Status.INCOMPLETE: {"incomplete_reason": "max_output_tokens"},
    Status.FAILED: {"error_code": "prompt_missing"},
}


def without_prompt(project: Project, by: User, status: Status) -> Job:
    job = a_job(project, by, status, **ABOUT.get(status, {}))
    Prompt.objects.filter(job=job).delete()
    return Job.objects.get(pk=job.pk)


@pytest.mark.parametrize("status", list(Status))
def test_every_state_has_its_pages(signed_in: Client, project: Project, mira: User, status: Status) -> None:
    job = without_prompt(project, mira, status)
    for path in ("", "live/", "prompt/", "activity/", "raw/"):
        answer = signed_in.get(f"{job.get_absolute_url()}{path}", headers={"HX-Request": "true"})
        assert answer.status_code in (200, 404 if path == "raw/" else 200), path
    page = signed_in.get(job.get_absolute_url()).content.decode()
    assert job.short_id in page


def test_lists_and_exports_have_it_too(signed_in: Client, project: Project, mira: User) -> None:
    job = without_prompt(project, mira, Status.COMPLETED)
    for path in ("/jobs/", "/jobs/export.csv", "/jobs/export.jsonl"):
        answer = signed_in.get(path)
        body = b"".join(answer) if answer.streaming else answer.content  # type: ignore[arg-type]
        assert job.short_id in body.decode(), path


def test_why_it_was_not_sent_stands_on_its_page(signed_in: Client, project: Project, mira: User) -> None:
    job = without_prompt(project, mira, Status.FAILED)
    page = signed_in.get(job.get_absolute_url()).content.decode()
    assert "What this job asks is no longer stored" in page
    assert "it was not sent and cost nothing" in page


@pytest.mark.parametrize(
    ("code", "kind", "title"),
    [
        ("tools_unbounded", "unsendable", "What this job’s tools cost is not bounded any more"),
        ("unsendable", "unsendable", "This job cannot be sent"),
    ],
)
def test_nor_is_any_other_that_cannot_be_sent_blamed_on_the_api(
    signed_in: Client, project: Project, mira: User, code: str, kind: str, title: str
) -> None:
    job = a_job(project, mira, Status.FAILED, error_code=code, events=[(kind, f"{code}: No.")])
    page = signed_in.get(job.get_absolute_url()).content.decode()
    assert title in page
    assert "Not sent: it cannot be" in page
    assert "refused this job" not in page


def test_calls_cannot_be_answered_any_more_but_the_job_can_be_finished(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = without_prompt(project, mira, Status.REQUIRES_ACTION)
    page = signed_in.get(job.get_absolute_url()).content.decode()
    assert "It can only be finished without answering." in page
    assert "Continue job" not in page
    assert "download_paper" in page
    data = {"call1-text": "[1]", "call2-approve": "yes"}
    refused = signed_in.post(f"{job.get_absolute_url()}replies/", data)
    assert refused.status_code == 422
    assert "A prompt of this thread is no longer stored, so it cannot go on." in refused.content.decode()
    price = signed_in.post(f"{job.get_absolute_url()}replies/price/", data, headers={"HX-Request": "true"})
    assert price.status_code == 204
    signed_in.post(f"{job.get_absolute_url()}finish/")
    job.refresh_from_db()
    assert job.status == Status.COMPLETED


def test_whoever_may_only_look_is_told_nothing_about_answering(
    client: Client, project: Project, mira: User
) -> None:
    viewer = a_person("vera@example.com")
    project.membership_set.create(user=viewer, role=Role.VIEWER)
    client.force_login(viewer)
    job = without_prompt(project, mira, Status.REQUIRES_ACTION)
    assert "It can only be finished" not in client.get(job.get_absolute_url()).content.decode()


def test_sending_it_again_is_refused_in_words(signed_in: Client, project: Project, mira: User) -> None:
    job = without_prompt(project, mira, Status.UNCONFIRMED)
    given = {"decision": "resend", "reason": "Nobody answered."}
    page = signed_in.post(f"{job.get_absolute_url()}resolve/", given, follow=True).content.decode()
    assert "What it asked is no longer stored. Nothing was sent." in page
    assert Job.objects.get(pk=job.pk).status == Status.UNCONFIRMED
