"""A person's own settings: name and address, mails, password; with the password where it matters."""

from typing import Any

import pytest
from django.test import Client

from jobs.models import User, trail
from jobs.views.sign_in import PAUSE
from tests.factories import PASSWORD, a_person

pytestmark = pytest.mark.django_db

PROFILE, CHANGE = "/settings/profile/", "/settings/password/"
NEW = "nine wooden otters"


@pytest.fixture
def mira(client: Client) -> User:
    found = a_person()
    client.force_login(found)
    return found


def said(person: User) -> list[str]:
    return [entry.get_change_message() for entry in trail.trail_of(person)]


def saved(client: Client, **typed: str) -> Any:
    return client.post(PROFILE, {"name": "Mira", "email": "mira@example.com", **typed}, follow=True)


def changed(client: Client, old: str = PASSWORD, first: str = NEW, again: str = NEW) -> Any:
    return client.post(
        CHANGE, {"old_password": old, "new_password1": first, "new_password2": again}, follow=True
    )


def test_the_settings_begin_with_the_profile(client: Client, mira: User) -> None:
    assert client.get("/settings/")["Location"] == PROFILE
    assert "/settings/connections/" not in client.get(PROFILE).content.decode()


def test_name_and_mails_change_without_a_password(client: Client, mira: User) -> None:
    assert "Saved." in saved(client, name="Mira Okafor", wants_mail="on").content.decode()
    mira.refresh_from_db()
    assert (mira.name, mira.wants_mail) == ("Mira Okafor", True)
    assert said(mira) == ["Name: Mira → Mira Okafor"]
    saved(client, name="Mira Okafor")
    mira.refresh_from_db()
    assert not mira.wants_mail


def test_another_address_needs_the_password(client: Client, mira: User) -> None:
    for typed in ("", "wrong"):
        page = saved(client, email="new@example.com", password=typed)
        assert page.status_code == 422
        assert "This is not your password." in page.content.decode()
        assert "Mira</b>" not in page.content.decode()
    mira.refresh_from_db()
    assert mira.email == "mira@example.com"
    saved(client, email="New@Example.com", password=PASSWORD)
    mira.refresh_from_db()
    assert mira.email == "new@example.com"
    assert said(mira) == ["Email: mira@example.com → new@example.com"]


def test_an_address_that_someone_has_is_refused(client: Client, mira: User) -> None:
    a_person("eve@example.com")
    page = saved(client, email="EVE@example.com", password=PASSWORD)
    assert "Someone here has this address already." in page.content.decode()


def test_what_is_only_typed_is_not_shown_as_ones_name(client: Client, mira: User) -> None:
    page = saved(client, name="Someone Else", email="nobody").content.decode()
    assert '<span class="nm">Mira</span>' in page


def test_a_name_is_needed(client: Client, mira: User) -> None:
    assert saved(client, name="  ").status_code == 422


def test_a_new_password_takes_the_old_one_and_ends_every_other_session(client: Client, mira: User) -> None:
    elsewhere = Client()
    elsewhere.force_login(mira)
    page = changed(client)
    assert "Your password is changed." in page.content.decode()
    assert client.get("/jobs/").status_code == 200
    assert elsewhere.get("/jobs/").status_code == 302
    mira.refresh_from_db()
    assert mira.check_password(NEW)
    assert said(mira) == ["Password changed"]


@pytest.mark.parametrize(
    ("old", "first", "again"),
    [("wrong", NEW, NEW), (PASSWORD, NEW, "other"), (PASSWORD, "short", "short"), ("", NEW, NEW)],
)
def test_a_password_that_will_not_do_changes_nothing(
    client: Client, mira: User, old: str, first: str, again: str
) -> None:
    page = changed(client, old, first, again)
    assert page.status_code == 422
    assert 'class="err"' in page.content.decode()
    assert NEW not in page.content.decode()
    mira.refresh_from_db()
    assert mira.check_password(PASSWORD)


def test_whoever_finds_a_session_open_cannot_guess_the_password(client: Client, mira: User) -> None:
    for _ in range(5):
        changed(client, "wrong")
    assert PAUSE in changed(client).content.decode()
    mira.refresh_from_db()
    assert mira.check_password(PASSWORD)


def test_a_password_is_changed_by_post_only(client: Client, mira: User) -> None:
    assert client.get(CHANGE).status_code == 405
