from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from jobs import lifecycle
from jobs.models import Connection
from o3site import preparation
from o3site.start import PARTS
from tests.factories import a_project

pytestmark = pytest.mark.usefixtures("run_folder")

PLACE = "http://127.0.0.1:7/v1"
OWN, BUNDLED = "postgresql://db.example.com/ponder", ""

Prepare = Callable[..., dict[str, Any]]


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[Prepare]:
    """Prepare parts on a database of one's own or the bundled one; return what happened."""
    happened: dict[str, Any] = {}
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)
    monkeypatch.setattr(preparation, "call_command", lambda *words, **options: None)
    monkeypatch.setattr("jobs.management.first_start.prepare", lambda **words: happened.update(words))

    def run(parts: Collection[str], url: str) -> dict[str, Any]:
        settings.DATABASE_URL = url
        happened["said"] = []
        found = preparation.prepare_records(parts, sandbox_base_url=PLACE, say=happened["said"].append)
        assert found == {"token": None, "webhook": None}
        return happened

    yield run
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted")
        assert cursor.fetchall() == []


@pytest.mark.django_db(transaction=True)
def test_where_machines_may_share_a_database_the_sandboxes_host_alone_says_where_it_is(
    prepare: Prepare,
) -> None:
    for parts, moves, takes in (
        (["web"], False, False),
        (["workers"], False, False),
        (["sandbox"], True, True),
        (PARTS, True, False),
    ):
        shared = prepare(parts, OWN)
        assert (shared["moves_sandbox"], shared["takes_sandbox"]) == (moves, takes)
        own = prepare(parts, BUNDLED)
        assert (own["moves_sandbox"], own["takes_sandbox"]) == (True, True)


@pytest.mark.django_db(transaction=True)
def test_a_second_installation_says_that_practice_leads_to_the_firsts_sandbox(prepare: Prepare) -> None:
    a_project(base_url=PLACE)
    assert not any("Practice" in line for line in prepare(PARTS, OWN)["said"])
    Connection.objects.update(sandbox_of="of another")
    (line,) = [line for line in prepare(PARTS, OWN)["said"] if "Practice" in line]
    assert line == (
        f"! Practice leads to another installation's sandbox, {PLACE}, and none runs here."
        " `start --only sandbox` moves it here."
    )
    assert not any("Practice" in line for line in prepare(["web"], OWN)["said"])


@pytest.mark.django_db(transaction=True)
def test_a_database_whose_log_keeps_what_people_write_is_warned_of(prepare: Prepare) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER ROLE CURRENT_USER SET log_min_error_statement = error")
    connection.close()
    try:
        said = prepare(["workers"], OWN)["said"]
        assert [line[:20] for line in said if line.startswith("!")] == ["! The database's log"]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER ROLE CURRENT_USER RESET log_min_error_statement")
    connection.close()
    assert not any(line.startswith("!") for line in prepare(["workers"], OWN)["said"])


@pytest.mark.django_db(transaction=True)
def test_work_that_is_overdue_keeps_nobody_from_starting(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ringing for it goes through Django-Q, which closes connections that may be closed."""
    monkeypatch.setattr("jobs.management.first_start.prepare", lambda **_: lifecycle.ring("poll"))
    assert "✓ records" in prepare(PARTS, BUNDLED)["said"]
