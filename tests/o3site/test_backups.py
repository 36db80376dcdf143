"""A backup becomes an installation in a new place, which goes on where the original was."""

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet
from pytest_django.fixtures import Settings

from jobs import lifecycle
from jobs.access import Role
from jobs.models import Attempt, Connection, Job, Secret
from o3site import backups, datadir, localpg, start
from tests.factories import a_person, a_project, a_spec
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


def manage(home: Path, *words: str) -> str:
    """Run a command on a data directory; return what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=kept | {"PONDER_DATA_DIR": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
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
@pytest.mark.thorough
@pytest.mark.django_db(transaction=True)
def test_a_restored_copy_waits_until_it_is_resumed_and_then_follows_a_job_in_flight(
    upstream: SandboxProcess, places: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    mira = a_person()
    project = a_project("practice", base_url=upstream.base_url, members={mira: Role.SUBMITTER})
    prompt = 'Go on. [[sandbox: seconds=1 outcome=completed answer="It goes on."]]'
    lifecycle.submit(a_spec(project, mira, prompt=prompt))
    settings.STOP_FILE.unlink(missing_ok=True)
    lifecycle.run_pump("send")
    response_id = Attempt.objects.get().response_id
    # As on a bundled database, which needs no start here.
    monkeypatch.setattr(localpg, "start", lambda _: False)
    monkeypatch.setattr(localpg, "is_made", lambda _: True)
    saved, place = places / "saved", places / "copy"
    said: list[str] = []
    backups.backup(saved, say=said.append)
    assert [line[:6] for line in said] == ["✓ data", "✓ jour", "✓ keys"]
    assert oct(saved.stat().st_mode & 0o777) == "0o700"

    assert "✓ held: 1 connections" in manage(place, "restore", str(saved))
    with Whole(place) as copy:
        # On a bundled database practice leads to the installation's own sandbox again at each start.
        ask(place, "UPDATE jobs_connection SET base_url = %s", upstream.base_url)
        upstream.wait_for(response_id, "completed", within=20)
        claimed = "SELECT claim_token IS NOT NULL OR next_action_at > now() + interval '15 s' FROM jobs_job"
        await_that(lambda: bool(ask(place, claimed)[0]), "no pump has looked at it")
        assert ask(place, "SELECT status FROM jobs_job")[0] in ("queued", "in_progress")
        with Visitor(copy.base_url) as visitor:
            visitor.get("/enter/")
            chosen = {"token": copy.link, "new_password1": PASSWORD, "new_password2": PASSWORD}
            assert visitor.post("/enter/", chosen).status == 302
            assert "not asked for either" in visitor.get("/settings/connections/").text
            number = ask(place, "SELECT id FROM jobs_connection")[0]
            assert visitor.post(f"/settings/connections/{number}/resume/", {}).status == 302
        await_that(lambda: ask(place, "SELECT status FROM jobs_job")[0] == "completed", "it did not go on")
        assert ask(place, "SELECT text FROM jobs_answer")[0].startswith("It goes on.")
    assert len(upstream.log()["posts"]) == 1
    assert Job.objects.get().status in ("queued", "in_progress"), "the original has not moved"


MANIFEST = {"made_at": "yesterday", "version": "0", "migrations": ["jobs.0001_initial"], "is_at_work": False}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A backup of which nothing but the manifest is there."""
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    return tmp_path


@pytest.fixture
def here(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of the test's own, beside the tests' database."""
    settings.DATABASE_URL = "postgresql://db.example.com/ponder"
    settings.DATA_DIR = tmp_path_factory.mktemp("here")
    settings.JOURNAL_DIR = settings.DATA_DIR / "journal"
    settings.RESTORING_FILE = settings.DATA_DIR / "restoring"
    (settings.DATA_DIR / "instance").write_text("of-the-original\n")
    return settings.DATA_DIR


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    for taken in (tmp_path, tmp_path / "mine"):
        with pytest.raises(backups.Refused, match="not an empty folder"):
            backups.backup(taken, say=print)


def test_what_is_no_whole_backup_is_refused(folder: Path) -> None:
    for change, reason in (
        ({"migrations": ["jobs.9999_of_tomorrow"]}, "newer Ponder"),
        ({"is_at_work": True}, "Workers ran when"),
    ):
        (folder / "manifest.json").write_text(json.dumps(MANIFEST | change))
        with pytest.raises(backups.Refused, match=reason):
            backups.restore(folder, is_moved=True, say=print)
    (folder / "manifest.json").unlink()
    with pytest.raises(backups.Refused, match="no whole backup"):
        backups.restore(folder, is_moved=True, say=print)


@pytest.mark.django_db(transaction=True)
def test_a_place_that_has_something_is_left_alone(folder: Path, here: Path, settings: Settings) -> None:
    with pytest.raises(backups.Refused, match="into a new place only"):
        backups.restore(folder, is_moved=False, say=print)
    assert not settings.RESTORING_FILE.exists()
    lock = datadir.Lock(here / "run" / "workers.lock")
    lock.take()
    with pytest.raises(backups.Refused, match="stop it first"):
        backups.restore(folder, is_moved=False, say=print)
    lock.free()


@pytest.mark.django_db(transaction=True)
def test_a_restore_that_was_cut_short_goes_on_and_nothing_starts_before(
    folder: Path, here: Path, settings: Settings
) -> None:
    project = a_project()
    mark = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    settings.RESTORING_FILE.write_text(mark)
    with pytest.raises(SystemExit, match="has begun and is not done"):
        start.run(host="127.0.0.1", port=8000, only=None)
    said: list[str] = []
    backups.restore(folder, is_moved=False, say=said.append)
    assert said == ["✓ database", "✓ held: 1 connections send and ask for nothing until you resume them"]
    project.connection.refresh_from_db()
    assert project.connection.is_restored
    assert not settings.RESTORING_FILE.exists()


@pytest.mark.django_db(transaction=True)
def test_one_that_was_moved_goes_on_and_says_which_keys_it_cannot_read(
    folder: Path, here: Path, settings: Settings
) -> None:
    project = a_project()
    Connection.objects.update(key=Secret("of other keys"))
    settings.RESTORING_FILE.write_text(hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest())
    said: list[str] = []
    backups.restore(folder, is_moved=True, say=said.append)
    assert said[0] == "✓ database"
    assert said[1].startswith("! PONDER_KEYS does not decrypt the key of practice")
    project.connection.refresh_from_db()
    assert project.connection.paused_at is None


@pytest.mark.django_db(transaction=True)
def test_a_database_of_ones_own_is_copied_without_its_keys(tmp_path: Path, here: Path) -> None:
    said: list[str] = []
    backups.backup(tmp_path / "saved", say=said.append)
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == [
        "database.dump",
        "instance",
        "manifest.json",
    ]
    assert any("are from the environment" in line for line in said)
    assert not json.loads((tmp_path / "saved" / "manifest.json").read_text())["is_at_work"]


@pytest.mark.django_db(transaction=True)
def test_what_postgresql_says_of_a_failure_is_one_line(
    tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "NOT_COPIED", ("*.*.*.*",))
    with pytest.raises(backups.Refused, match="pg_dump failed: pg_dump: error"):
        backups.backup(tmp_path / "saved", say=print)
    with pytest.raises(backups.Refused, match="no whole backup"):
        backups.restore(tmp_path / "saved", is_moved=False, say=print)


OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))
SIGNING = "signing-key-of-the-environment-" * 2


@pytest.fixture
def bundled(here: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as an installation with a bundled database, which needs no start."""
    settings.DATABASE_URL = ""
    monkeypatch.setattr(localpg, "start", lambda _: False)
    monkeypatch.setattr(localpg, "is_made", lambda _: True)
    monkeypatch.delenv("PONDER_KEYS", raising=False)
    return here


@pytest.mark.parametrize("file", [None, OLD], ids=["never a file", "the file from before a rotation"])
@pytest.mark.django_db(transaction=True)
def test_the_keys_that_are_copied_are_those_in_force(
    bundled: Path, settings: Settings, tmp_path: Path, file: str | None
) -> None:
    a_project()
    settings.PONDER_KEYS = [NEW, OLD]
    settings.SECRET_KEY = SIGNING
    Connection.objects.update(key=Secret.of("sk-in-force"))
    if file:
        datadir.private(bundled / "keys")
        (bundled / "keys" / "ponder_keys").write_text(file)
        (bundled / "keys" / "secret_key").write_text("older")
    saved = tmp_path / "saved"
    backups.backup(saved, say=print)
    for kept in (saved / "keys").iterdir():
        assert kept.stat().st_mode & 0o777 == 0o600

    place = settings.DATA_DIR = tmp_path / "copy"
    settings.JOURNAL_DIR, settings.RESTORING_FILE = place / "journal", place / "restoring"
    settings.PONDER_KEYS = [Fernet.generate_key().decode()]
    datadir.private(place / "keys")
    settings.RESTORING_FILE.write_text(hashlib.sha256((saved / "manifest.json").read_bytes()).hexdigest())
    said: list[str] = []
    backups.restore(saved, is_moved=True, say=said.append)
    assert said == ["✓ database"]
    assert (place / "keys" / "ponder_keys").read_text() == f"{NEW},{OLD}\n"
    assert (place / "keys" / "secret_key").read_text() == f"{SIGNING}\n"
    assert Connection.objects.get().key.reveal() == "sk-in-force"


@pytest.mark.django_db(transaction=True)
def test_what_fails_midway_leaves_nothing_and_says_why(
    bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "instance")

    monkeypatch.setattr(shutil, "copy2", is_full)
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "saved", tmp_path / "empty"):
        with pytest.raises(
            backups.Refused, match=r"^Nothing was copied: No space left on device \(instance\)"
        ):
            backups.backup(folder, say=print)
    assert not (tmp_path / "saved").exists()
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_folder_that_cannot_be_looked_into_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_closed(_: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "exists", is_closed)
    with pytest.raises(backups.Refused, match=r"cannot be used: Permission denied\.$"):
        backups.backup(tmp_path / "saved", say=print)


def test_where_there_is_no_database_none_is_made(tmp_path: Path) -> None:
    home, saved = tmp_path / "nothing", tmp_path / "saved"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    done = subprocess.run(
        [sys.executable, "manage.py", "backup", str(saved)],
        cwd=ROOT,
        env=kept | {"PONDER_DATA_DIR": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(rf"{home} holds no database of Ponder: [^\n]*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_data_directory_without_a_database_is_refused_before_anything(
    here: Path, settings: Settings, tmp_path: Path
) -> None:
    settings.DATABASE_URL = ""
    with pytest.raises(backups.Refused, match="holds no database of Ponder"):
        backups.backup(tmp_path / "saved", say=print)
    assert not (tmp_path / "saved").exists()
    assert not (here / "postgres").exists()


@pytest.mark.django_db(transaction=True)
def test_a_database_without_ponder_is_refused(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "_applied", lambda: {("other", "0001_initial")})
    with pytest.raises(backups.Refused, match="no tables of Ponder"):
        backups.backup(tmp_path / "saved", say=print)
    assert not (tmp_path / "saved").exists()


@pytest.mark.django_db(transaction=True)
def test_only_journals_are_copied_and_one_that_is_just_put_in_its_place(
    here: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mine.jsonl", "mine.new", "mine.lock", "another.jsonl"):
        (datadir.private(settings.JOURNAL_DIR) / name).write_text(name)
    copy, missed = shutil.copy2, []

    def copy_or_miss(source: Path, target: Path) -> None:
        if source.name == "mine.jsonl" and not missed:
            missed.append(source)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))
        copy(source, target)

    monkeypatch.setattr(shutil, "copy2", copy_or_miss)
    backups.backup(tmp_path / "saved", say=print)
    journals = tmp_path / "saved" / "journal"
    assert sorted(path.name for path in journals.iterdir()) == ["another.jsonl", "mine.jsonl"]
    assert missed


@pytest.mark.django_db(transaction=True)
def test_a_restore_reads_the_journals_of_every_machine(folder: Path, here: Path, settings: Settings) -> None:
    mira = a_person()
    project = a_project(members={mira: Role.SUBMITTER})
    jobs = [lifecycle.submit(a_spec(project, mira)) for _ in range(3)]
    attempts = list(Attempt.objects.order_by("pk"))
    # It was being sent by a machine that did not make the backup.
    Attempt.objects.filter(pk=attempts[0].pk).update(state="sending", instance="a-second")
    Job.objects.filter(pk=jobs[0].pk).update(status="sending")
    mark = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    settings.RESTORING_FILE.write_text(mark)
    for name, attempt in zip(("a-second", "a-third"), attempts, strict=False):
        line = {"attempt": str(attempt.nonce), "response_id": f"resp_{name}", "request_id": "req_1"}
        (datadir.private(folder / "journal") / f"{name}.jsonl").write_text(json.dumps(line) + "\n")
    (folder / "instance").write_text("the-first\n")
    said: list[str] = []
    backups.restore(folder, is_moved=False, say=said.append)
    assert said[-1] == "✓ journal: 2 sends that the database was not sure of were accepted"
    found = Attempt.objects.order_by("pk").values_list("state", "response_id")
    assert list(found) == [("known", "resp_a-second"), ("known", "resp_a-third"), ("unconfirmed", "")]
