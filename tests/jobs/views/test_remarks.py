"""What people write beside a job: who may, what is shown then, with htmx and without."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from jobs import lifecycle
from jobs.access import Role
from jobs.models import Event, Job, JobNote, Project, Status, User, Verdict
from jobs.rendering import RENDERER_VERSION
from tests.factories import a_person, a_project
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db

ANSWER = {"text": "Yes.", "html": "<p>Yes.</p>", "renderer_version": RENDERER_VERSION}
HTMX = {"HX-Request": "true"}


@pytest.fixture
def viewer() -> User:
    return a_person("viewer@example.com", name="Vera")


@pytest.fixture
def project(mira: User, viewer: User) -> Project:
    return a_project(members={mira: Role.SUBMITTER, viewer: Role.VIEWER})


@pytest.fixture
def job(project: Project, mira: User) -> Job:
    return a_job(project, mira, Status.COMPLETED, answer=ANSWER, spec={"tags": ("proofs",)})


def post(client: Client, job: Job, act: str, headers: dict[str, str] | None = None, **fields: str) -> Any:
    return client.post(f"{job.get_absolute_url()}{act}/", fields, headers=headers or {})


def card(html: str) -> str:
    """Return the part of a page with the remarks."""
    return html.partition('id="remarks"')[2].partition("Timeline")[0]


def test_a_verdict_is_given_changed_and_taken_back(signed_in: Client, job: Job) -> None:
    before = card(signed_in.get(job.get_absolute_url()).content.decode())
    assert "Is it right?" in before
    assert "No verdict yet" in before
    answer = post(signed_in, job, "verdict", HTMX, value="right")
    assert answer.status_code == 200
    html = answer.content.decode()
    assert html.lstrip().startswith('<div class="remarks" id="remarks">')
    assert "Mira, <time" in html
    assert f"{timezone.localtime(Verdict.objects.get().at):%H:%M}</time>" in html
    assert 'value="" aria-pressed="true">Right' in html
    assert 'value="wrong" aria-pressed="false">Wrong' in html
    assert post(signed_in, job, "verdict", value="wrong").status_code == 302
    assert Verdict.objects.get().value == "wrong"
    assert "No verdict yet" in post(signed_in, job, "verdict", HTMX, value="").content.decode()
    activity = signed_in.get(f"{job.get_absolute_url()}activity/").content.decode()
    assert all(words in activity for words in ("Judged right", "Judged wrong", "Verdict withdrawn"))


def test_what_is_no_verdict_takes_back_at_most(signed_in: Client, job: Job) -> None:
    assert post(signed_in, job, "verdict", value="<b>").status_code == 302
    assert not Verdict.objects.exists()


def test_where_there_is_no_answer_there_is_nothing_to_judge(
    signed_in: Client, project: Project, mira: User
) -> None:
    running = a_job(project, mira, Status.IN_PROGRESS)
    assert "Is it right?" not in signed_in.get(running.get_absolute_url()).content.decode()
    assert post(signed_in, running, "verdict", HTMX, value="right").status_code == 422
    refused = post(signed_in, running, "verdict", value="right")
    assert refused.status_code == 422
    assert b"<!doctype html>" in refused.content


def test_notes_are_shown_letter_by_letter_and_removed_by_their_author(
    signed_in: Client, job: Job, viewer: User
) -> None:
    lifecycle.add_note(job.pk, "Another's.", by=viewer)
    html = post(signed_in, job, "notes", HTMX, note="<b>Step 3</b>\r\n is a guess.").content.decode()
    assert "<p>&lt;b&gt;Step 3&lt;/b&gt;\n is a guess.</p>" in html
    assert html.count("Remove</button>") == 1
    own = JobNote.objects.get(text__contains="Step")
    shown = card(signed_in.get(job.get_absolute_url()).content.decode())
    assert "Vera, " in shown
    assert (
        post(signed_in, job, f"notes/{JobNote.objects.exclude(pk=own.pk).get().pk}/remove").status_code == 302
    )
    assert JobNote.objects.count() == 2
    assert post(signed_in, job, f"notes/{own.pk}/remove", HTMX).status_code == 200
    assert not JobNote.objects.filter(pk=own.pk).exists()
    assert not Event.objects.filter(note__contains="guess").exists()


def test_a_note_that_is_refused_stays_in_its_field(signed_in: Client, job: Job) -> None:
    for headers in (HTMX, {}):
        answer = post(signed_in, job, "notes", headers, note="x" * 4_001)
        assert answer.status_code == 422
        html = answer.content.decode()
        assert "A note has 1 to 4,000 characters." in html
        assert "x" * 4_001 in html


def test_tags_are_changed_where_they_stand(signed_in: Client, job: Job) -> None:
    html = post(signed_in, job, "tags", HTMX, tags=" a , <b> ,, a ").content.decode()
    assert '<span class="tag">a</span>' in html
    assert '<span class="tag">&lt;b&gt;</span>' in html
    assert 'value="&lt;b&gt;, a"' in html
    assert Job.objects.get(pk=job.pk).tags == ["<b>", "a"]
    assert post(signed_in, job, "tags", tags="").status_code == 302
    assert Job.objects.get(pk=job.pk).tags == []


@pytest.mark.parametrize("tags", ["x" * 61, ",".join(map(str, range(21))), "x," * 700])
def test_tags_that_are_refused_change_nothing(signed_in: Client, job: Job, tags: str) -> None:
    for headers in (HTMX, {}):
        answer = post(signed_in, job, "tags", headers, tags=tags)
        assert answer.status_code == 422
        assert '<details class="edit" open>' in answer.content.decode()
    assert Job.objects.get(pk=job.pk).tags == ["proofs"]


def test_a_viewer_sees_what_others_said_and_can_say_nothing(
    signed_in: Client, job: Job, viewer: User
) -> None:
    post(signed_in, job, "verdict", value="unsure")
    post(signed_in, job, "notes", note="Mine.")
    client = Client()
    client.force_login(viewer)
    shown = card(client.get(job.get_absolute_url()).content.decode())
    assert "<b>Unsure</b>" in shown
    assert "Mine." in shown
    assert '<span class="tag">proofs</span>' in shown
    assert "<form" not in shown
    for act in ("verdict", "notes", "tags", f"notes/{JobNote.objects.get().pk}/remove"):
        assert post(client, job, act, HTMX).status_code == 403


def test_a_remark_takes_few_queries(
    signed_in: Client, job: Job, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    for act, field in {
        "verdict": {"value": "right"},
        "notes": {"note": "So."},
        "tags": {"tags": "a"},
    }.items():
        with django_assert_max_num_queries(20):
            assert post(signed_in, job, act, HTMX, **field).status_code == 200


def test_remarks_stand_above_the_timeline_once_there_is_an_answer(
    signed_in: Client, project: Project, mira: User, job: Job
) -> None:
    for one, is_first in ((job, True), (a_job(project, mira), False)):
        html = signed_in.get(one.get_absolute_url()).content.decode()
        assert (html.index('id="remarks"') < html.index("Timeline")) is is_first


def test_whose_session_has_ended_is_asked_to_sign_in_on_the_page(job: Job) -> None:
    answer = post(Client(), job, "verdict", HTMX, value="right")
    assert (answer.status_code, answer["HX-Refresh"]) == (204, "true")
