"""Signing in and out: one refusal for every cause, throttled, and links that work once."""

import datetime as dt
import re
from typing import Any

import pytest
import time_machine
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ
from pytest_django.fixtures import Settings

from jobs.models import SignInFailure, SignInLink, User
from jobs.views import throttle
from jobs.views.sign_in import PAUSE, WRONG
from tests.factories import PASSWORD, a_person

pytestmark = pytest.mark.django_db

NEW = "nine wooden otters"
PAGES = [
    "/",
    "/jobs/",
    "/jobs/new/",
    "/jobs/j_12345678/",
    "/projects/",
    "/projects/proofs/",
    "/budget/",
    "/settings/connections/",
]


def typed(client: Client, email: str, password: str, **more: str) -> Any:
    return client.post("/login/", {"email": email, "password": password, **more})


def fail(client: Client, email: str, times: int) -> None:
    for _ in range(times):
        typed(client, email, "wrong")


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


@pytest.mark.parametrize("path", PAGES)
def test_a_stranger_is_asked_to_sign_in_on_every_page(client: Client, path: str) -> None:
    found = client.get(path)
    assert found.status_code == 302
    assert found["Location"].startswith("/login/?next=")


@pytest.mark.parametrize("path", ["/jobs/live/", "/jobs/estimate/"])
def test_a_fragment_for_someone_signed_out_reloads_the_page_instead_of_holding_a_form(
    client: Client, path: str
) -> None:
    found = client.get(path) if "live" in path else client.post(path)
    assert (found.status_code, found["HX-Refresh"]) == (204, "true")


def test_the_right_password_signs_in_whatever_the_case_of_the_address(client: Client) -> None:
    a_person()
    found = typed(client, "Mira@Example.COM", PASSWORD, next="/jobs/?status=failed")
    assert (found.status_code, found["Location"]) == (302, "/jobs/?status=failed")
    assert is_signed_in(client)


@pytest.mark.parametrize(
    "goal", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "jobs/"]
)
def test_next_leads_only_to_own_paths(client: Client, goal: str) -> None:
    a_person()
    assert typed(client, "mira@example.com", PASSWORD, next=goal)["Location"] == "/"


def test_every_cause_of_refusal_reads_the_same(client: Client) -> None:
    a_person()
    a_person("gone@example.com", is_active=False)
    User.objects.create_user("linkonly@example.com", None)
    pages = []
    for email, password in [
        ("mira@example.com", "wrong"),
        ("nobody@example.com", PASSWORD),
        ("gone@example.com", PASSWORD),
        ("linkonly@example.com", ""),
        ("linkonly@example.com", "x"),
    ]:
        found = typed(client, email, password)
        pages.append(found.content.decode())
        assert not is_signed_in(client)
    assert all(WRONG in page for page in (pages[0], pages[1], pages[2], pages[4]))


def test_an_unknown_address_costs_as_many_hashes_as_a_known_one(
    client: Client, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
    a_person()
    hashed = []
    encode = PBKDF2PasswordHasher.encode
    monkeypatch.setattr(
        PBKDF2PasswordHasher, "encode", lambda self, *rest: hashed.append(1) or encode(self, *rest)
    )
    typed(client, "mira@example.com", "wrong")
    known = len(hashed)
    typed(client, "nobody@example.com", "wrong")
    assert known >= 1
    assert len(hashed) == 2 * known


def test_after_five_failures_an_address_is_not_even_checked(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_person()
    fail(client, "mira@example.com", 5)
    monkeypatch.setattr("jobs.views.sign_in.authenticate", lambda *_, **__: pytest.fail("it was checked"))
    found = typed(client, "MIRA@example.com ", PASSWORD)
    assert found.status_code == 429
    assert PAUSE in found.content.decode()
    assert not is_signed_in(client)


def test_a_pause_for_one_address_is_none_for_another(client: Client) -> None:
    a_person()
    fail(client, "nobody@example.com", 6)
    assert typed(client, "mira@example.com", PASSWORD).status_code == 302


def test_the_pause_is_over_after_fifteen_minutes(client: Client) -> None:
    a_person()
    fail(client, "mira@example.com", 5)
    with time_machine.travel(timezone.now() + dt.timedelta(minutes=15, seconds=1)):
        assert typed(client, "mira@example.com", PASSWORD).status_code == 302


def test_one_client_that_tries_many_addresses_has_to_pause_too(client: Client) -> None:
    a_person()
    for number in range(throttle.MOST_FROM_ONE_CLIENT):
        throttle.note_failure(f"{number}@example.com", "127.0.0.1")
    assert typed(client, "mira@example.com", PASSWORD).status_code == 429


@pytest.mark.parametrize(
    ("direct", "public", "is_paused"),
    [
        ("127.0.0.1", "https://ponder.example.com", False),  # the proxy of this machine names another client
        ("127.0.0.1", "", True),  # there is no proxy, and whoever names one says what they like
        ("8.8.8.8", "https://ponder.example.com", True),
        ("no address", "https://ponder.example.com", True),
    ],
)
def test_behind_a_proxy_one_client_locks_nobody_else_out(
    direct: str, public: str, is_paused: bool, client: Client, settings: Settings
) -> None:
    settings.PONDER_URL = public
    a_person()
    for number in range(throttle.MOST_FROM_ONE_CLIENT):
        throttle.note_failure(f"{number}@example.com", direct if is_paused else "203.0.113.9")
    forwarded = {"REMOTE_ADDR": direct, "HTTP_X_FORWARDED_FOR": "198.51.100.1, 203.0.113.8"}
    found = client.post("/login/", {"email": "mira@example.com", "password": PASSWORD}, **forwarded)
    assert (found.status_code == 429) is is_paused


def test_signing_in_forgets_the_failures_before_it(client: Client) -> None:
    a_person()
    fail(client, "mira@example.com", 4)
    typed(client, "mira@example.com", PASSWORD)
    other = Client()
    fail(other, "mira@example.com", 4)
    assert typed(other, "mira@example.com", PASSWORD).status_code == 302


def test_what_is_kept_of_a_failure_names_nobody_and_is_thrown_away(client: Client) -> None:
    fail(client, "mira@example.com", 1)
    assert {len(key) for key in SignInFailure.objects.values_list("key", flat=True)} == {64}
    with time_machine.travel(timezone.now() + dt.timedelta(hours=1)):
        fail(client, "other@example.com", 1)
    assert SignInFailure.objects.count() == 2


def test_signing_out_takes_a_post(client: Client) -> None:
    client.force_login(a_person())
    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/")["Location"] == "/login/"
    assert not is_signed_in(client)


def test_a_form_without_its_token_is_refused() -> None:
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/login/", {"email": "a@example.com", "password": "x"}).status_code == 403


def forgotten(client: Client, email: str) -> Any:
    return client.post("/login/forgot/", {"email": email}, follow=True)


def rung() -> list[tuple[str, tuple[int, ...]]]:
    return [(message.task["func"], message.task["args"]) for message in OrmQ.objects.order_by("pk")]


def test_a_lost_password_has_a_link_mailed_by_a_worker_and_no_secret_waits_for_it(client: Client) -> None:
    person = a_person()
    assert "Forgot it?" in client.get("/login/").content.decode()
    forgotten(client, "MIRA@example.com")
    assert rung() == [("jobs.tasks.mail_sign_in_link", (person.pk,))]
    assert not SignInLink.objects.exists()


def test_the_answer_is_the_same_whether_there_is_such_an_account(client: Client) -> None:
    a_person()
    a_person("gone@example.com", is_active=False)
    pages = [
        forgotten(client, email).content
        for email in ("mira@example.com", "nobody@example.com", "gone@example.com")
    ]
    assert pages[0] == pages[1] == pages[2]
    assert b"If there is an account with that address" in pages[0]
    # The same work too, so that the time it takes tells nothing.
    assert [args for _, args in rung()][1:] == [(0,), (0,)]


def test_one_address_is_mailed_three_times_in_a_quarter_of_an_hour(client: Client) -> None:
    a_person()
    pages = {forgotten(client, "mira@example.com").content for _ in range(5)}
    assert len(pages) == 1
    assert len(rung()) == 3
    with time_machine.travel(timezone.now() + dt.timedelta(minutes=16)):
        forgotten(client, "mira@example.com")
    assert len(rung()) == 4


def test_one_client_that_asks_for_everyone_is_stopped(client: Client) -> None:
    for number in range(throttle.MOST_FROM_ONE_CLIENT):
        throttle.may_mail(f"{number}@example.com", "127.0.0.1")
    forgotten(client, "nobody@example.com")
    assert rung() == []


def test_asking_for_a_link_keeps_nobody_from_signing_in(client: Client) -> None:
    a_person()
    for _ in range(6):
        forgotten(client, "mira@example.com")
    assert typed(client, "mira@example.com", PASSWORD).status_code == 302


def test_what_is_no_address_is_said_and_counted_for_nothing(client: Client) -> None:
    page = forgotten(client, "nobody").content.decode()
    assert "Enter a valid email address." in page
    assert not SignInFailure.objects.exists()


@pytest.mark.parametrize("is_set", [True, False])
def test_where_no_mail_server_is_set_the_page_says_where_the_mail_goes(
    client: Client, settings: Any, is_set: bool
) -> None:
    settings.IS_MAIL_SENT = is_set
    page = forgotten(client, "nobody@example.com").content.decode()
    assert ("the mail is printed where Ponder runs" in page) is not is_set


def entered(client: Client, token: str, **more: str) -> Any:
    return client.post("/enter/", {"token": token, **more})


def test_a_link_names_its_owner_first_and_is_not_used_up_by_looking(client: Client) -> None:
    token = SignInLink.objects.make_for(a_person(name="Mira <b>"))
    assert client.get("/enter/").status_code == 200
    for _ in range(2):
        page = entered(client, token).content.decode()
        assert "Mira &lt;b&gt;" in page
        assert "mira@example.com" in page
    assert SignInLink.objects.count() == 1
    assert not is_signed_in(client)


def test_a_link_sets_a_password_signs_in_and_works_once(client: Client) -> None:
    person = a_person()
    token = SignInLink.objects.make_for(person)
    found = entered(client, token, new_password1=NEW, new_password2=NEW)
    assert (found.status_code, found["Location"]) == (302, "/")
    assert is_signed_in(client)
    person.refresh_from_db()
    assert person.check_password(NEW)
    again = entered(
        Client(), token, new_password1="another otter entirely", new_password2="another otter entirely"
    )
    assert again.status_code == 410
    assert "sign_in_link" in again.content.decode()
    person.refresh_from_db()
    assert person.check_password(NEW)


def test_a_link_ends_the_pause_of_its_owner(client: Client) -> None:
    token = SignInLink.objects.make_for(a_person())
    fail(client, "mira@example.com", 5)
    entered(client, token, new_password1=NEW, new_password2=NEW)
    assert typed(Client(), "mira@example.com", NEW).status_code == 302


def test_a_link_is_too_old_after_fifteen_minutes(client: Client) -> None:
    token = SignInLink.objects.make_for(a_person())
    SignInLink.objects.update(expires_at=timezone.now() - dt.timedelta(seconds=1))
    assert entered(client, token).status_code == 410


def test_the_whole_link_may_be_pasted(client: Client) -> None:
    token = SignInLink.objects.make_for(a_person())
    assert "mira@example.com" in entered(client, f" http://localhost:8000/enter/#{token} ").content.decode()


def test_a_password_that_is_too_weak_leaves_the_link_as_it_was(client: Client) -> None:
    token = SignInLink.objects.make_for(a_person())
    for weak in ("short", "password123", "mira@example.com"):
        found = entered(client, token, new_password1=weak, new_password2=weak)
        assert found.status_code == 200
        assert not re.search(r'type="password"[^>]* value=', found.content.decode())
    assert SignInLink.objects.count() == 1
    assert not is_signed_in(client)


def test_the_first_operator_may_choose_an_address_with_the_link(client: Client) -> None:
    operator = User.objects.create_superuser("admin@localhost", name="Administrator")
    token = SignInLink.objects.make_for(operator)
    entered(client, token, new_password1=NEW, new_password2=NEW, email="Ana@Example.com")
    operator.refresh_from_db()
    assert operator.email == "ana@example.com"


def test_an_address_that_is_taken_is_refused_and_the_link_stays(client: Client) -> None:
    a_person("ana@example.com")
    token = SignInLink.objects.make_for(User.objects.create_superuser("admin@localhost"))
    found = entered(client, token, new_password1=NEW, new_password2=NEW, email="ANA@example.com")
    assert "has this address already" in found.content.decode()
    assert SignInLink.objects.count() == 1


def test_nobody_else_changes_their_address_with_a_link(client: Client) -> None:
    person = a_person()
    token = SignInLink.objects.make_for(person)
    entered(client, token, new_password1=NEW, new_password2=NEW, email="other@example.com")
    person.refresh_from_db()
    assert person.email == "mira@example.com"


def test_a_link_of_someone_who_was_switched_off_opens_nothing(client: Client) -> None:
    person = a_person()
    token = SignInLink.objects.make_for(person)
    User.objects.update(is_active=False)
    assert entered(client, token, new_password1=NEW, new_password2=NEW).status_code == 410
