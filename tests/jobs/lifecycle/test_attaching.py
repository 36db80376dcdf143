"""Attachments: stored once, given by those who may see them, held for, sent whole, and in time gone."""

import base64
import datetime as dt
import threading
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import ProtectedError
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from jobs import attachments, lifecycle, spend, tasks
from jobs.access import Role
from jobs.attachments import Found
from jobs.lifecycle import SpecError, attaching, claiming
from jobs.models import (
    Attachment,
    AttachmentContent,
    Attempt,
    AttemptState,
    Given,
    Job,
    JobAttachment,
    LedgerEntry,
    Membership,
    ModelSpec,
    Project,
    Status,
    User,
)
from tests.factories import a_project, a_spec
from tests.fake_api import FakeApi
from tests.jobs.attachments.files import pdf, picture
from tests.jobs.lifecycle.conftest import Submit

pytestmark = pytest.mark.django_db

DRAWING, DRAFT = picture(), pdf("Lemma 4.7")
GONE = "An attachment is no longer there. Add it again."


def given(project: Project, by: User, data: bytes = DRAWING, name: str = "figure-2.png") -> Given:
    """Keep a file as an upload does, but for the process that looks into it."""
    digest = attachments.digest_of(data)
    if data.startswith(b"%PDF"):
        found = Found(media_type="application/pdf", size=len(data), digest=digest, pages=1, text_bytes=9)
    else:
        found = Found(media_type="image/png", size=len(data), digest=digest, width=124, height=88)
    return Given(Attachment.objects.keep(project, data, found, by=by), name)


def make_old(hours: float = 25) -> None:
    Attachment.objects.update(created_at=Now() - dt.timedelta(hours=hours))


def body_of(submit: Submit, api: FakeApi, **wanted: Any) -> dict[str, Any]:
    submit(**wanted)
    api.run("send")
    return api.posts[-1]


def test_an_upload_is_looked_into_and_stored_once(project: Project, person: User) -> None:
    first = lifecycle.keep_file(DRAWING, project=project, by=person)
    make_old()
    second = lifecycle.keep_file(DRAWING, project=project, by=person)
    assert first.pk == second.pk
    assert bytes(AttachmentContent.objects.get().data) == DRAWING
    assert (first.media_type, first.width, first.height, first.created_by) == ("image/png", 124, 88, person)
    assert Attachment.objects.filter(created_at__gt=Now() - dt.timedelta(hours=1)).exists()
    with pytest.raises(attachments.Unreadable):
        lifecycle.keep_file(b"", project=project, by=person)


def test_an_upload_gives_its_connection_back_while_it_is_looked_into(
    project: Project, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Outside:
        in_atomic_block, closed = False, 0

        def close(self) -> None:
            self.closed += 1

    outside = Outside()
    monkeypatch.setattr(attaching, "connection", outside)
    lifecycle.keep_file(DRAWING, project=project, by=person)
    assert outside.closed == 1


def test_bytes_that_were_emptied_are_stored_again(project: Project, person: User) -> None:
    given(project, person)
    AttachmentContent.objects.all().delete()
    given(project, person)
    assert bytes(AttachmentContent.objects.get().data) == DRAWING


def test_a_form_names_attachments_by_their_digests(project: Project, person: User) -> None:
    drawing, draft = given(project, person), given(project, person, DRAFT, "../a draft.pdf")
    values = [draft.value, drawing.value, drawing.value, "0" * 64 + " nothing.png", "", "\x00"]
    found = lifecycle.given_as(values, project=project, by=person)
    assert [(one.attachment.pk, one.name) for one in found] == [
        (draft.attachment.pk, "a draft.pdf"),
        (drawing.attachment.pk, "figure-2.png"),
    ]


def test_a_projects_own_copy_is_taken_before_anothers(project: Project, person: User) -> None:
    other = a_project("other", members={person: Role.VIEWER})
    there, here = given(other, person), given(project, person)
    later = given(a_project("later", members={person: Role.VIEWER}), person)
    for one in (there, here, later):
        (found,) = lifecycle.given_as([one.value], project=project, by=person)
        assert found.attachment == here.attachment


def test_attachments_of_a_project_one_may_not_see_do_not_exist(
    project: Project, person: User, submit: Submit
) -> None:
    foreign = given(a_project("foreign"), person)
    assert lifecycle.given_as([foreign.value], project=project, by=person) == ()
    with pytest.raises(SpecError) as refused:
        submit(attachments=(foreign,))
    assert refused.value.errors == {"attachments": GONE}
    assert not Job.objects.exists()
    operator = User.objects.create_superuser("root@example.com", "x")
    assert len(lifecycle.given_as([foreign.value], project=project, by=operator)) == 1


@pytest.mark.parametrize(
    ("size", "count", "said"),
    [
        (1, 51, "At most 50 attachments a job."),
        (26_000_000, 2, "Too large together: 52 MB, the limit is 50."),
        (50_000_001, 1, "Too large together: 51 MB, the limit is 50."),
    ],
)
def test_a_job_has_limits_of_its_own(
    size: int, count: int, said: str, project: Project, person: User, submit: Submit
) -> None:
    one = Given(Attachment(project=project, media_type="image/png", size=size), "a.png")
    with pytest.raises(SpecError) as refused:
        submit(attachments=(one,) * count)
    assert refused.value.errors == {"attachments": said}


@pytest.mark.parametrize(
    ("capability", "data", "said"),
    [("vision", DRAWING, "gpt-6-sol cannot see pictures."), ("pdf", DRAFT, "gpt-6-sol cannot read PDFs.")],
)
def test_a_model_that_cannot_read_a_file_is_refused(
    capability: str, data: bytes, said: str, project: Project, person: User, submit: Submit
) -> None:
    spec = ModelSpec.objects.get(pk="gpt-6-sol")
    ModelSpec.objects.filter(pk=spec.pk).update(
        capabilities=[name for name in spec.capabilities if name != capability]
    )
    with pytest.raises(SpecError) as refused:
        submit(attachments=(given(project, person, data),))
    assert refused.value.errors == {"attachments": said}


@pytest.mark.usefixtures("books_agree")
def test_the_ceiling_covers_attachments(project: Project, person: User, submit: Submit) -> None:
    plain = submit()
    drawing, draft = given(project, person), given(project, person, DRAFT, "draft.pdf")
    job = submit(attachments=(drawing, draft))
    spec = ModelSpec.objects.get(pk="gpt-6-sol")
    # Twelve patches of 1.2 tokens and what wraps them; a page at its most, twice its text, its file.
    assert drawing.attachment.tokens_at_most(spec) == 16 + 100
    assert draft.attachment.tokens_at_most(spec) == 3_001 + 100 + 18 + 1_000
    assert job.input_bound == plain.input_bound + 116 + 4_119
    assert job.worst_case > plain.worst_case
    held = LedgerEntry.objects.get(job=job, kind="hold").amount
    assert held == job.worst_case


def test_an_unknown_rule_costs_more_to_hold_and_a_window_is_the_most(
    project: Project, person: User, submit: Submit
) -> None:
    one = given(project, person)
    known = submit(attachments=(one,)).input_bound
    ModelSpec.objects.update(image_rule={})
    unknown = submit(attachments=(one,)).input_bound
    Attachment.objects.update(pages=500, text_bytes=10**9)
    one.attachment.refresh_from_db()
    full = submit(attachments=(one,))
    assert known < unknown < full.input_bound == full.model.context_window


def test_equal_prompts_with_other_files_are_other_jobs(
    project: Project, person: User, submit: Submit
) -> None:
    drawing, draft = given(project, person), given(project, person, DRAFT)
    prints = [submit(attachments=files).fingerprint for files in ((), (drawing,), (drawing, draft))]
    assert len(set(prints)) == 3
    renamed = Given(drawing.attachment, "another name.png")
    assert submit(attachments=(renamed,)).fingerprint == prints[1]


def test_a_job_keeps_its_files_in_their_order(project: Project, person: User, submit: Submit) -> None:
    drawing, draft = given(project, person), given(project, person, DRAFT, "draft.pdf")
    job = submit(attachments=(draft, drawing))
    rows = JobAttachment.objects.of(job).order_by("position")
    assert [(row.position, row.name, row.attachment.digest) for row in rows] == [
        (1, "draft.pdf", draft.attachment.digest),
        (2, "figure-2.png", drawing.attachment.digest),
    ]
    assert all(getattr(row, "is_kept") for row in rows)  # noqa: B009 - annotated
    AttachmentContent.objects.all().delete()
    assert not any(getattr(row, "is_kept") for row in JobAttachment.objects.of(job))  # noqa: B009


def test_a_file_of_another_project_is_copied_into_the_jobs_own(
    project: Project, person: User, submit: Submit
) -> None:
    other = a_project("other", members={person: Role.VIEWER})
    there = given(other, person)
    with CaptureQueriesContext(connection) as queries:
        job = submit(attachments=(there,))
    own = JobAttachment.objects.get(job=job).attachment
    assert (own.project, own.digest, own.size) == (project, there.attachment.digest, len(DRAWING))
    assert bytes(own.attachmentcontent.data) == DRAWING
    # The bytes stayed in the database.
    assert all(DRAWING[:40].hex() not in str(query["sql"]) for query in queries.captured_queries)
    again = submit(attachments=(there,))
    assert JobAttachment.objects.get(job=again).attachment == own
    assert AttachmentContent.objects.count() == 2


def test_the_body_has_every_file_before_the_text(
    project: Project, person: User, submit: Submit, api: FakeApi
) -> None:
    files = (given(project, person, DRAFT, "draft"), given(project, person))
    body = body_of(submit, api, attachments=files, prompt="Is figure 2 right?")
    assert body["input"] == [
        {
            "role": "user",
            "content": [
                {
                    "type": "input_file",
                    "detail": "high",
                    "filename": "draft.pdf",
                    "file_data": "data:application/pdf;base64," + base64.b64encode(DRAFT).decode(),
                },
                {
                    "type": "input_image",
                    "detail": "high",
                    "image_url": "data:image/png;base64," + base64.b64encode(DRAWING).decode(),
                },
                {"type": "input_text", "text": "Is figure 2 right?"},
            ],
        }
    ]
    plain = body_of(submit, api, prompt="Is it so?")
    assert plain["input"] == [{"role": "user", "content": "Is it so?"}]


def test_what_is_no_longer_kept_is_said_in_words(
    project: Project, person: User, submit: Submit, api: FakeApi
) -> None:
    job = submit(attachments=(given(project, person),))
    AttachmentContent.objects.all().delete()
    api.run("send")
    assert api.posts[-1]["input"][0]["content"][0] == {
        "type": "input_text",
        "text": "(A file that stood here is no longer kept.)",
    }
    assert attaching.given_with(job) == {}
    assert attaching.input_of(job, (), "")[0]["content"] == [api.posts[-1]["input"][0]["content"][0]]


def test_a_job_run_again_takes_its_files_along_and_a_follow_up_does_not(
    project: Project, person: User, submit: Submit, api: FakeApi
) -> None:
    drawing = given(project, person)
    job = submit(attachments=(drawing,))
    assert lifecycle.asked(job, by=person).attachments == (drawing,)
    again = lifecycle.submit(lifecycle.asked(job, by=person))
    assert JobAttachment.objects.get(job=again).attachment == drawing.attachment
    assert again.fingerprint == job.fingerprint
    assert lifecycle.follow_up(job, by=person, prompt="And now?").attachments == ()


def test_a_thread_that_is_sent_again_has_its_files(
    project: Project, person: User, submit: Submit, api: FakeApi
) -> None:
    job = submit(attachments=(given(project, person),))
    api.run("send")
    api.put(job, "completed")
    api.run("poll")
    job.refresh_from_db()
    later = lifecycle.submit(lifecycle.follow_up(job, by=person, prompt="And now?"))
    Job.objects.filter(pk=later.pk).update(replays_thread=True)
    api.run("send")
    asked = [item for item in api.posts[-1]["input"] if item.get("role") == "user"]
    assert [part["type"] for part in asked[0]["content"]] == ["input_image", "input_text"]
    assert asked[1]["content"] == "And now?"


def test_a_submission_finds_out_that_a_file_has_gone_meanwhile(
    project: Project, person: User, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = given(project, person)
    attach = attaching.attach

    def later(*args: Any) -> bool:
        AttachmentContent.objects.all().delete()
        return attach(*args)

    monkeypatch.setattr(attaching, "attach", later)
    with pytest.raises(SpecError) as refused:
        submit(attachments=(one,))
    assert refused.value.errors == {"attachments": GONE}
    assert not Job.objects.exists()
    assert not LedgerEntry.objects.exists()


def test_unused_uploads_go_after_a_day_and_used_ones_stay(
    project: Project, person: User, submit: Submit
) -> None:
    used, unused = given(project, person), given(project, person, DRAFT)
    submit(attachments=(used,))
    assert lifecycle.forget_unused() == 0
    make_old(hours=23)
    tasks.sweep()
    assert Attachment.objects.count() == 2
    make_old()
    fresh = given(project, person, picture("GIF"))
    tasks.sweep()
    tasks.sweep()
    assert set(Attachment.objects.all()) == {used.attachment, fresh.attachment}
    assert AttachmentContent.objects.count() == 2
    assert not Attachment.objects.filter(pk=unused.attachment.pk).exists()


def test_what_is_left_of_a_job_that_forgot_its_prompt_goes_too(
    project: Project, person: User, submit: Submit
) -> None:
    job = submit(attachments=(given(project, person),))
    make_old()
    with pytest.raises(ProtectedError), transaction.atomic():
        Attachment.objects.all().delete()
    JobAttachment.objects.filter(job=job).delete()
    assert lifecycle.forget_unused() == 1
    assert not AttachmentContent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_sweep_leaves_alone_what_is_being_given(project: Project, person: User) -> None:
    one = given(project, person)
    make_old()
    with transaction.atomic():
        assert attaching.attach(lifecycle_job(project, person), (one,))
        assert in_another_connection(lifecycle.forget_unused) == 0
    assert in_another_connection(lifecycle.forget_unused) == 0
    assert JobAttachment.objects.get().attachment == one.attachment


def lifecycle_job(project: Project, person: User) -> Job:
    return Job.objects.create(
        project=project,
        submitted_by=person,
        model_id="gpt-6-sol",
        effort="low",
        max_output_tokens=16,
        input_bound=1,
        worst_case=0,
        fingerprint="f",
    )


def in_another_connection(task: Any) -> int:
    found: list[int] = []

    def run() -> None:
        found.append(task())
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def test_only_so_many_bytes_are_sent_at_once(
    project: Project, person: User, submit: Submit, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = given(project, person)
    monkeypatch.setattr(claiming, "MOST_BYTES_AT_ONCE", 2 * len(DRAWING))
    jobs = [submit(attachments=(one,)) for _ in range(3)]
    light = submit()
    claimed = claiming.claim_sends(32)
    assert [send.job_id for send in claimed] == [jobs[0].pk, jobs[1].pk, light.pk]
    assert [send.size for send in claimed] == [len(DRAWING), len(DRAWING), 0]
    assert claiming.claim_sends(32, under_way=2 * len(DRAWING)) == []
    assert [send.job_id for send in claiming.claim_sends(32, under_way=len(DRAWING))] == [jobs[2].pk]


def test_heavy_jobs_that_have_to_wait_hold_up_no_light_ones_behind_them(
    project: Project, person: User, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = given(project, person)
    monkeypatch.setattr(claiming, "MOST_BYTES_AT_ONCE", len(DRAWING))
    heavy = [submit(attachments=(one,)) for _ in range(6)]
    light = [submit() for _ in range(6)]
    # Nothing was accepted there yet: there is room for five.
    claimed = claiming.claim_sends(64, under_way=len(DRAWING))
    assert [send.job_id for send in claimed] == [job.pk for job in light[:5]]
    assert not Attempt.objects.filter(job__in=heavy).exclude(state=AttemptState.PLANNED).exists()


def test_a_job_alone_is_sent_whatever_it_weighs_and_no_lighter_one_overtakes_it(
    project: Project, person: User, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = given(project, person), given(project, person, DRAFT)
    monkeypatch.setattr(claiming, "MOST_BYTES_AT_ONCE", len(DRAWING) + 1)
    assert len(DRAFT) > len(DRAWING)
    first, heavy, last = (submit(attachments=(one,)) for one in (small, large, small))
    assert [send.job_id for send in claiming.claim_sends(32)] == [first.pk]
    assert claiming.claim_sends(32, under_way=len(DRAWING)) == []
    assert [send.job_id for send in claiming.claim_sends(32)] == [heavy.pk]
    assert [send.job_id for send in claiming.claim_sends(32)] == [last.pk]


def test_a_pump_counts_down_what_it_has_sent(
    project: Project, person: User, submit: Submit, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = given(project, person)
    monkeypatch.setattr(claiming, "MOST_BYTES_AT_ONCE", len(DRAWING))
    jobs = [submit(attachments=(one,)) for _ in range(3)]
    api.step = 1
    api.run("send")
    assert len(api.posts) == 3
    assert set(Job.objects.filter(pk__in=[job.pk for job in jobs]).values_list("status", flat=True)) == {
        Status.QUEUED
    }


def test_a_thread_weighs_what_all_of_it_was_given(project: Project, person: User, submit: Submit) -> None:
    first = submit(attachments=(given(project, person),))
    Job.objects.filter(pk=first.pk).update(status=Status.COMPLETED)
    first.refresh_from_db()
    second = submit(previous=first, attachments=(given(project, person, DRAFT),))
    alone = submit()
    assert attaching.bytes_sent([first, second, alone]) == {
        first.pk: len(DRAWING),
        second.pk: len(DRAWING) + len(DRAFT),
    }
    assert attaching.bytes_sent([]) == {}


def test_an_exact_count_gives_back_what_the_formula_held(
    project: Project, person: User, submit: Submit, api: FakeApi
) -> None:
    job = submit(attachments=(given(project, person),))
    api.input_tokens = 30
    api.run("send")
    attempt = Attempt.objects.get(job=job)
    assert (attempt.state, attempt.input_tokens) == (AttemptState.KNOWN, 30)
    assert Decimal(0) < spend.held_for(attempt) < job.worst_case


def test_a_member_who_left_can_no_longer_give_what_is_there(
    project: Project, person: User, submit: Submit
) -> None:
    one = given(project, person)
    other = a_project("other", members={person: Role.SUBMITTER})
    Membership.objects.filter(user=person, project=project).delete()
    with pytest.raises(SpecError) as refused:
        lifecycle.submit(a_spec(other, person, model="gpt-6-sol", mode="standard", attachments=(one,)))
    assert refused.value.errors == {"attachments": GONE}
