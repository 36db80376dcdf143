"""What staff may have done sooner: a poll of what is followed, a rendering of what has a text."""

import pytest
from django_q.models import OrmQ, Schedule

from jobs import lifecycle
from jobs.models import Answer, Event, Job, Status, User
from jobs.rendering import RENDERER_VERSION
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]


def test_a_poll_that_is_asked_for_is_due_at_once(api: FakeApi, submit: Submit, person: User) -> None:
    job = submit()
    api.run("send")
    Job.objects.update(next_action_at="2030-01-01T00:00Z")
    before = OrmQ.objects.count()
    lifecycle.poll_now(job.pk, by=person)
    assert Job.objects.to_poll().get() == job
    assert Job.objects.get().claim_token is None
    assert Event.objects.get(kind="poll_asked").actor == person
    assert OrmQ.objects.count() == before + 1


def test_a_final_job_that_is_still_watched_can_be_asked_for(
    api: FakeApi, submit: Submit, person: User
) -> None:
    job = submit()
    api.run("send")
    Job.objects.update(status=Status.CANCELLED, next_action_at="2030-01-01T00:00Z")
    lifecycle.poll_now(job.pk, by=person)
    assert Job.objects.to_poll().get() == job


@pytest.mark.parametrize("status", [Status.WAITING, Status.UNCONFIRMED, Status.COMPLETED])
def test_what_nobody_can_be_asked_about_is_left_alone(submit: Submit, person: User, status: Status) -> None:
    job = submit()
    clock = None if status == Status.COMPLETED else job.next_action_at
    Job.objects.update(status=status, next_action_at=clock)
    with pytest.raises(lifecycle.NotPolled):
        lifecycle.poll_now(job.pk, by=person)
    assert not Event.objects.filter(kind="poll_asked").exists()
    Job.objects.update(status=Status.WAITING, next_action_at=job.next_action_at)


def test_an_answer_is_rendered_once_more(submit: Submit) -> None:
    job = submit()
    answer = Answer.objects.create(
        job=job, attempt=job.attempt_set.get(), text="**so**", renderer_version=Answer.PLAIN
    )
    version = Job.objects.get().version
    lifecycle.render_again(job.pk)
    assert Job.objects.get().version > version
    assert lifecycle.render_due() == 1
    answer.refresh_from_db()
    assert "<p><strong>so</strong></p>" in answer.html
    assert answer.renderer_version == RENDERER_VERSION


def test_without_a_text_there_is_nothing_to_render(submit: Submit) -> None:
    job = submit()
    with pytest.raises(lifecycle.NothingToRender):
        lifecycle.render_again(job.pk)


def test_the_watchdog_tells_when_a_cluster_ran_it_last(db: None) -> None:
    assert lifecycle.last_watch() is None
    lifecycle.install_watchdog()
    watchdog = Schedule.objects.get(name="watchdog")
    assert lifecycle.last_watch() == watchdog.next_run
    Schedule.objects.filter(pk=watchdog.pk).update(task="t", next_run="2026-11-23T10:01:00Z")
    assert f"{lifecycle.last_watch():%H:%M}" == "10:00"
