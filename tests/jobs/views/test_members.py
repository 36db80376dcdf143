"""Members: invited, given roles and removed by managers; everyone with an account, for operators."""

import re
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from jobs.access import Role
from jobs.models import Invitation, Membership, Project, User
from tests.factories import a_person, a_project

pytestmark = pytest.mark.django_db

MEMBERS = "/projects/proofs/members/"
PEOPLE = "/settings/people/"


@pytest.fixture
def project(mira: User) -> Project:
    return a_project(members={mira: Role.MANAGER})


@pytest.fixture
def manager(client: Client, project: Project, mira: User) -> Client:
    client.force_login(mira)
    return client


@pytest.fixture
def operator() -> Client:
    found = Client()
    found.force_login(a_person("ana@example.com", is_superuser=True))
    return found


def add(project: Project, email: str, role: Role) -> User:
    person = a_person(email)
    project.members.add(person, through_defaults={"role": role})
    return person


def test_a_link_is_shown_once_and_leads_to_the_invitation(manager: Client, project: Project) -> None:
    answer = manager.post(MEMBERS, {"email": "Eve@Example.com", "role": "2"})
    page = answer.content.decode()
    link = re.search(r'<code id="link">(http://testserver/join/#([\w-]{43}))</code>', page)
    assert answer.status_code == 200
    assert link
    assert "no-store" in answer["Cache-Control"]
    found = Invitation.objects.peek(link[2])
    assert found
    assert (found.email, found.role, found.project) == ("eve@example.com", Role.SUBMITTER, project)
    later = manager.get(MEMBERS).content.decode()
    assert link[2] not in later
    assert "eve@example.com" in later


def test_the_link_is_mailed_where_a_mail_server_is_set(manager: Client, settings: Settings) -> None:
    settings.PONDER_URL, settings.IS_MAIL_SENT = "https://ponder.example.com", True
    page = manager.post(MEMBERS, {"email": "eve@example.com", "role": "1"}).content.decode()
    (sent,) = mail.outbox
    assert "It was mailed to eve@example.com as well." in page
    assert re.search(r"https://ponder\.example\.com/join/#[\w-]{43}\n", str(sent.body))


@pytest.mark.parametrize(
    ("email", "role", "sentence"),
    [
        ("nobody", "1", "Enter a valid email address."),
        ("MIRA@example.com", "1", "Mira is in this project already."),
        ("gone@example.com", "1", "This account was deactivated. An operator can reactivate it."),
        ("eve@example.com", "9", "Select a valid choice."),
        ("eve@example.com", "", "This field is required."),
    ],
)
def test_who_cannot_be_invited_is_said_beside_the_field(
    manager: Client, email: str, role: str, sentence: str
) -> None:
    a_person("gone@example.com", is_active=False)
    answer = manager.post(MEMBERS, {"email": email, "role": role})
    assert answer.status_code == 422
    assert sentence in answer.content.decode()
    assert not Invitation.objects.exists()


def test_nobody_is_invited_to_the_archive(manager: Client, project: Project, mira: User) -> None:
    project.archive(by=mira)
    answer = manager.post(MEMBERS, {"email": "eve@example.com", "role": "1"})
    assert answer.status_code == 422
    assert "This project is archived, so nobody can join it." in answer.content.decode()
    assert not Invitation.objects.exists()


def test_a_manager_gives_another_role_and_removes(manager: Client, project: Project) -> None:
    eve = add(project, "eve@example.com", Role.VIEWER)
    page = manager.post(f"{MEMBERS}{eve.pk}/role/", {"role": "3"}, follow=True).content.decode()
    assert "Eve is approver now." in page
    assert project.role_of(eve) == Role.APPROVER
    manager.post(f"{MEMBERS}{eve.pk}/role/", {"role": "9"})
    assert project.role_of(eve) == Role.APPROVER
    page = manager.post(f"{MEMBERS}{eve.pk}/remove/", follow=True).content.decode()
    assert "Eve is not in Proofs any more." in page
    assert project.role_of(eve) is None
    assert User.objects.filter(pk=eve.pk).exists()


@pytest.mark.parametrize(("act", "fields"), [("role", {"role": "1"}), ("remove", {})])
def test_the_last_manager_stays(
    manager: Client, project: Project, mira: User, act: str, fields: dict[str, str]
) -> None:
    page = manager.post(f"{MEMBERS}{mira.pk}/{act}/", fields, follow=True).content.decode()
    assert "Mira is the last manager of this project." in page
    assert project.role_of(mira) == Role.MANAGER
    page = manager.post("/projects/proofs/leave/", follow=True).content.decode()
    assert "You are the last manager of this project." in page
    assert project.role_of(mira) == Role.MANAGER


def test_anyone_may_leave_and_then_finds_nothing_there(project: Project) -> None:
    eve = add(project, "eve@example.com", Role.VIEWER)
    client = Client()
    client.force_login(eve)
    assert "Leave this project" in client.get("/projects/proofs/").content.decode()
    page = client.post("/projects/proofs/leave/", follow=True).content.decode()
    assert "You left Proofs. Your jobs stay there." in page
    assert client.get("/projects/proofs/").status_code == 404


def test_a_manager_of_one_project_changes_nobody_in_another(manager: Client) -> None:
    other = a_project("other")
    eve = add(other, "eve@example.com", Role.VIEWER)
    assert manager.post(f"/projects/other/members/{eve.pk}/role/", {"role": "4"}).status_code == 404
    assert manager.post(f"{MEMBERS}{eve.pk}/role/", {"role": "4"}).status_code == 404
    assert manager.post(f"{MEMBERS}{eve.pk}/remove/").status_code == 404
    boss = add(other, "boss@example.com", Role.MANAGER)
    token = Invitation.objects.make("x@example.com", project=other, role=Role.VIEWER, by=boss)
    pk = Invitation.objects.get().pk
    manager.post(f"/projects/proofs/invitations/{pk}/withdraw/")
    assert Invitation.objects.peek(token)
    assert other.role_of(eve) == Role.VIEWER


def test_an_invitation_is_withdrawn(manager: Client, project: Project, mira: User) -> None:
    token = Invitation.objects.make("x@example.com", project=project, role=Role.VIEWER, by=mira)
    pk = Invitation.objects.get().pk
    assert manager.post(f"/projects/proofs/invitations/{pk}/withdraw/")["Location"] == MEMBERS
    assert Invitation.objects.peek(token) is None


# Everyone, for operators


def test_an_operator_sees_everyone_with_their_roles(operator: Client, project: Project) -> None:
    page = operator.get(PEOPLE).content.decode()
    assert "mira@example.com" in page
    assert "Proofs</a> manager" in page
    assert "Operator" in page


def test_people_are_found_by_name_or_address_and_paged(
    operator: Client, mira: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.views.members.PAGE", 2)
    for number in range(3):
        a_person(f"p{number}@example.com", name="Otter")
    assert [person.email for person in operator.get(f"{PEOPLE}?q=OTTER").context["people"]] == [
        "p0@example.com",
        "p1@example.com",
    ]
    more = operator.get(f"{PEOPLE}?q=OTTER").context["after"]
    assert [p.email for p in operator.get(f"{PEOPLE}?q=OTTER&after={more}").context["people"]] == [
        "p2@example.com"
    ]
    assert "Nobody matches." in operator.get(f"{PEOPLE}?q=%00nobody").content.decode()


def test_an_operator_invites_to_a_project_or_to_none(operator: Client, project: Project) -> None:
    operator.post(PEOPLE, {"email": "eve@example.com", "role": "2", "to": project.pk})
    operator.post(PEOPLE, {"email": "bob@example.com", "role": "2"})
    assert list(Invitation.objects.order_by("pk").values_list("email", "project")) == [
        ("eve@example.com", project.pk),
        ("bob@example.com", None),
    ]
    page = operator.get(PEOPLE).content.decode()
    assert "bob@example.com" in page
    assert "eve@example.com" not in page, "its project shows it"
    pk = Invitation.objects.get(project=None).pk
    operator.post(f"/settings/invitations/{pk}/withdraw/")
    assert not Invitation.objects.filter(project=None).exists()


def test_who_has_an_account_needs_no_invitation_to_make_one(operator: Client, mira: User) -> None:
    answer = operator.post(PEOPLE, {"email": "mira@example.com", "role": "2"})
    assert answer.status_code == 422
    assert "There is an account with this address already." in answer.content.decode()


def test_who_is_deactivated_is_out_at_once(operator: Client, manager: Client, mira: User) -> None:
    assert manager.get("/jobs/").status_code == 200
    page = operator.post(f"{PEOPLE}{mira.pk}/deactivate/", follow=True).content.decode()
    assert "Mira cannot sign in any more." in page
    assert manager.get("/jobs/").status_code == 302
    operator.post(f"{PEOPLE}{mira.pk}/reactivate/")
    assert Membership.objects.filter(user=mira, role=Role.MANAGER).exists()
    mira.refresh_from_db()
    assert mira.is_active


def test_an_operator_does_not_shut_themselves_out(operator: Client) -> None:
    own = User.objects.get(email="ana@example.com")
    page = operator.post(f"{PEOPLE}{own.pk}/deactivate/", follow=True).content.decode()
    assert "You cannot deactivate yourself." in page
    own.refresh_from_db()
    assert own.is_active


def test_names_that_people_chose_do_not_become_markup(operator: Client, manager: Client, mira: User) -> None:
    User.objects.filter(pk=mira.pk).update(name="<script>x</script>")
    for client, path in ((operator, PEOPLE), (manager, MEMBERS)):
        assert "<script>x" not in client.get(path).content.decode()


@pytest.mark.parametrize("path", [PEOPLE, MEMBERS])
def test_the_pages_take_few_queries_for_many_people(operator: Client, project: Project, path: str) -> None:
    operator.get(path)
    counts = []
    for start in (0, 20):
        with CaptureQueriesContext(connection) as asked:
            operator.get(path)
        counts.append(len(asked))
        for number in range(start, start + 20):
            person: Any = add(project, f"{number}@example.com", Role.VIEWER)
            Invitation.objects.make(f"x{number}@example.com", project=project, role=Role.VIEWER, by=person)
    assert counts[0] == counts[1] <= 12
