"""Who is told how the installation does, and in which words."""

import datetime as dt

import pytest
from django.conf import settings as configured
from django.contrib.auth.models import Permission
from django.db.models.functions import Now
from django.test import Client
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from jobs import health, lifecycle
from jobs.access import Role
from jobs.models import Installation, Status, User
from jobs.views import guides
from tests.factories import a_person, a_project
from tests.jobs.views.states import a_job
from tests.markup import faults

pytestmark = pytest.mark.django_db
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def operator() -> User:
    return User.objects.create_superuser("operator@example.com", name="Olu Operator")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_health_check_asks_the_database_nothing(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        answer = client.get("/healthz")
    assert answer.json() == {"ok": True}
    assert "no-cache" in answer.headers["Cache-Control"]


def test_only_those_who_may_act_are_told_details(client: Client, operator: User) -> None:
    lifecycle.pause(a_project().connection_id, "out of credit")
    staff = a_person("staff@example.com", is_staff=True)
    for person in (a_person(), staff):
        client.force_login(person)
        assert client.get("/healthz").json() == {"ok": True}
        assert client.get("/settings/status/").status_code == 404
        assert client.get("/metrics").status_code == 404
        assert "/settings/status/" not in client.get("/settings/profile/").content.decode()
    staff.user_permissions.set(Permission.objects.filter(codename="operate"))
    for person in (staff, operator):
        client.force_login(person)
        found = client.get("/healthz").json()
        assert found["ok"]
        assert found["alarms"] == 2  # nor does a worker run
        paused = next(sign for sign in found["signs"] if sign["name"] == "Paused connections")
        assert paused["alarm"] == "Paused"
        assert client.get("/settings/status/").status_code == 200
        assert client.get("/metrics").status_code == 200
        assert "/settings/status/" in client.get("/settings/profile/").content.decode()


def test_without_a_token_there_are_no_metrics(client: Client) -> None:
    answer = client.get("/metrics", headers=bearer(""))
    assert answer.status_code == 404
    assert client.get("/metrics/").status_code == 404


def test_the_token_opens_the_metrics_and_nothing_else(client: Client, settings: Settings) -> None:
    settings.PONDER_METRICS_TOKEN = TOKEN
    others = [{"Authorization": words} for words in ("Basic x", TOKEN, f"Basic {TOKEN}", f"Token {TOKEN}")]
    for headers in ({}, bearer("wrong"), bearer(""), bearer("\xe9"), *others):
        answer = client.get("/metrics", headers=headers)
        assert (answer.status_code, answer.content) == (401, b"")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    answer = client.get("/metrics", headers=bearer(TOKEN))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert b"# TYPE ponder_jobs gauge" in answer.content
    assert client.get("/settings/status/", headers=bearer(TOKEN)).status_code == 302
    assert client.get("/healthz", headers=bearer(TOKEN)).json() == {"ok": True}
    assert client.head("/metrics", headers=bearer(TOKEN)).status_code == 200
    openmetrics = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = client.get("/metrics", headers=bearer(TOKEN) | openmetrics)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.content.endswith(b"# EOF\n")


def test_behind_a_proxy_that_ends_tls_a_scrape_is_not_sent_elsewhere(
    client: Client, settings: Settings
) -> None:
    settings.PONDER_METRICS_TOKEN = TOKEN
    assert configured.SECURE_SSL_REDIRECT is False
    assert client.get("/metrics", headers=bearer(TOKEN), secure=False).status_code == 200


def test_the_status_page_says_what_to_do_next(client: Client, operator: User) -> None:
    project = a_project(is_practice=False, members={operator: Role.MANAGER})
    a_job(project, operator, Status.UNCONFIRMED)
    lifecycle.note_beat()
    Installation.objects.update(host="ada", beat_at=Now() - dt.timedelta(minutes=2))
    client.force_login(operator)
    html = client.get("/settings/status/").content.decode()
    assert faults(html) == []
    assert "Three things need you" in html
    assert html.index("Needs a choice") < html.index("Oldest due"), "what needs someone comes first"
    assert "Look in the API&#x27;s own log" in html
    assert "/help/operations/#unconfirmed" in html
    assert "Workers on ada" in html
    assert "/help/operations/#installation" in html
    assert "Alarm" not in html
    assert html.count("<li class=") == len(health.status().tiles)


def test_the_status_page_needs_few_queries(
    client: Client, operator: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    project = a_project(is_practice=False, members={operator: Role.MANAGER})
    client.force_login(operator)
    for status in (Status.WAITING, Status.IN_PROGRESS, Status.UNCONFIRMED, Status.FAILED):
        a_job(project, operator, status)
    for number in range(5):
        Installation.objects.create(instance=str(number), host=f"host-{number}", version="1")
    client.get("/settings/status/")
    with django_assert_num_queries(23):
        client.get("/settings/status/")


def test_every_alarm_has_its_section_in_the_guide(operator: User) -> None:
    lifecycle.note_beat()
    html = guides._read("operations")[1]
    a_job(a_project(members={operator: Role.MANAGER}), operator, Status.UNCONFIRMED)
    lifecycle.pause_all("a test", by=operator)
    tiles = health.status().tiles
    assert len(tiles) == 14
    for sign in tiles:
        assert f'id="{sign.topic}"' in html, sign.name
        assert sign.step or not sign.limit, sign.name


@pytest.mark.parametrize("name", sorted(path.stem for path in guides.GUIDES.glob("*.md")))
def test_every_guide_is_a_page_whose_links_lead_somewhere(client: Client, operator: User, name: str) -> None:
    client.force_login(operator)
    answer = client.get(f"/help/{name}/")
    html = answer.content.decode()
    assert (answer.status_code, faults(html)) == (200, [])
    for path in {link.partition("#")[0] for link in _links(html) if link.startswith("/help/")}:
        assert client.get(path).status_code == 200, path
    for link in _links(html):
        page, _, place = link.partition("#")
        if place and place != "main" and (not page or page.startswith("/help/")):
            target = client.get(page or f"/help/{name}/").content.decode()
            assert f'id="{place}"' in target, link


def test_there_are_no_other_guides(client: Client, operator: User) -> None:
    client.force_login(operator)
    for name in ("nowhere", "readme", "operations-md"):
        assert client.get(f"/help/{name}/").status_code == 404


def _links(html: str) -> list[str]:
    article = html.partition("<article")[2].partition("</article>")[0]
    return [piece.partition('"')[0] for piece in article.split('href="')[1:]]
