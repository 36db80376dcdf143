"""Shutdown dates are read through a connection; what is unknown on either side is listed."""

import datetime as dt
import io

import pytest
from django.core.management import CommandError, call_command

from jobs import openai_client
from jobs.models import Connection, ModelSpec
from jobs.openai_client import Blocked, Endpoint
from tests.factories import a_project
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.django_db


def run(*words: str) -> str:
    out = io.StringIO()
    call_command("refresh_models", *words, stdout=out)
    return out.getvalue()


def listed(monkeypatch: pytest.MonkeyPatch, **days: str | None) -> list[Endpoint]:
    """Let the API list models with their last days; return whom it was asked through."""
    asked: list[Endpoint] = []

    def models(endpoint: Endpoint) -> list[dict[str, str | None]]:
        asked.append(endpoint)
        return [{"id": name.replace("_", "-"), "shutdown_date": day} for name, day in days.items()]

    monkeypatch.setattr(openai_client, "models", models)
    return asked


def test_shutdown_dates_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    a_project()
    ModelSpec.objects.filter(pk="o3-pro").update(shutdown_date=None)
    ModelSpec.objects.filter(pk="o3").update(shutdown_date=dt.date(2026, 12, 11))
    listed(
        monkeypatch,
        o3_pro="2026-12-11",
        o3="2027-01-15",
        **{"o3-pro-2025-06-10": "2026-12-11", "gpt-9": None, "o4-mini": "soon"},
    )
    said = run()
    assert "o3-pro: 2026-12-11\n" in said
    assert "o3: 2026-12-11 → 2027-01-15\n" in said
    assert "2 of 3 shutdown dates have changed." in said
    assert "Listed by practice, not in the catalogue: gpt-9.\n" in said
    assert "In the catalogue, not listed by practice: gpt-5-pro" in said
    assert ModelSpec.objects.get(pk="o3").shutdown_date == dt.date(2027, 1, 15)


def test_a_date_that_is_not_told_any_more_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    a_project()
    before = ModelSpec.objects.get(pk="o3").shutdown_date
    listed(monkeypatch, o3=None)
    assert "0 of 1" in run()
    assert ModelSpec.objects.get(pk="o3").shutdown_date == before


def test_the_first_real_connection_is_asked_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = listed(monkeypatch)
    with pytest.raises(CommandError, match="There is no connection yet"):
        run()
    a_project()
    a_project("real", is_practice=False, base_url="http://127.0.0.1:8/v1")
    run()
    run("practice")
    assert [endpoint.base_url for endpoint in asked] == ["http://127.0.0.1:8/v1", "http://127.0.0.1:9/v1"]
    with pytest.raises(CommandError, match="no connection 'other'"):
        run("other")


def test_what_the_connection_says_instead_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    a_project()

    def models(_: Endpoint) -> None:
        raise Blocked("Incorrect API key provided.", code="invalid_api_key")

    monkeypatch.setattr(openai_client, "models", models)
    with pytest.raises(CommandError, match="practice: invalid_api_key: Incorrect API key"):
        run()


def test_the_sandbox_tells_the_days_that_the_catalogue_has(sandbox: SandboxProcess) -> None:
    a_project(base_url=sandbox.base_url)
    days = dict(ModelSpec.objects.values_list("pk", "shutdown_date"))
    assert "0 of " in run()
    assert dict(ModelSpec.objects.values_list("pk", "shutdown_date")) == days
    assert Connection.objects.count() == 1
