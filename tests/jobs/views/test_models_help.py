"""The page that helps to choose a model: all its figures are rows or dated scores."""

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from jobs.access import Role
from jobs.models import ModelSpec, Price, User, Workspace
from tests.factories import a_project

pytestmark = pytest.mark.django_db


@pytest.fixture
def signed_in(client: Client, mira: User) -> Client:
    a_project(members={mira: Role.VIEWER})
    client.force_login(mira)
    return client


def page(client: Client) -> str:
    answer = client.get("/help/models/")
    assert answer.status_code == 200
    return " ".join(re.sub(r"<[^>]*>", " ", answer.content.decode()).split())


def test_prices_efforts_and_ends_are_the_catalogues(signed_in: Client, settings: Any) -> None:
    settings.PONDER_TODAY = dt.date(2026, 11, 22)
    text = page(signed_in)
    assert "o3-pro off on 11 Dec 2026, then gpt-5.6-sol pro $20.00 $80.00" in text
    assert "Shut down: o4-mini (23 Oct 2026, now gpt-6-luna)." in text
    assert "On o3-pro 20,000 of them cost $1.60 before the first word." in text
    assert "As of April 2026" in text
    assert "o4-mini o3 o3-pro" in text
    Price.objects.create(
        model_id="o3",
        valid_from=dt.date(2026, 11, 20),
        input=Decimal(3),
        output=Decimal(12),
        source="A letter",
    )
    text = page(signed_in)
    assert "$3.00 $12.00" in text
    assert "the newest from 20 Nov 2026" in text
    assert "A letter" in text


def test_after_the_shutdown_the_successors_stand_there(signed_in: Client, settings: Any) -> None:
    settings.PONDER_TODAY = dt.date(2026, 12, 11)
    text = page(signed_in)
    assert "o3-pro (11 Dec 2026, now gpt-5.6-sol)" in text
    assert "$20.00 $80.00" not in text
    assert "before the first word" in text


def test_an_empty_catalogue_still_helps(signed_in: Client) -> None:
    Price.objects.all().delete()
    Workspace.objects.update(default_model=None)
    ModelSpec.objects.update(successor=None)
    ModelSpec.objects.all().delete()
    text = page(signed_in)
    assert "No model can be chosen today." in text
    assert "Benchmark" not in text
    assert "before the first word" not in text


def test_it_takes_few_queries_and_is_linked_from_every_page(
    signed_in: Client, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(8):
        page(signed_in)
    assert 'href="/help/models/"' in signed_in.get("/budget/").content.decode()
