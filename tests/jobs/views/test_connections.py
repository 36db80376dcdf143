"""The connections page: for operators, without keys, with the buttons that pause and resume."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from jobs import lifecycle
from jobs.access import Role
from jobs.models import Connection, KeySource, Project, User
from tests.factories import a_person, a_project, a_spec

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return a_project()


@pytest.fixture
def operator(client: Client) -> User:
    ana = a_person("ana@example.com", is_superuser=True)
    client.force_login(ana)
    return ana


def page(client: Client) -> str:
    return client.get("/settings/connections/").content.decode()


def test_for_everyone_but_operators_the_pages_do_not_exist(client: Client, project: Project) -> None:
    manager = a_person()
    project.membership_set.create(user=manager, role=Role.MANAGER)
    client.force_login(manager)
    address = f"/settings/connections/{project.connection_id}"
    assert client.get("/settings/connections/").status_code == 404
    assert client.post(f"{address}/pause/").status_code == 404
    assert client.post(f"{address}/resume/").status_code == 404
    assert Connection.objects.get().paused_at is None


def test_keys_are_never_shown(client: Client, project: Project, operator: User) -> None:
    text = page(client)
    assert "sk-test" not in text
    assert project.connection.key.token not in text
    assert "Set" in text
    Connection.objects.update(key_source=KeySource.ENVIRONMENT)
    assert "OPENAI_API_KEY" in page(client)


def test_paused_ones_come_first_with_reason_and_how_many_jobs_wait(
    client: Client, project: Project, operator: User
) -> None:
    busy = a_project("busy", is_practice=False)
    lifecycle.submit(a_spec(busy, operator))
    lifecycle.pause(busy.connection_id, "insufficient_quota: You exceeded <b>your</b> quota")
    text = page(client)
    assert text.index(">real<") < text.index(">practice<")
    assert "Paused by itself" in text
    assert "the account is out of credit" in text
    assert "1 job waits" in text
    assert "You exceeded &lt;b&gt;your&lt;/b&gt; quota" in text


def test_an_operator_pauses_with_a_reason_and_resumes(
    client: Client, project: Project, operator: User
) -> None:
    address = f"/settings/connections/{project.connection_id}"
    assert (
        client.post(f"{address}/pause/", {"reason": "Moving house"})["Location"] == "/settings/connections/"
    )
    found = Connection.objects.get()
    assert (found.paused_by, found.paused_reason) == (operator, "Moving house")
    assert "Paused by Ana" in page(client)
    client.post(f"{address}/resume/")
    assert Connection.objects.get().paused_at is None
    assert "Resume" not in page(client)


def test_pausing_and_resuming_take_a_post(client: Client, project: Project, operator: User) -> None:
    address = f"/settings/connections/{project.connection_id}"
    assert client.get(f"{address}/pause/").status_code == 405
    assert client.get(f"{address}/resume/").status_code == 405
    assert client.post("/settings/connections/999999/pause/").status_code == 404


def test_the_page_takes_the_same_few_queries_for_many_connections(
    client: Client, project: Project, operator: User
) -> None:
    with CaptureQueriesContext(connection) as few:
        page(client)
    for number in range(5):
        made = Connection.objects.create(name=f"c{number}", base_url="http://127.0.0.1:9/v1")
        Project.objects.create(name=f"P{number}", slug=f"p{number}", connection=made)
    with CaptureQueriesContext(connection) as many:
        page(client)
    assert len(many) == len(few) <= 10
