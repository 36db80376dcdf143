"""Whose bill is read, with which key, from which address, and whose a line of it is."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from jobs import reconcile
from jobs.models import Connection, Kind
from jobs.openai_client import Cost
from jobs.reconcile import NoAccount

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def admin_key(settings: Settings) -> None:
    settings.OPENAI_ADMIN_KEY = "sk-admin-real"


def a_connection(name: str, address: str = "https://api.openai.com/v1", **more: Any) -> Connection:
    return Connection.objects.create(name=name, base_url=address, **more)


def a_line(project: str = "", key: str = "") -> Cost:
    return Cost(dt.date(2026, 11, 20), project, key, "o3, input_tokens", Decimal(1), 2, 1)


def test_the_admin_key_goes_to_openai_or_where_the_environment_says(settings: Settings) -> None:
    a_connection("typed", "https://elsewhere.example/v1")
    with pytest.raises(NoAccount, match="No connection here leads to OpenAI"):
        reconcile.account(is_practice=False)
    a_connection("europe", "https://eu.api.openai.com/v1")
    found = reconcile.account(is_practice=False)
    assert (found.endpoint.base_url, found.endpoint.key) == ("https://api.openai.com/v1", "sk-admin-real")
    assert "sk-admin" not in repr(found)
    settings.OPENAI_BASE_URL = "https://elsewhere.example/v1/"
    found = reconcile.account(is_practice=False)
    assert [part.connections[0].name for part in found.parts] == ["typed"]


def test_azure_and_other_servers_have_no_such_bill() -> None:
    a_connection("azure", kind=Kind.AZURE)
    a_connection("practice", is_practice=True)
    with pytest.raises(NoAccount, match="Azure and servers of your own have no such bill"):
        reconcile.account(is_practice=False)


def test_without_an_admin_key_it_is_said_what_is_missing(settings: Settings) -> None:
    a_connection("real")
    settings.OPENAI_ADMIN_KEY = ""
    with pytest.raises(NoAccount, match="OPENAI_ADMIN_KEY is not set where Ponder runs"):
        reconcile.account(is_practice=False)


def test_the_sandbox_is_never_shown_the_admin_key(settings: Settings) -> None:
    with pytest.raises(NoAccount, match="no practice connection"):
        reconcile.account(is_practice=True)
    a_connection("elsewhere", "http://127.0.0.1:8/v1", is_practice=True, sandbox_of="another")
    a_connection("here", "http://127.0.0.1:9/v1", is_practice=True, sandbox_of=settings.INSTANCE)
    found = reconcile.account(is_practice=True).endpoint
    assert (found.base_url, found.key) == ("http://127.0.0.1:9/v1", "sk-admin-practice")


def test_a_line_belongs_to_its_key_then_to_its_project_then_to_who_names_neither() -> None:
    a_connection("by key", bill_keys=["key_1", "key_old"], openai_project="proj_1")
    a_connection("by project", openai_project="proj_1")
    a_connection("rest")
    found = reconcile.account(is_practice=False)
    lines = [
        a_line("proj_1", "key_old"),
        a_line("proj_1", "key_2"),
        a_line("proj_2", "key_1"),
        a_line("proj_2", "key_2"),
    ]
    parts = [found.part_of(line) for line in lines]
    assert [part and str(part.only) for part in parts] == ["by key", "by project", "by key", "rest"]


def test_what_is_of_no_key_or_project_of_ours_is_nobodys() -> None:
    a_connection("by key", bill_keys=["key_1"])
    a_connection("by project", openai_project="proj_1")
    a_connection("by the same", openai_project="proj_1")
    found = reconcile.account(is_practice=False)
    assert found.part_of(a_line("proj_2", "key_2")) is None
    both = found.part_of(a_line("proj_1", "key_2"))
    assert both is not None
    assert (both.only, len(both.ids)) == (None, 2)
