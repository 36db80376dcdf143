"""Models and prices as the catalogue has them, the notice that a model ends, and one click to the next."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from jobs.models import ModelSpec, Price, User, Workspace
from tests.factories import a_person, a_project

pytestmark = pytest.mark.django_db

MODELS = "/settings/models/"


@pytest.fixture
def ana(client: Client) -> User:
    found = a_person("ana@example.com", is_superuser=True, is_staff=True)
    client.force_login(found)
    return found


def test_every_model_is_listed_with_each_of_its_prices_and_their_source(client: Client, ana: User) -> None:
    project = a_project()
    page = client.get(MODELS).content.decode()
    for price in Price.objects.all():
        assert price.model_id in page
        assert price.source.split(";")[0] in page
    assert "Shuts down on 11 Dec 2026." in page or "Shut down on 11 Dec 2026." in page
    assert "gpt-5.6-sol in pro mode takes its place." in page
    assert project.name in page


def test_a_model_that_was_shut_down_or_has_no_price_is_shown_as_such(
    client: Client, ana: User, settings: Settings
) -> None:
    a_project()
    settings.PONDER_TODAY = dt.date(2026, 12, 11)
    Price.objects.filter(model="gpt-6-luna").delete()
    rows = client.get(MODELS).context["rows"]
    off = [row["spec"].pk for row in rows if row["is_off"]]
    assert {"o3", "o3-pro"} <= set(off)
    assert [row["spec"].pk for row in rows][-len(off) :] == off
    page = client.get(MODELS).content.decode()
    assert "No price yet, so it cannot be chosen." in page


def test_everyone_may_look_and_only_operators_may_add_a_price(client: Client) -> None:
    client.force_login(a_person())
    page = client.get(MODELS).content.decode()
    assert "New price" not in page


def test_the_page_takes_few_queries(
    client: Client, ana: User, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    a_project()
    with django_assert_max_num_queries(12):
        client.get(MODELS)


def test_one_click_in_the_notice_lets_the_successor_take_over(
    client: Client, ana: User, settings: Settings
) -> None:
    a_project(is_practice=False)
    settings.PONDER_TODAY = dt.date(2026, 12, 1)
    page = client.get("/projects/").content.decode()
    assert "o3-pro is switched off on 11 Dec." in page
    assert 'action="/settings/models/o3-pro/succeed/"' in page
    answer = client.post("/settings/models/o3-pro/succeed/", headers={"referer": "http://testserver/jobs/"})
    assert answer["Location"] == "http://testserver/jobs/"
    assert Workspace.objects.the().default_model_id == "gpt-5.6-sol"
    page = client.get("/projects/").content.decode()
    assert "is switched off" not in page
    assert "New jobs start from gpt-5.6-sol now" in page


def test_a_click_that_comes_from_elsewhere_leads_to_the_models(client: Client, ana: User) -> None:
    a_project()
    for back in ("https://evil.example/", ""):
        answer = client.post("/settings/models/o3-pro/succeed/", headers={"referer": back})
        assert answer["Location"] == MODELS


def test_a_model_that_nothing_follows_says_so(client: Client, ana: User) -> None:
    a_project()
    ModelSpec.objects.update(successor=None)
    page = client.post("/settings/models/o3-pro/succeed/", follow=True).content.decode()
    assert "The catalogue names nothing that takes the place of o3-pro." in page
    assert client.post("/settings/models/nothing/succeed/").status_code == 404
