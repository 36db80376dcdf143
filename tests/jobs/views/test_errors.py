"""Error pages: what one may not do and who can change that, what is not there, what was open too long."""

import pytest
from django.test import Client, RequestFactory

from jobs.access import Role
from jobs.models import Project, User
from jobs.views.errors import forbidden
from tests.factories import a_person, a_project
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def vera(client: Client) -> User:
    found = a_person("vera@example.com")
    client.force_login(found)
    return found


@pytest.fixture
def project(vera: User) -> Project:
    ana = a_person("ana+x@example.com", name="Ana <b>")
    gone = a_person("gone@example.com", name="Gone", is_active=False)
    return a_project(members={vera: Role.VIEWER, ana: Role.MANAGER, gone: Role.MANAGER})


@pytest.mark.parametrize("place", ["project", "job"])
def test_a_role_that_is_too_low_is_told_who_can_change_it(
    client: Client, project: Project, vera: User, place: str
) -> None:
    job = a_job(project, User.objects.get(name="Ana <b>"))
    path = "/projects/proofs/cap/" if place == "project" else f"{job.get_absolute_url()}rerun/"
    answer = client.post(path, {"cap": "1"})
    page = answer.content.decode()
    assert answer.status_code == 403
    assert "You are signed in as vera@example.com. Your role in Proofs does not allow it." in page
    assert "Ana &lt;b&gt; can change that." in page
    assert 'href="mailto:ana%2Bx@example.com?subject=Access%20to%20Proofs"' in page
    assert "Gone" not in page


def test_where_nobody_manages_an_operator_is_named(client: Client, vera: User) -> None:
    a_project("lonely", members={vera: Role.VIEWER})
    page = client.get("/projects/lonely/settings/").content.decode()
    assert "An operator can change that." in page
    assert "mailto:" not in page


def test_the_console_says_for_whom_it_is(client: Client, vera: User) -> None:
    answer = client.get("/admin/login/")
    assert answer.status_code == 403
    assert "The admin console is for operators." in answer.content.decode()


def test_a_refusal_before_anyone_is_known_says_no_name(project: Project) -> None:
    request = RequestFactory().get("/projects/proofs/")
    answer = forbidden(request, PermissionError(""))
    page = answer.content.decode()
    assert answer.status_code == 403
    assert "Proofs" not in page
    assert "Your role does not allow it." in page


def test_a_page_that_is_not_there_offers_the_search_to_whoever_is_signed_in(
    client: Client, vera: User
) -> None:
    page = client.get("/nowhere/").content.decode()
    assert "There is nothing at this address" in page
    assert 'action="/jobs/"' in page
    assert "/nowhere/" not in page
    assert 'action="/jobs/"' not in Client().get("/nowhere/").content.decode()


def test_a_form_whose_token_is_old_says_that_nothing_was_done(vera: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    answer = strict.post("/login/", {"email": "a@example.com", "password": "x"})
    assert answer.status_code == 403
    assert "This page was open too long" in answer.content.decode()
