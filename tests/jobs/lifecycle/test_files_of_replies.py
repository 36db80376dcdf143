"""Files in the outputs of calls: held for, sent inside the output, kept with what is saved."""

import base64
import dataclasses
from typing import Any

import pytest

from jobs import lifecycle, spend
from jobs.lifecycle import Reply, SpecError
from jobs.models import (
    AttachmentContent,
    Connection,
    Job,
    JobAttachment,
    Kind,
    ModelSpec,
    Project,
    SavedReplies,
    Status,
    User,
)
from tests.fake_api import FakeApi
from tests.jobs.attachments.files import pdf, picture
from tests.jobs.lifecycle.conftest import Submit
from tests.jobs.lifecycle.test_answering import LOOK_UP, SAGE, stop
from tests.jobs.lifecycle.test_attaching import given, make_old

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

PLOT, TABLE = picture(), pdf("Norms")


@pytest.fixture
def waiting(api: FakeApi, submit: Submit, project: Project, person: User) -> Job:
    """A job that was given a file itself and stopped for two functions."""
    job = submit(attachments=(given(project, person, TABLE, "draft.pdf"),))
    return stop(api, job, [SAGE, LOOK_UP])


def replies(project: Project, person: User, **first: Any) -> list[Reply]:
    plot = given(project, person, PLOT, "plot.png")
    return [
        Reply(**{"key": "call_1", "output": "See the plot.", "files": (plot,), **first}),
        Reply(key="call_2", files=(given(project, person, TABLE, "norms.pdf"),)),
    ]


def ceiling(job: Job, given: list[Reply]) -> int:
    found = lifecycle.ceiling_of(lifecycle.reply_spec(job, given, by=job.submitted_by))
    assert found is not None
    return found.input_bound


def test_files_go_out_inside_the_output_they_belong_to(
    api: FakeApi, waiting: Job, project: Project, person: User
) -> None:
    wanted = replies(project, person)
    job = lifecycle.answer(waiting, wanted, by=person)
    rows = JobAttachment.objects.filter(job=job).values_list("position", "name", "call_key")
    assert list(rows) == [(1, "plot.png", "call_1"), (2, "norms.pdf", "call_2")]
    api.run("send")
    image = {
        "type": "input_image",
        "detail": "high",
        "image_url": "data:image/png;base64," + base64.b64encode(PLOT).decode(),
    }
    first, second = api.posts[-1]["input"]
    assert first["output"] == [image, {"type": "input_text", "text": "See the plot."}]
    assert [part["type"] for part in second["output"]] == ["input_file"]
    assert second["output"][0]["filename"] == "norms.pdf"
    # Bytes are nowhere but in the attachment.
    assert [item["output"] for item in job.prompt.input_items or ()] == ["See the plot.", ""]


def test_the_ceiling_holds_what_files_of_outputs_can_cost(
    waiting: Job, project: Project, person: User
) -> None:
    wanted = replies(project, person)
    plain = [Reply(key=reply.key, output=reply.output) for reply in wanted]
    spec = ModelSpec.objects.get(pk="gpt-6-sol")
    files = sum(one.attachment.tokens_at_most(spec) for reply in wanted for one in reply.files)
    # Where nothing is said a call is told so, in a few bytes.
    assert files - 50 < ceiling(waiting, wanted) - ceiling(waiting, plain) <= files
    job = lifecycle.answer(waiting, wanted, by=person)
    assert spend.held_for(job.attempt_set.get()) == job.worst_case


def test_an_answer_run_again_takes_its_files_along_in_their_places(
    waiting: Job, project: Project, person: User
) -> None:
    job = lifecycle.answer(waiting, replies(project, person), by=person)
    again = dataclasses.replace(lifecycle.asked(job, by=person), rerun_of=job)
    assert again.attachments == ()
    assert [[file.name for file in reply.files] for reply in again.replies] == [["plot.png"], ["norms.pdf"]]
    assert lifecycle.replies_of(job) == again.replies
    assert lifecycle.replies_of(waiting) == ()
    second = lifecycle.submit(again)
    assert second.fingerprint == job.fingerprint
    assert set(JobAttachment.objects.filter(job=second).values_list("name", "call_key")) == {
        ("plot.png", "call_1"),
        ("norms.pdf", "call_2"),
    }
    assert lifecycle.follow_up(job, by=person).files == ()


def test_a_file_that_answers_another_call_is_another_answer(
    waiting: Job, project: Project, person: User
) -> None:
    plot = given(project, person, PLOT, "plot.png")
    prints = {
        lifecycle.reply_spec(waiting, [Reply(key=key, files=(plot,))], by=person).fingerprint
        for key in ("call_1", "call_2")
    }
    assert len(prints) == 2


def test_a_thread_that_is_sent_again_has_the_files_of_its_outputs(
    api: FakeApi, waiting: Job, project: Project, person: User
) -> None:
    second = lifecycle.answer(waiting, replies(project, person), by=person)
    api.run("send")
    api.put(second, "completed")
    api.run("poll")
    second.refresh_from_db()
    third = lifecycle.submit(lifecycle.follow_up(second, by=person, prompt="Why?"))
    Job.objects.filter(pk=third.pk).update(replays_thread=True)
    api.run("send")
    outputs = [item["output"] for item in api.posts[-1]["input"] if "output" in item]
    assert [[part["type"] for part in parts] for parts in outputs] == [
        ["input_image", "input_text"],
        ["input_file"],
    ]


def test_files_are_kept_for_as_long_as_the_replies_that_name_them_are_saved(
    waiting: Job, project: Project, person: User
) -> None:
    lifecycle.save_replies(waiting, replies(project, person), by=person)
    make_old()
    assert lifecycle.forget_unused() == 0
    first, second = lifecycle.saved_draft(waiting).replies
    assert [file.name for file in first.files + second.files] == ["plot.png", "norms.pdf"]
    lifecycle.save_replies(waiting, [Reply(key="call_1", output="[1]")], by=person)
    make_old()
    # The draft's own PDF is the same file as the one that was saved.
    assert lifecycle.forget_unused() == 1
    assert lifecycle.finish_without_answering(waiting.pk)
    assert not SavedReplies.objects.exists()


def test_what_was_saved_before_there_were_files_is_read_as_it_is(waiting: Job, person: User) -> None:
    old = {"key": "call_1", "output": "[1]", "error": "", "approve": None}
    SavedReplies.objects.create(job=waiting, by=person, replies=[old])
    assert lifecycle.saved_draft(waiting).replies == (Reply(key="call_1", output="[1]"),)


def test_a_file_that_has_gone_is_neither_saved_nor_sent(waiting: Job, project: Project, person: User) -> None:
    wanted = replies(project, person)
    lifecycle.save_replies(waiting, wanted, by=person)
    AttachmentContent.objects.all().delete()
    assert [reply.files for reply in lifecycle.saved_draft(waiting).replies] == [(), ()]
    for act in (lifecycle.save_replies, lifecycle.answer):
        with pytest.raises(SpecError) as refused:
            act(waiting, wanted, by=person)
        assert refused.value.errors == {"attachments": lifecycle.GONE}
    waiting.refresh_from_db()
    assert waiting.status == Status.REQUIRES_ACTION


@pytest.mark.parametrize("kind", [Kind.AZURE, Kind.COMPATIBLE])
def test_a_server_that_is_not_known_to_take_them_is_sent_none(
    waiting: Job, project: Project, person: User, kind: Kind
) -> None:
    Connection.objects.update(kind=kind)
    job = Job.objects.select_related("project__connection", "prompt").get(pk=waiting.pk)
    with pytest.raises(SpecError) as refused:
        lifecycle.answer(job, replies(project, person), by=person)
    assert refused.value.errors == {
        "attachments": "practice is not known to take files in the output of a call."
    }


def test_a_model_that_cannot_see_is_sent_no_picture_in_an_output(
    waiting: Job, project: Project, person: User
) -> None:
    spec = ModelSpec.objects.get(pk="gpt-6-sol")
    spec.capabilities.remove("vision")
    spec.save()
    with pytest.raises(SpecError, match="gpt-6-sol cannot see pictures"):
        lifecycle.answer(waiting, replies(project, person), by=person)
