import os
import pwd
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from o3site import localpg
from tests.conftest import FAST

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts it as another user")


@pytest.fixture
def home() -> Iterator[Path]:
    """Make a short folder that the server's user may pass through, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="ponder-"))
    folder.chmod(0o711)
    yield folder
    localpg.stop(folder / "var")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def used() -> Iterator[Path]:
    """Keep one data directory for tests that need no fresh one; each starts the server itself."""
    folder = Path(tempfile.mkdtemp(prefix="ponder-"))
    folder.chmod(0o711)
    yield folder / "var"
    localpg.stop(folder / "var")
    shutil.rmtree(folder)


def connect(data_dir: Path, **changes: str) -> psycopg.Connection[Any]:
    reach = localpg.parameters(data_dir)
    return psycopg.connect(
        **{
            "host": reach["HOST"],
            "port": reach["PORT"],
            "user": reach["USER"],
            "password": reach["PASSWORD"],
            "dbname": reach["NAME"],
        }
        | changes,
        autocommit=True,
    )


def test_four_first_starts_at_once_make_one_database(home: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        started = [pool.submit(localpg.start, home / "var", FAST) for _ in range(4)]
    assert sorted(one.result() for one in started) == [False, False, False, True]
    with connect(home / "var") as connection:
        assert connection.execute("SHOW timezone").fetchone() == ("UTC",)


def test_only_its_user_reaches_the_files_and_only_the_password_opens_it(used: Path) -> None:
    localpg.start(used, FAST)
    for name in ("data", "socket", ""):
        assert stat.S_IMODE((used / "postgres" / name).stat().st_mode) == 0o700
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(used, password="wrong")


def test_a_killed_server_comes_back_with_what_was_committed(used: Path) -> None:
    localpg.stop(used)
    localpg.start(used)
    with connect(used) as connection:
        connection.execute("DROP TABLE IF EXISTS kept")
        connection.execute("CREATE TABLE kept AS SELECT 42 AS number")
    assert localpg.runs(used)
    os.kill(int((used / "postgres" / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    deadline = time.monotonic() + 5
    while localpg.runs(used):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert localpg.start(used, FAST)
    with connect(used) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (42,)
    localpg.stop(used)
    assert not localpg.runs(used)


def test_a_process_that_has_the_number_of_a_killed_server_is_none(tmp_path: Path) -> None:
    data = tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n")
    assert not localpg.runs(tmp_path)


def test_stopping_ends_open_connections_and_may_be_repeated(used: Path) -> None:
    localpg.start(used, FAST)
    connection = connect(used)
    localpg.stop(used)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    connection.close()
    localpg.stop(used)
    assert localpg.start(used, FAST)


def test_the_log_keeps_no_statement_and_no_row(used: Path) -> None:
    localpg.start(used, FAST)
    with connect(used) as connection:
        connection.execute("CREATE TEMP TABLE rows (text text CHECK (length(text) < 3))")
        for statement in ("INSERT INTO rows VALUES (%s)", "SELECT %s::int", "SELECT 'canary' || FROM %s"):
            with pytest.raises(psycopg.Error):
                connection.execute(statement, ["canary"])
    assert "canary" not in localpg.log_file(used).read_text()


def test_a_half_made_database_is_not_taken_for_one(home: Path) -> None:
    draft = home / "var" / "postgres" / "new-dead"
    draft.mkdir(parents=True, mode=0o700)
    (home / "var" / "postgres").chmod(0o700)
    (draft / "PG_VERSION").write_text("18\n")
    assert localpg.start(home / "var", FAST)


def test_a_long_path_moves_the_socket_to_a_private_folder(home: Path) -> None:
    far = home / ("a" * 100)
    folder = Path(localpg.parameters(far)["HOST"])
    assert folder.parent == Path("/tmp")
    assert len(str(folder)) < localpg.LONGEST_SOCKET_FOLDER


def test_a_socket_folder_that_somebody_else_made_is_refused(home: Path) -> None:
    far = home / ("a" * 100)
    folder = Path(localpg.parameters(far)["HOST"])
    folder.mkdir()
    folder.chmod(0o777)
    try:
        with pytest.raises(localpg.Unavailable, match="is not a private folder"):
            localpg.start(far)
    finally:
        folder.rmdir()


@needs_root
def test_a_folder_that_the_servers_user_cannot_reach_is_named_with_two_ways_out(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(localpg.Unavailable) as refusal:
        localpg.start(closed / "var")
    assert str(closed) in str(refusal.value)
    assert "PONDER_DATA_DIR" in str(refusal.value)
    assert "DATABASE_URL" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
def test_the_server_runs_without_roots_rights_and_without_our_environment(
    used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    localpg.stop(used)
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    monkeypatch.setenv("PGPORT", "1")
    localpg.start(used, FAST)
    pid = int((used / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    assert Path(f"/proc/{pid}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
    assert b"canary" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_user_without_a_name_is_told_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nameless)
    with pytest.raises(localpg.Unavailable, match="has none in /etc/passwd: add one, or set DATABASE_URL"):
        localpg.start(home / "var")


def test_missing_programs_are_named_with_two_ways_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(localpg.Unavailable, match="run `uv sync`, or set DATABASE_URL"):
        localpg.start(home / "var")


def test_a_server_that_does_not_start_says_where_to_look(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    localpg.start(used, FAST)
    localpg.stop(used)
    monkeypatch.setattr(localpg, "RETRIES", 0)
    with pytest.raises(localpg.Unavailable, match="did not start") as refusal:
        localpg.start(used, {"shared_buffers": "nonsense"})
    assert str(localpg.log_file(used)) in str(refusal.value)
