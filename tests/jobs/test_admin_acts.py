"""What staff do to jobs from the console: asked once more, through the life cycle, written down."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client

from jobs import spend
from jobs.access import Role
from jobs.admin import acts
from jobs.models import Answer, Attempt, Event, Job, LedgerEntry, Project, Status, User
from tests.factories import a_person, a_project
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db
LIST = "/admin/jobs/job/"

type Do = Callable[..., str]


@pytest.fixture
def operator() -> User:
    return User.objects.create_superuser("operator@example.com", name="Olu Operator")


@pytest.fixture
def project(operator: User) -> Project:
    return a_project(is_practice=False, members={operator: Role.MANAGER})


@pytest.fixture
def do(client: Client, operator: User) -> Do:
    """Choose an act for jobs in the list, and say yes where `sure`; return the page that follows."""
    client.force_login(operator)

    def choose(act: str, *jobs: Job, sure: bool = True, **given: Any) -> str:
        sent = {"action": act, "_selected_action": [job.pk for job in jobs], **given}
        return client.post(LIST, sent | ({"sure": "yes"} if sure else {}), follow=True).content.decode()

    return choose


def test_an_act_asks_once_more_and_says_what_it_leaves_alone(
    do: Do, operator: User, project: Project
) -> None:
    waiting, done = a_job(project, operator), a_job(project, operator, Status.COMPLETED)
    html = do("cancel", waiting, done, sure=False)
    assert f'name="_selected_action" value="{waiting.pk}"' in html
    assert f'name="_selected_action" value="{done.pk}"' not in html
    assert f"{done.short_id} (Completed)" in html
    assert Job.objects.get(pk=waiting.pk).status == Status.WAITING
    assert not LogEntry.objects.exists()


def test_where_an_act_fits_no_job_there_is_nothing_to_confirm(
    do: Do, operator: User, project: Project
) -> None:
    html = do("cancel", a_job(project, operator, Status.COMPLETED), sure=False)
    assert 'type="submit" value="Cancel jobs"' not in html


def test_jobs_are_cancelled_and_it_is_written_down(do: Do, operator: User, project: Project) -> None:
    waiting, running = a_job(project, operator), a_job(project, operator, Status.IN_PROGRESS)
    html = do("cancel", waiting, running)
    assert "Cancel jobs: 2 of 2 done." in html
    waiting.refresh_from_db()
    running.refresh_from_db()
    assert (waiting.status, running.is_cancelling) == (Status.CANCELLED, True)
    assert running.cancel_requested_by == operator
    said = LogEntry.objects.values_list("object_repr", "change_message")
    assert set(said) == {(job.short_id, "Cancel jobs") for job in (waiting, running)}


def test_what_went_on_meanwhile_is_said_and_not_written_down(
    do: Do, operator: User, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job(project, operator, Status.COMPLETED)
    monkeypatch.setattr(Job, "can_be_cancelled", True)
    monkeypatch.setattr("jobs.lifecycle.cancel", refused)
    assert f"{job.short_id}: it is not in that state any more." in do("cancel", job)
    assert not LogEntry.objects.exists()


def refused(*_: Any, **__: Any) -> None:
    raise acts.lifecycle.NotCancellable


def test_jobs_are_polled_now(do: Do, operator: User, project: Project) -> None:
    job = a_job(project, operator, Status.IN_PROGRESS)
    assert "Poll jobs now: 1 of 1 done." in do("poll_now", job)
    assert Event.objects.get(kind="poll_asked").actor == operator
    assert Job.objects.to_poll().get() == job
    assert LogEntry.objects.get().change_message == "Poll jobs now"


def test_answers_are_rendered_again(do: Do, operator: User, project: Project) -> None:
    job = a_job(project, operator, Status.COMPLETED, answer={"text": "So.", "renderer_version": 9})
    bare = a_job(project, operator, Status.FAILED)
    html = do("render_again", job, bare)
    assert "Render answers again: 1 of 2 done." in html
    assert f"{bare.short_id}: it is not in that state any more." in html
    assert Answer.objects.get().renderer_version == 0


def test_an_unconfirmed_job_is_resolved_with_a_reason(do: Do, operator: User, project: Project) -> None:
    job, other = (a_job(project, operator, Status.UNCONFIRMED) for _ in range(2))
    html = do("resolve", job, decision="lost")
    assert "This field is required." in html
    assert Job.objects.get(pk=job.pk).status == Status.UNCONFIRMED
    do("resolve", job, decision="lost", reason="not in their log")
    job.refresh_from_db()
    assert (job.status, job.error_code) == (Status.FAILED, "lost")
    assert LedgerEntry.objects.filter(job=job, kind="release", actor=operator).count() == 1
    assert LogEntry.objects.get().change_message == "Resolve unconfirmed jobs: lost not in their log"
    do("resolve", other, decision="paid", reason="on the bill")
    assert Attempt.objects.get(job=other).cost == other.worst_case


def test_what_does_not_fit_a_budget_is_not_sent_again(do: Do, operator: User, project: Project) -> None:
    job = a_job(project, operator, Status.UNCONFIRMED)
    spend.set_cap(Decimal("0.01"), project=project)
    html = do("resolve", job, decision="resend", reason="try")
    assert "0 of 1 done" in html
    assert "has no room for a ceiling of" in html
    assert Job.objects.get().status == Status.UNCONFIRMED


def test_a_hundred_jobs_at_once_are_enough(
    do: Do, operator: User, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "MOST", 1)
    jobs = [a_job(project, operator) for _ in range(2)]
    assert "At most 1 jobs at once." in do("cancel", *jobs)
    assert not Job.objects.filter(status=Status.CANCELLED).exists()


def test_whoever_may_not_operate_is_offered_no_act(client: Client, operator: User, project: Project) -> None:
    staff = a_person("staff@example.com", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename__in=["view_job"]))
    client.force_login(staff)
    job = a_job(project, operator)
    assert 'name="action"' not in client.get(LIST).content.decode()
    client.post(LIST, {"action": "cancel", "_selected_action": [job.pk], "sure": "yes"})
    assert Job.objects.get().status == Status.WAITING
    staff.user_permissions.add(Permission.objects.get(codename="operate"))
    client.post(LIST, {"action": "cancel", "_selected_action": [job.pk], "sure": "yes"})
    assert Job.objects.get().status == Status.CANCELLED


def test_a_job_leads_from_the_console_to_its_page_and_back(
    client: Client, operator: User, project: Project
) -> None:
    client.force_login(operator)
    job = a_job(project, operator)
    record = f"/admin/jobs/job/{job.pk}/change/"
    assert "/admin/r/" in client.get(record).content.decode()
    assert f'href="{record}"' in client.get(job.get_absolute_url()).content.decode()
    member = a_person("member@example.com")
    project.members.add(member, through_defaults={"role": Role.MANAGER})
    client.force_login(member)
    assert record not in client.get(job.get_absolute_url()).content.decode()
