"""What stands over every page: a pause comes with the next news of a page, and goes by itself."""

import re

import pytest
from django.test import Client

from jobs import lifecycle
from jobs.access import Role
from jobs.models import Project, Status, User
from tests.factories import a_project
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db

PAUSED = "practice is paused: the account is out of credit."


def pause(project: Project) -> None:
    lifecycle.pause(project.connection_id, "insufficient_quota: You exceeded your quota.")


def notices(text: str) -> str:
    """Return the tag with which the notices of a page begin."""
    found = re.search(r'<div class="standing"[^>]*>', text)
    assert found
    return found[0]


def news(client: Client, path: str, tag: str) -> tuple[int, str]:
    answer = client.get(path, headers={"HX-PTag": tag})
    return answer.status_code, answer.content.decode()


def tag_in(text: str, after: str) -> str:
    return re.findall(r'hx-ptag="([^"]*)"', text[text.index(after) :])[0]


@pytest.mark.parametrize("path", ["/projects/", "/budget/", "/jobs/new/"])
def test_a_pause_is_gone_from_any_page_without_a_reload(
    signed_in: Client, project: Project, path: str
) -> None:
    pause(project)
    text = signed_in.get(path).content.decode()
    assert PAUSED in text
    assert 'hx-get="/notices/live/"' in notices(text)
    tag = tag_in(text, 'id="notices"')
    assert news(signed_in, "/notices/live/", tag) == (304, "")
    lifecycle.resume(project.connection_id)
    status, text = news(signed_in, "/notices/live/", tag)
    assert (status, "paused" in text) == (200, False)
    assert "hx-get" not in notices(text)


def test_a_page_without_a_pause_asks_for_none(signed_in: Client, project: Project) -> None:
    assert "hx-get" not in notices(signed_in.get("/projects/").content.decode())


def test_a_later_pause_is_told_from_the_first(signed_in: Client, project: Project) -> None:
    pause(project)
    tag = tag_in(signed_in.get("/projects/").content.decode(), 'id="notices"')
    other = a_project("other", is_practice=False, members={User.objects.get(): Role.VIEWER})
    lifecycle.pause(other.connection_id, "invalid_api_key: No.")
    status, text = news(signed_in, "/notices/live/", tag)
    assert status == 200
    assert PAUSED in text
    assert "real is paused: the key was refused." in text


def test_a_pause_comes_and_goes_with_the_news_of_the_list(
    signed_in: Client, project: Project, mira: User
) -> None:
    a_job(project, mira, Status.UNCONFIRMED)
    tag = tag_in(signed_in.get("/jobs/").content.decode(), 'id="flight"')
    assert news(signed_in, "/jobs/live/", tag)[0] == 304
    pause(project)
    status, text = news(signed_in, "/jobs/live/", tag)
    assert (status, PAUSED in text) == (200, True)
    tag = tag_in(text, 'id="flight"')
    assert news(signed_in, "/jobs/live/", tag)[0] == 304
    lifecycle.resume(project.connection_id)
    status, text = news(signed_in, "/jobs/live/", tag)
    assert (status, PAUSED in text) == (200, False)
    assert notices(text)


def test_a_pause_comes_and_goes_with_the_news_of_a_job(
    signed_in: Client, project: Project, mira: User
) -> None:
    path = a_job(project, mira, Status.WAITING).get_absolute_url()
    tag = tag_in(signed_in.get(path).content.decode(), 'id="job"')
    pause(project)
    status, text = news(signed_in, f"{path}live/", tag)
    assert (status, PAUSED in text) == (200, True)
    tag = tag_in(text, 'id="job"')
    lifecycle.resume(project.connection_id)
    status, text = news(signed_in, f"{path}live/", tag)
    assert (status, PAUSED in text) == (200, False)


def test_a_pause_of_a_connection_one_does_not_use_is_not_told(signed_in: Client, project: Project) -> None:
    foreign = a_project("foreign", is_practice=False)
    lifecycle.pause(foreign.connection_id, "invalid_api_key: No.")
    text = signed_in.get("/jobs/").content.decode()
    assert "hx-get" not in notices(text)
    assert news(signed_in, "/notices/live/", "")[0] == 304
