"""Files of a job that is being written: taken, shown as chips, sent along, given back to who may see them."""

import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client

from jobs import attachments, lifecycle
from jobs.access import Role
from jobs.forms.files import NOT_HERE
from jobs.models import Attachment, AttachmentContent, Job, JobAttachment, Project, User
from jobs.views import attachments as views
from tests.factories import a_project, a_spec
from tests.jobs.attachments.files import moving, pdf, picture

pytestmark = pytest.mark.django_db

DRAWING, DRAFT = picture(width=1240, height=880), pdf("Lemma 4.7", "Its proof", "Remarks")


@pytest.fixture
def person() -> User:
    return User.objects.create_user("mira@example.com", name="Mira")


@pytest.fixture
def project(person: User) -> Project:
    return a_project(members={person: Role.SUBMITTER})


@pytest.fixture
def browser(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


def upload(browser: Client, *files: tuple[str, bytes], project: str = "proofs", **more: Any) -> HttpResponse:
    # The type a browser declares is never looked at.
    sent = [SimpleUploadedFile(name, data, content_type="text/html") for name, data in files]
    return browser.post("/attachments/", {"files": sent, "project": project, **more})  # type: ignore[return-value]


def values_in(page: HttpResponse) -> list[str]:
    return re.findall(r'name="attachments" value="([^"]*)"', page.content.decode())


def with_file(project: Project, person: User, name: str = "figure-2.png", data: bytes = DRAWING) -> Job:
    kept = lifecycle.keep_file(data, project=project, by=person)
    given = lifecycle.given_as([f"{kept.digest} {name}"], project=project, by=person)
    return lifecycle.submit(a_spec(project, person, model="gpt-6-sol", mode="standard", attachments=given))


def test_each_file_is_answered_with_its_chip(browser: Client, project: Project) -> None:
    page = upload(browser, ("lemma-4-7.pdf", DRAFT), ("figure-2.png", DRAWING), model="o3-pro")
    text = page.content.decode()
    assert page.status_code == 200
    # Three pages of 6 tiles and 25 letters of text; 1,082 × 768 pixels are 6 tiles.
    assert "<b>lemma-4-7.pdf</b><small>3 pages · about 2,931 tokens</small>" in text
    assert "<b>figure-2.png</b><small>1,240 × 880 · about 975 tokens</small>" in text
    assert text.count("<li>") == 2
    assert 'aria-label="Remove figure-2.png"' in text
    digests = [attachments.digest_of(DRAFT), attachments.digest_of(DRAWING)]
    assert values_in(page) == [f"{digests[0]} lemma-4-7.pdf", f"{digests[1]} figure-2.png"]
    assert Attachment.objects.filter(project=project).count() == 2


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("asked", "field"),
    [("call12-attachments", "call12-attachments"), ('"><b', "attachments"), ("prompt", "attachments")],
)
def test_a_chip_goes_into_the_field_of_its_call(browser: Client, asked: str, field: str) -> None:
    page = upload(browser, ("figure-2.png", DRAWING), field=asked).content.decode()
    assert f'type="hidden" name="{field}" value="' in page


@pytest.mark.usefixtures("project")
def test_what_cannot_be_read_is_said_on_its_chip_and_the_rest_is_taken(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "MOST_BYTES", 400_000)
    word = b"PK\x03\x04" + bytes(26) + b"word/document.xml"
    page = upload(
        browser,
        ("a.docx", word),
        ("big.png", bytes(400_001)),
        ("run.gif", moving("GIF")),
        ("<b>.png", DRAWING),
        ("empty.png", b""),
    )
    text = page.content.decode()
    assert "<b>a.docx</b><small>Word files can’t be read. Save it as PDF and add it again.</small>" in text
    assert "<b>big.png</b><small>Too large: 1 MB, the limit is 50.</small>" in text
    assert "<b>run.gif</b><small>Moving pictures can’t be read." in text
    assert "<b>empty.png</b><small>This file is empty.</small>" in text
    assert "<b>&lt;b&gt;.png</b>" in text
    assert text.count('<li class="bad">') == 4
    assert len(values_in(page)) == Attachment.objects.count() == 1


def test_the_same_file_twice_is_stored_once(browser: Client, project: Project) -> None:
    first, second = upload(browser, ("a.png", DRAWING)), upload(browser, ("b.jpeg", DRAWING))
    assert values_in(first)[0].split()[0] == values_in(second)[0].split()[0]
    assert AttachmentContent.objects.count() == 1


def test_only_those_who_may_submit_to_a_project_may_upload_to_it(browser: Client, person: User) -> None:
    a_project("foreign")
    a_project("watched", members={person: Role.VIEWER})
    assert upload(browser, ("a.png", DRAWING), project="foreign").status_code == 404
    assert upload(browser, ("a.png", DRAWING), project="nowhere").status_code == 404
    assert upload(browser, ("a.png", DRAWING), project="watched").status_code == 403
    assert upload(Client(), ("a.png", DRAWING), project="watched").headers["HX-Refresh"] == "true"
    assert not Attachment.objects.exists()


def test_an_upload_needs_the_forms_token(person: User, project: Project) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(person)
    assert upload(strict, ("a.png", DRAWING)).status_code == 403


def test_files_are_sent_with_the_job_and_stay_on_the_form_until_then(
    browser: Client, project: Project, person: User
) -> None:
    (value,) = values_in(upload(browser, ("figure-2.png", DRAWING)))
    form = {
        "project": "proofs",
        "prompt": "Is figure 2 right?",
        "model": "gpt-6-sol",
        "effort": "low",
        "max_output_tokens": "20,000",
        "attachments": [value],
    }
    again = browser.post("/jobs/new/", {**form, "prompt": ""})
    assert again.status_code == 422
    assert values_in(again) == [value]  # type: ignore[arg-type]
    twin = f"{value.split()[0]} the-same-under-another-name.png"
    sent = browser.post("/jobs/new/", {**form, "attachments": [value, twin]})
    assert sent.status_code == 302
    row = JobAttachment.objects.get(job=Job.objects.get())
    assert (row.name, row.attachment.digest) == ("figure-2.png", value.split()[0])


def test_a_file_that_is_gone_or_foreign_keeps_the_job_from_being_sent(
    browser: Client, project: Project, person: User
) -> None:
    other = a_project("foreign")
    foreign = lifecycle.keep_file(DRAWING, project=other, by=person)
    form = {
        "project": "proofs",
        "prompt": "Is it so?",
        "model": "gpt-6-sol",
        "effort": "low",
        "max_output_tokens": "20,000",
        "attachments": [f"{foreign.digest} figure-2.png"],
    }
    refused = browser.post("/jobs/new/", form)
    assert refused.status_code == 422
    assert "An attachment is no longer there. Add it again." in refused.content.decode()
    refused = browser.post("/jobs/new/", {**form, "attachments": [], "files": "figure-2.png"})
    assert refused.status_code == 422
    assert NOT_HERE in refused.content.decode()
    assert not Job.objects.exists()


def test_a_job_run_again_starts_with_its_files(browser: Client, project: Project, person: User) -> None:
    job = with_file(project, person)
    page = browser.get(f"/jobs/new/?from={job.short_id}")
    assert [value.split()[1] for value in values_in(page)] == ["figure-2.png"]  # type: ignore[arg-type]
    assert "about" in page.content.decode()


def test_the_price_counts_files(browser: Client, project: Project) -> None:
    (value,) = values_in(upload(browser, ("figure-2.png", DRAWING)))
    form = {"project": "proofs", "prompt": "x", "model": "gpt-6-sol", "effort": "low"}
    form["max_output_tokens"] = "20,000"

    def bound(**more: Any) -> int:
        page = browser.post("/jobs/estimate/", {**form, **more}).content.decode()
        found = re.search(r"at most <b>([\d,]+)</b> input tokens", page)
        assert found
        return int(found[1].replace(",", ""))

    # 39 × 28 patches of 1.2 tokens, one for their rounding, and what wraps them.
    assert bound(attachments=[value]) - bound() == 1_311 + 1 + 100


@pytest.mark.parametrize(
    ("data", "name", "media_type", "disposition"),
    [
        (
            DRAWING,
            "figure 2 „a“.png",
            "image/png",
            "inline; filename*=utf-8''figure%202%20%E2%80%9Ea%E2%80%9C.png",
        ),
        (DRAFT, 'a"b.pdf', "application/pdf", 'attachment; filename="a\\"b.pdf"'),
        (picture("GIF") + b"<script>alert(1)</script>", "x.html", "image/gif", 'inline; filename="x.html"'),
    ],
)
def test_a_file_comes_back_as_what_it_is_and_can_do_nothing(
    data: bytes, name: str, media_type: str, disposition: str, browser: Client, project: Project, person: User
) -> None:
    job = with_file(project, person, name, data)
    answer = browser.get(f"/jobs/{job.short_id}/attachments/1/")
    assert answer.content == data
    assert answer.headers["Content-Type"] == media_type
    assert answer.headers["Content-Disposition"] == disposition
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_file_is_not_there_for_others_nor_once_it_is_forgotten(
    browser: Client, project: Project, person: User
) -> None:
    job = with_file(project, person)
    stranger = Client()
    stranger.force_login(User.objects.create_user("other@example.com"))
    assert stranger.get(f"/jobs/{job.short_id}/attachments/1/").status_code == 404
    assert browser.get(f"/jobs/{job.short_id}/attachments/2/").status_code == 404
    assert (
        f"/jobs/{job.short_id}/attachments/1/"
        in browser.get(f"/jobs/{job.short_id}/prompt/").content.decode()
    )
    AttachmentContent.objects.all().delete()
    assert browser.get(f"/jobs/{job.short_id}/attachments/1/").status_code == 404
    page = browser.get(f"/jobs/{job.short_id}/prompt/").content.decode()
    assert "1,240 × 880 · no longer kept" in page
    assert "/attachments/1/" not in page


def test_chips_without_a_model_guess_by_the_usual_rule(project: Project, person: User) -> None:
    kept = lifecycle.keep_file(DRAFT, project=project, by=person)
    (given,) = lifecycle.given_as([f"{kept.digest} a.pdf"], project=project, by=person)
    (chip,) = views.chips_of([given], None)
    assert re.fullmatch(r"3 pages · about [\d,]+ tokens", chip.facts)
