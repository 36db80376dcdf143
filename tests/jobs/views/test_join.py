"""Joining by an invitation: someone new, someone known, someone signed in, and whoever it is not for."""

from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client

from jobs.access import Role
from jobs.models import Invitation, Membership, Project, User
from jobs.views import join
from jobs.views.sign_in import PAUSE, WRONG
from tests.factories import PASSWORD, a_person, a_project

pytestmark = pytest.mark.django_db

NEW = {"name": "Eve", "new_password1": "nine wooden otters", "new_password2": "nine wooden otters"}


@pytest.fixture
def ana() -> User:
    return a_person("ana@example.com", name="Ana <b>")


@pytest.fixture
def project(ana: User) -> Project:
    return a_project(members={ana: Role.MANAGER})


@pytest.fixture
def token(project: Project, ana: User) -> str:
    return Invitation.objects.make("eve@example.com", project=project, role=Role.SUBMITTER, by=ana)


def joined(client: Client, token: str, **more: str) -> Any:
    return client.post("/join/", {"token": token, **more})


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_looking_uses_nothing_up_and_says_who_invites_whom(client: Client, token: str) -> None:
    assert client.get("/join/").status_code == 200
    for _ in range(2):
        page = joined(client, f" http://localhost:8000/join/#{token} ").content.decode()
        assert "Join Proofs" in page
        assert "Ana &lt;b&gt; invites <b>eve@example.com</b> as submitter" in page
    assert Invitation.objects.get().used_at is None
    assert not is_signed_in(client)


def test_someone_new_makes_an_account_and_is_in_the_project(client: Client, token: str) -> None:
    answer = joined(client, token, **NEW)
    assert (answer.status_code, answer["Location"]) == (302, "/projects/proofs/")
    assert is_signed_in(client)
    assert "You are in Proofs now, as submitter." in client.get("/projects/proofs/").content.decode()
    assert joined(Client(), token, **NEW).status_code == 410


def test_an_invitation_to_no_project_leads_to_the_start(client: Client) -> None:
    operator = a_person("ops@example.com", is_superuser=True)
    token = Invitation.objects.make("eve@example.com", project=None, role=Role.VIEWER, by=operator)
    assert "Join Ponder" in joined(client, token).content.decode()
    assert joined(client, token, **NEW)["Location"] == "/"


@pytest.mark.parametrize(
    "wrong",
    [{"new_password2": "other"}, {"name": ""}, {"new_password1": "eve@example.com"}],
)
def test_what_is_missing_is_said_and_the_invitation_stays(
    client: Client, token: str, wrong: dict[str, str]
) -> None:
    page = joined(client, token, **{**NEW, **wrong})
    assert page.status_code == 200
    assert 'class="err"' in page.content.decode()
    assert User.objects.count() == 1
    assert Invitation.objects.peek(token)


def test_someone_known_signs_in_with_their_own_password(client: Client, token: str) -> None:
    eve = a_person("Eve@Example.com")
    page = joined(client, token, **NEW).content.decode()
    assert "You have an account here." in page
    assert not is_signed_in(client), "nobody gets into an account by an invitation to it"
    assert WRONG in joined(client, token, password="wrong").content.decode()
    assert joined(client, token, password=PASSWORD)["Location"] == "/projects/proofs/"
    assert Membership.objects.get(user=eve).role == Role.SUBMITTER
    assert is_signed_in(client)
    eve.refresh_from_db()
    assert eve.check_password(PASSWORD)


def test_guessing_the_password_of_someone_known_must_pause(client: Client, token: str) -> None:
    a_person("eve@example.com")
    for _ in range(5):
        joined(client, token, password="wrong")
    assert PAUSE in joined(client, token, password=PASSWORD).content.decode()
    assert not is_signed_in(client)


def test_someone_signed_in_joins_with_one_click(client: Client, token: str) -> None:
    eve = a_person("eve@example.com")
    client.force_login(eve)
    assert 'name="join"' in joined(client, token).content.decode()
    assert not Membership.objects.filter(user=eve).exists()
    assert joined(client, token, join="1")["Location"] == "/projects/proofs/"
    assert Membership.objects.filter(user=eve).exists()


def test_an_invitation_for_someone_else_lets_nobody_in(client: Client, token: str) -> None:
    mallory = a_person("mallory@example.com")
    client.force_login(mallory)
    page = joined(client, token, join="1").content.decode()
    assert "This invitation is for another address" in page
    assert not Membership.objects.filter(user=mallory).exists()
    assert Invitation.objects.peek(token)


def test_an_invitation_used_meanwhile_is_gone(
    client: Client, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = join._new

    def used_first(request: HttpRequest, invitation: Invitation, wanted: str) -> HttpResponse:
        Invitation.objects.accept(wanted, name="First", password=PASSWORD)
        return go_on(request, invitation, wanted)

    monkeypatch.setattr(join, "_new", used_first)
    assert joined(client, token, **NEW).status_code == 410
    assert not is_signed_in(client)
    assert User.objects.get(email="eve@example.com").name == "First"


@pytest.mark.parametrize("token", ["", "nonsense"])
def test_what_is_no_invitation_is_refused(client: Client, token: str) -> None:
    answer = joined(client, token)
    assert answer.status_code == (200 if token == "" else 410)
    if not token:
        assert "Paste the link you were given." in answer.content.decode()
