"""The welcome page: what an operator has still to do before the team comes."""

from decimal import Decimal

import pytest
from django.test import Client

from jobs import spend
from jobs.access import Role
from jobs.models import Connection, Invitation, Project, User
from tests.factories import a_person, a_project

pytestmark = pytest.mark.django_db


@pytest.fixture
def ana(client: Client) -> User:
    found = a_person("ana@example.com", is_superuser=True, is_staff=True)
    client.force_login(found)
    return found


def steps(client: Client) -> dict[str, bool]:
    return {step.text: step.is_done for step in client.get("/").context["steps"]}


def test_a_new_installation_has_one_of_four_done(client: Client, ana: User) -> None:
    a_project("practice", cap="200")
    page = client.get("/").content.decode()
    assert "1 of 4 done" in page
    assert '<a href="/settings/connections/new/">Add a key</a>' in page
    assert '<a href="/projects/practice/">$200 now, change</a>' in page
    assert '<a href="/settings/people/">Make a link</a>' in page
    assert list(steps(client).values()) == [True, False, False, False]


def test_each_step_is_done_by_what_it_asks_for(client: Client, ana: User) -> None:
    a_project("practice")
    Connection.objects.create(name="Real", base_url="https://b.example/v1")
    assert steps(client)["Connect OpenAI or Azure"]
    client.post("/projects/practice/cap/", {"cap": "50"})
    assert steps(client)["Set a monthly cap for Practice"]
    Invitation.objects.make("eve@example.com", project=None, role=Role.VIEWER, by=ana)
    assert steps(client)["Invite people"]
    assert "4 of 4 done" in client.get("/").content.decode()


def test_someone_who_is_there_counts_as_invited(client: Client, ana: User) -> None:
    a_project("practice")
    assert not steps(client)["Invite people"]
    a_person()
    assert steps(client)["Invite people"]


def test_the_real_project_comes_before_the_practice_one(client: Client, ana: User) -> None:
    a_project("practice")
    a_project("paid", is_practice=False)
    assert "Set a monthly cap for Paid" in steps(client)


def test_without_any_cap_there_is_no_step_about_one(client: Client, ana: User) -> None:
    a_project("practice", cap=None)
    spend.set_cap(Decimal(5))
    assert len(steps(client)) == 3


def test_only_operators_have_steps(client: Client) -> None:
    mira = a_person()
    a_project(members={mira: Role.MANAGER})
    client.force_login(mira)
    assert client.get("/").context["steps"] == []
    assert Project.objects.count() == 1
