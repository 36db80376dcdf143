"""A backup becomes an installation in a new place, which goes on where the original was."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pytest_django.fixtures import Settings

from o3site import backups, localpg
from tests.sandbox_process import SandboxProcess
from tests.whole import OURS, ROOT, Visitor, Whole

PASSWORD = "correct horse battery"


@pytest.fixture
def upstream() -> Iterator[SandboxProcess]:
    """An API that outlives the original."""
    with SandboxProcess().start(speed=1000) as process:
        yield process


@pytest.fixture
def places() -> Iterator[Path]:
    """A folder for data directories: under root the database is another user and must pass through."""
    with tempfile.TemporaryDirectory(prefix="ponder-places-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def manage(home: Path, *words: str, exits: int = 0) -> str:
    """Run a command on a data directory; return what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    if "PONDER_TODAY" in os.environ:
        kept["PONDER_TODAY"] = os.environ["PONDER_TODAY"]
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=kept | {"PONDER_DATA_DIR": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == exits, done.stdout + done.stderr
    return done.stdout + done.stderr


def ask(home: Path, sql: str, *params: Any) -> Any:
    """Ask the bundled database of a data directory that runs; return the first row."""
    where = localpg.parameters(home)
    login = {"host": where["HOST"], "user": where["USER"], "password": where["PASSWORD"]}
    with psycopg.connect(**login, dbname=where["NAME"], autocommit=True) as database:
        found = database.execute(sql, params)
        return found.fetchone() if found.description else None


def await_that(is_so: Callable[[], bool], what: str, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.mark.cluster
def test_a_restored_copy_waits_until_it_is_resumed_and_then_follows_a_job_in_flight(
    upstream: SandboxProcess, places: Path
) -> None:
    saved = places / "saved"
    with Whole(places / "original") as original:
        ask(original.home, "UPDATE jobs_connection SET base_url = %s", upstream.base_url)
        prompt = 'Go on. [[sandbox: seconds=8 outcome=completed answer="It goes on."]]'
        manage(original.home, "submit", "--project", "practice", prompt)
        await_that(
            lambda: ask(original.home, "SELECT status FROM jobs_job")[0] in ("queued", "in_progress"),
            "it was not sent",
        )
        said = manage(original.home, "backup", str(saved))
        assert "✓ database" in said
        assert "✓ keys" in said
        assert "not an empty folder" in manage(original.home, "backup", str(saved), exits=1)
        original.kill()
    assert oct(saved.stat().st_mode & 0o777) == "0o700"
    assert json.loads((saved / "manifest.json").read_text())["is_at_work"]

    place = places / "copy"
    assert "Workers ran when" in manage(place, "restore", "--moved", str(saved), exits=1)
    said = manage(place, "restore", str(saved))
    assert "✓ held: 1 connections" in said
    assert "into a new place only" in manage(place, "restore", str(saved), exits=1)
    with Whole(place) as copy:
        # On a bundled database practice leads to the installation's own sandbox again at each start.
        ask(place, "UPDATE jobs_connection SET base_url = %s", upstream.base_url)
        claimed = "SELECT claim_token IS NOT NULL OR next_action_at > now() + interval '15 s' FROM jobs_job"
        await_that(lambda: bool(ask(place, claimed)[0]), "no pump has looked at it")
        response_id = ask(place, "SELECT response_id FROM jobs_attempt")[0]
        upstream.wait_for(response_id, "completed", within=20)
        assert ask(place, "SELECT status FROM jobs_job")[0] in ("queued", "in_progress")
        with Visitor(copy.base_url) as visitor:
            visitor.get("/enter/")
            chosen = {"token": copy.link, "new_password1": PASSWORD, "new_password2": PASSWORD}
            assert visitor.post("/enter/", chosen).status == 302
            page = visitor.get("/settings/connections/")
            assert "not asked for either" in page.text
            number = ask(place, "SELECT id FROM jobs_connection")[0]
            assert visitor.post(f"/settings/connections/{number}/resume/", {}).status == 302
        await_that(lambda: ask(place, "SELECT status FROM jobs_job")[0] == "completed", "it did not go on")
        assert ask(place, "SELECT text FROM jobs_answer")[0].startswith("It goes on.")
        assert len(upstream.log()["posts"]) == 1
        assert "what the ledger says" in manage(place, "audit")


def test_a_folder_without_a_manifest_is_no_backup(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(backups.Refused, match="no whole backup"):
        backups.restore(tmp_path, is_moved=False, say=print)
    newer = {"migrations": ["jobs.9999_of_tomorrow"], "version": "9", "is_at_work": False}
    (tmp_path / "manifest.json").write_text(json.dumps(newer))
    with pytest.raises(backups.Refused, match="newer Ponder"):
        backups.restore(tmp_path, is_moved=False, say=print)
