"""The console's first page: what it says while all is well, and who is needed when it is not."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone
from django_q.models import Schedule
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from jobs import health, lifecycle, spend
from jobs.access import Role
from jobs.health import Panel, Sign, questions, signs
from jobs.models import Connection, Job, Project, Reconciliation, Status, User, WebhookDelivery
from tests.factories import a_person, a_project
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> User:
    return User.objects.create_superuser("operator@example.com", name="Olu Operator")


@pytest.fixture
def project(operator: User) -> Project:
    """A real project beside a watchdog that ran half a minute ago."""
    lifecycle.install_watchdog()
    due = timezone.now() + dt.timedelta(seconds=30)
    Schedule.objects.filter(name="watchdog").update(task="t", next_run=due)
    return a_project(is_practice=False, members={operator: Role.MANAGER})


def tile(name: str, panel: Panel | None = None) -> Sign:
    return next(one for one in (panel or health.panel()).tiles if one.name == name)


def status(name: str) -> Sign:
    return tile(name, health.status())


def test_while_all_is_well_nothing_needs_anyone(operator: User, project: Project) -> None:
    a_job(project, operator)
    a_job(project, operator, Status.IN_PROGRESS)
    a_job(project, operator, Status.COMPLETED, cost=Decimal("0.50"))
    Job.objects.filter(status=Status.WAITING).update(next_action_at=Now() + dt.timedelta(minutes=1))
    panel = health.panel()
    assert (panel.needs, panel.said) == (0, "Nothing needs you")
    figures = {one.name: one.figure for one in panel.tiles}
    assert figures == {
        "Waiting": "1",
        "In flight": "1",
        "Oldest due": "0s",
        "Heartbeat": figures["Heartbeat"],
        "Unconfirmed": "0",
        "Paused connections": "0",
        "Failed within an hour": "0",
        "Failed within 24 hours": "0",
        "Spent today": "$0.50",
    }
    assert figures["Heartbeat"] in {"29s", "30s", "31s", "32s"}


def test_an_empty_installation_waits_for_its_first_worker(db: None) -> None:
    panel = health.panel()
    assert [one.name for one in panel.tiles if one.word] == ["Heartbeat"]
    assert panel.said == "One thing needs you"
    assert tile("Heartbeat", panel).figure == "none yet"
    lifecycle.install_watchdog()
    assert not tile("Heartbeat").word


def test_one_unconfirmed_job_is_opened_at_once_and_several_in_the_list(
    operator: User, project: Project
) -> None:
    job = a_job(project, operator, Status.UNCONFIRMED)
    found = tile("Unconfirmed")
    assert (found.figure, found.word, found.path) == ("1", "Needs a choice", job.get_absolute_url())
    assert found.detail.startswith("$1.63 held, oldest ")
    practice = a_project("practice", members={operator: Role.MANAGER})
    a_job(practice, operator, Status.UNCONFIRMED)
    found = tile("Unconfirmed")
    assert (found.figure, found.path) == ("2", "/admin/jobs/job/?status__exact=unconfirmed")
    assert found.detail.startswith("$1.63 held"), "made-up money is none"


def test_paused_connections_are_named_with_what_waits_for_them(operator: User, project: Project) -> None:
    a_job(project, operator)
    lifecycle.pause(project.connection_id, "out of credit")
    found = tile("Paused connections")
    assert (found.word, found.detail) == ("Paused", "real: out of credit, 1 job waits")
    assert found.path == f"/settings/connections/{project.connection_id}/"
    other = Connection.objects.create(name="Azure", base_url="https://x.example/v1")
    lifecycle.pause(other.pk, "401")
    found = tile("Paused connections")
    assert (found.detail, found.path) == ("Azure: 401, 0 jobs wait, and 1 more", "/settings/connections/")


def test_what_nobody_does_is_noticed(operator: User, project: Project) -> None:
    a_job(project, operator)
    Job.objects.update(next_action_at=Now() - dt.timedelta(seconds=90))
    assert tile("Oldest due").word == "Nobody does it"
    assert tile("Oldest due").figure.startswith("1m 3")
    # While its connection is paused nothing is to be done.
    lifecycle.pause(project.connection_id, "for a while")
    assert tile("Oldest due").word == ""


def test_a_silent_cluster_is_noticed(operator: User, project: Project) -> None:
    Schedule.objects.filter(name="watchdog").update(next_run=timezone.now() - dt.timedelta(minutes=4))
    assert tile("Heartbeat").word == "No worker runs"


@pytest.mark.parametrize(
    ("name", "limit", "value"),
    [("Waiting", "MOST_WAITING", 0), ("Failed within an hour", "MOST_FAILED", {1: 0, 24: 5})],
)
def test_too_many_are_noticed(
    operator: User,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    limit: str,
    value: Any,
) -> None:
    a_job(project, operator)
    a_job(project, operator, Status.FAILED, error_code="server_error")
    assert tile(name).word == ""
    monkeypatch.setattr(signs, limit, value)
    assert tile(name).word == "Many"


def test_failures_are_counted_by_when_they_ended_and_named_by_their_code(
    operator: User, project: Project
) -> None:
    for code, hours in (("server_error", 0), ("server_error", 2), ("", 30)):
        ended = timezone.now() - dt.timedelta(hours=hours)
        a_job(project, operator, Status.FAILED, error_code=code, finished_at=ended)
    assert tile("Failed within an hour").figure == "1"
    assert tile("Failed within 24 hours").figure == "2"
    assert tile("Failed within 24 hours").detail == "most often server_error (2)"


def test_a_job_past_its_deadline_is_noticed(operator: User, project: Project) -> None:
    past = timezone.now() - dt.timedelta(minutes=1)
    a_job(project, operator, Status.IN_PROGRESS, deadline_at=past)
    assert tile("In flight").word == "1 past the deadline"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"state": "done", "webhook_id": "wh_1"}, ""),
        ({"state": "done", "webhook_id": "wh_1", "event_at": 70}, "real is late"),
        ({"state": "pending", "webhook_id": "wh_1", "next_look_at": 70}, "Nobody looks them up"),
        ({"state": "refused"}, "Some are refused"),
    ],
)
def test_webhooks_that_do_not_come_as_they_should_are_noticed(
    project: Project, fields: dict[str, Any], word: str
) -> None:
    assert status("Webhook lag").figure == "none yet"
    past = {
        name: timezone.now() - dt.timedelta(seconds=value)
        for name, value in fields.items()
        if isinstance(value, int)
    }
    WebhookDelivery.objects.create(connection=project.connection, **{**fields, **past})
    assert status("Webhook lag").word == word


def test_what_waits_for_room_is_not_overdue(operator: User, project: Project) -> None:
    a_job(project, operator)
    Job.objects.update(next_action_at=Now() - dt.timedelta(seconds=90))
    running = a_job(project, operator, Status.IN_PROGRESS)
    assert tile("Oldest due").word == "Nobody does it"
    Connection.objects.filter(pk=project.connection_id).update(max_in_flight=1)
    assert tile("Oldest due").word == ""
    Job.objects.filter(pk=running.pk).update(next_action_at=Now() - dt.timedelta(seconds=90))
    assert tile("Oldest due").word == "Nobody does it", "what runs is to be asked for all the same"


@pytest.mark.parametrize(
    ("sent", "ended", "word"),
    [(48, None, ""), (50, None, "Held too long"), (1, 10, ""), (1, 20, "Ended and not booked")],
)
def test_what_is_not_booked_for_long_is_noticed(
    operator: User, project: Project, sent: int, ended: int | None, word: str
) -> None:
    now = timezone.now()
    moments = {"sent_at": now - dt.timedelta(hours=sent)}
    if ended is not None:
        moments["end_seen_at"] = now - dt.timedelta(minutes=ended)
    a_job(project, operator, Status.IN_PROGRESS, attempt=moments)
    assert status("Oldest unsettled").word == word


@pytest.mark.parametrize(
    ("result", "days_ago", "word", "figure"),
    [
        ({}, 0, "", "$0.00"),
        ({"residual": Decimal("-3.2")}, 0, "Not explained", "$3.20"),
        ({"problem": "The bill could not be read."}, 0, "Not read", "$0.00"),
        ({}, 3, "Not read lately", "$0.00"),
    ],
)
def test_a_bill_that_is_not_explained_or_not_read_is_noticed(
    result: dict[str, Any], days_ago: int, word: str, figure: str, db: None, settings: Settings
) -> None:
    settings.OPENAI_ADMIN_KEY = "sk-admin-real"
    assert all(one.topic != "bill" for one in health.status().tiles)
    day, asked_at = dt.date(2026, 11, 1), timezone.now() - dt.timedelta(days=days_ago)
    Reconciliation.objects.create(
        is_practice=False, since=day, until=day, asked_at=asked_at, ended_at=asked_at, **result
    )
    found = status("Not explained by the bill")
    assert (found.word, found.figure) == (word, figure)


def test_few_connections_left_are_noticed(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert status("Database").word == ""
    monkeypatch.setattr(questions, "size", lambda: questions.Size(2_000_000, 85, 100))
    assert (status("Database").word, status("Database").figure) == ("Few connections left", "1.9 MB")


def test_a_cap_that_is_nearly_used_up_is_noticed(operator: User, project: Project) -> None:
    spend.set_cap(Decimal(10))
    a_job(project, operator, Status.COMPLETED, cost=Decimal("8.90"))
    assert (tile("Spent today").word, tile("Spent today").detail) == ("", "$8.90 this month of $10.00")
    spend.set_cap(Decimal(9))
    assert tile("Spent today").word == "99% of the cap"
    assert "nothing more is admitted" in tile("Spent today").step
    budget = spend.set_cap(Decimal(9), is_hard=False)
    assert tile("Spent today").word == "99% of the cap"
    assert "nothing is refused" in tile("Spent today").step
    spend.lift_cap(budget)
    assert (tile("Spent today").word, tile("Spent today").limit) == ("", "no cap for the workspace")


def test_the_panel_is_for_those_who_may_act(client: Client, operator: User, project: Project) -> None:
    staff = a_person("staff@example.com", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename="view_job"))
    client.force_login(staff)
    assert "Nothing needs you" not in client.get("/admin/").content.decode()
    client.force_login(operator)
    assert "Nothing needs you" in client.get("/admin/").content.decode()


def test_the_first_page_needs_few_queries(
    client: Client, operator: User, project: Project, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(operator)
    for status in (Status.WAITING, Status.IN_PROGRESS, Status.UNCONFIRMED, Status.FAILED):
        a_job(project, operator, status)
    client.get("/admin/")
    with django_assert_num_queries(13):
        html = client.get("/admin/").content.decode()
    assert html.count('<li class="t-') == 9


def test_records_stand_under_what_they_are_about(client: Client, operator: User) -> None:
    client.force_login(operator)
    titles = [app["name"] for app in client.get("/admin/").context["app_list"]]
    assert titles == ["Jobs", "Content", "Money", "People", "Setup", "Tasks"]
    assert client.get("/admin/jobs/").status_code == 200
