import time
from pathlib import Path

import pytest
from django.conf import settings as ours
from django.db import OperationalError, connection
from pytest_django.fixtures import Settings

from jobs import lifecycle
from jobs.access import Role
from jobs.models import Installation, Status
from o3site import farewell
from tests.cluster_process import environment
from tests.factories import a_person, a_project, a_spec
from tests.sandbox_process import SandboxProcess
from tests.whole import Whole

pytest_plugins = ["tests.fixtures"]
pytestmark = pytest.mark.django_db(transaction=True)


def waited(monkeypatch: pytest.MonkeyPatch, *counts: int) -> tuple[list[str], list[float]]:
    """Wait for sends of which there are so many each time; return what was said, and the pauses."""
    left = iter(counts)
    monkeypatch.setattr(farewell, "sends_in_progress", lambda: next(left))
    said: list[str] = []
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    farewell.await_sends(say=said.append)
    return said, pauses


def test_sends_in_progress_are_awaited_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "Waiting for 2 sends to be answered (Ctrl-C again leaves them unconfirmed)"
    assert waited(monkeypatch, 2, 1, 0) == ([line], [0.2, 0.2])
    assert waited(monkeypatch, 1, 0)[0] == [line.replace("2 sends", "1 send")]


def test_with_no_send_in_progress_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waited(monkeypatch, 0) == ([], [])


def test_the_others_are_told_of_the_stop() -> None:
    lifecycle.note_beat()
    farewell.note_stop()
    assert Installation.objects.get().stopped_at


def test_without_a_database_there_is_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(sql: str) -> int:
        raise OperationalError

    monkeypatch.setattr(farewell, "_ask", fail)
    farewell.note_stop()
    farewell.await_sends(say=pytest.fail)


def test_a_database_that_hangs_is_given_up() -> None:
    assert farewell._ask("SELECT 1 WHERE current_setting('statement_timeout') = '5s' OR %s = ''") == 1
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() != ("5s",)


@pytest.mark.cluster
@pytest.mark.thorough
def test_a_stop_waits_for_the_answer_to_a_send_and_tells_the_others(
    sandbox: SandboxProcess, settings: Settings, tmp_path: Path
) -> None:
    settings.JOURNAL_DIR = ours.DATA_DIR / "journal"
    mira = a_person()
    project = a_project(base_url=sandbox.base_url, members={mira: Role.MANAGER})
    sandbox.faults(post_delay=4)
    reach = environment("shell")
    kept = {name: reach[name] for name in ("DATABASE_URL", "SECRET_KEY", "PONDER_KEYS")}
    with Whole(tmp_path / "one", words=["--only", "workers"], environment=kept) as machine:
        job = lifecycle.submit(a_spec(project, mira, prompt="Lemma. [[sandbox: seconds=60]]"))
        deadline = time.monotonic() + 30
        while sandbox.stats()["posts"] == 0 or not Installation.objects.exists():
            assert time.monotonic() < deadline, machine.output
            time.sleep(0.05)
        assert machine.stop() >= 1
        assert "Waiting for 1 send to be answered" in machine.output
    job.refresh_from_db()
    assert job.status == Status.QUEUED
    assert Installation.objects.get().stopped_at
