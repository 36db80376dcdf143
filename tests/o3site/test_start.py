import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from django.core.management import load_command_class

from tests.o3site.conftest import Ponder
from tests.whole import OURS, ROOT, Visitor, free_port

# What a PostgreSQL server says when somebody enters: welcome, two parameters, ready.
OLD_SERVER = (
    b"R\0\0\0\x08\0\0\0\0S\0\0\0\x18server_version\x0014.9\0S\0\0\0\x19client_encoding\0UTF8\0Z\0\0\0\x05I"
)

QUICK = "Think. [[sandbox: seconds=0 outcome=completed]]"


def refused(*words: str, **environment: str) -> str:
    """Run the command where it must refuse; return its one line."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


@pytest.fixture
def old_server() -> Iterator[int]:
    """Serve what looks like PostgreSQL 14 until it is looked at more closely; return the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        while client.recv(4096)[4:8] in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30"):
                            client.sendall(b"N")  # no TLS, no GSS
                        client.sendall(OLD_SERVER)
                        client.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def own_database() -> dict[str, str]:
    return {"SECRET_KEY": "abcdefghij" * 6, "PONDER_KEYS": "A" * 43 + "="}


def test_it_answers_and_prints_a_sign_in_link(running: Ponder) -> None:
    assert len(running.link) >= 32
    with Visitor(running.base_url) as visitor:
        page = visitor.get("/healthz")
        assert (page.status, page.text) == (200, '{"ok": true}')
        assert visitor.get("/").status == 302
        assert visitor.get("/healthz", Host="evil.example.com").status == 400


def test_what_it_prints_is_a_handful_of_lines(running: Ponder) -> None:
    lines = [re.sub(r"\d[\d.]*|#.*", "N", line) for line in running.output.splitlines()]
    # Two of them are said by preparations that run at once.
    assert sorted(lines[:3]) == [
        "✓ database: PostgreSQL N in its own folder",
        "✓ records",
        "✓ static files",
    ]
    assert lines[3:] == [
        "Ponder runs at http://N:N/ (Ctrl-C stops it)",
        "Sign in as its administrator (once, within N minutes): http://N:N/enter/N",
    ]


def test_static_files_have_lasting_names_and_every_page_a_policy(running: Ponder) -> None:
    with Visitor(running.base_url) as visitor:
        page = visitor.get("/login/")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        stylesheet = re.search(r'href="(/static/app\.[0-9a-f]{12}\.css)"', page.text)
        assert stylesheet
        found = visitor.get(stylesheet[1])
        assert found.status == 200
        assert "immutable" in found.headers["cache-control"]


def test_the_sdk_is_loaded_before_workers_fork_and_in_no_web_process(running: Ponder) -> None:
    def has_loaded(process: psutil.Process) -> bool:
        # The compiled library that the SDK, and nothing else here, is built on.
        return "/pydantic_core/" in Path(f"/proc/{process.pid}/maps").read_text()

    running.await_beat()
    web, workers = running.of_kind("ponder-web", "granian"), running.of_kind("qcluster")
    assert len(web) == 2
    assert not any(map(has_loaded, web))
    # Three, and what Django-Q runs beside them: main, sentinel, pusher, monitor.
    assert len(workers) == 7
    assert all(map(has_loaded, workers))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads what is loaded from /proc")
def test_what_supervises_loads_no_applications_and_asks_no_database(running: Ponder) -> None:
    (start,) = [one for one in running.of_kind("manage.py") if "start" in one.cmdline()]
    assert "psycopg" not in Path(f"/proc/{start.pid}/maps").read_text()
    assert start.num_threads() == 1


def test_help_knows_start_as_well() -> None:
    shown = load_command_class("o3site", "start").create_parser("manage.py", "start").format_help()
    assert "Start Ponder" in shown
    assert "--only" in shown


def test_a_second_start_on_the_same_data_names_the_first(running: Ponder) -> None:
    holder = (running.home / "run" / "web.lock").read_text().strip()
    for words in ([], ["--only", "web"]):
        line = refused("start", "--port", str(free_port()), *words, PONDER_DATA_DIR=str(running.home))
        assert line == f"Ponder already runs on {running.home} (process {holder}): stop it first."


def test_a_port_in_use_is_named(running: Ponder, tmp_path: Path) -> None:
    line = refused("start", "--port", str(running.port), PONDER_DATA_DIR=str(tmp_path / "var"))
    assert line == f"Port {running.port} on 127.0.0.1 is in use: choose another with --port."


def test_other_machines_are_not_let_in_without_an_address(tmp_path: Path) -> None:
    line = refused("start", "--host", "0.0.0.0", PONDER_DATA_DIR=str(tmp_path / "var"))
    assert "set PONDER_URL" in line


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    line = refused("start", PONDER_DATA_DIR=str(tmp_path / "var"), PONDER_PORT="1")
    assert line == "PONDER_PORT is not a setting of Ponder: see .env.example."


def test_a_database_that_cannot_be_reached_is_named(tmp_path: Path, own_database: dict[str, str]) -> None:
    address = f"postgresql://ada:canary@127.0.0.1:{free_port()}/x"
    line = refused("start", PONDER_DATA_DIR=str(tmp_path / "var"), DATABASE_URL=address, **own_database)
    assert line.startswith("Ponder cannot reach the database x at 127.0.0.1: ")
    assert "canary" not in line


def test_a_database_that_is_too_old_is_refused(
    tmp_path: Path, own_database: dict[str, str], old_server: int
) -> None:
    address = f"postgresql://ada@127.0.0.1:{old_server}/x"
    line = refused("start", PONDER_DATA_DIR=str(tmp_path / "var"), DATABASE_URL=address, **own_database)
    assert line == "Ponder cannot use this database: PostgreSQL 15 or later is required (found 14.9)."


def test_a_command_says_that_the_database_does_not_run(tmp_path: Path) -> None:
    line = refused("showmigrations", PONDER_DATA_DIR=str(tmp_path / "var"))
    assert line.endswith("is not running: start it with `uv run manage.py start`, or set DATABASE_URL.")


def test_ctrl_c_while_it_prepares_leaves_one_line_and_no_process() -> None:
    with tempfile.TemporaryDirectory(prefix="ponder-") as folder:
        os.chmod(folder, 0o711)
        home = Path(folder) / "var"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        with subprocess.Popen(
            [sys.executable, "manage.py", "start", "--port", str(free_port())],
            cwd=ROOT,
            env=kept | {"PONDER_DATA_DIR": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as started:
            assert started.stdout
            assert started.stdout.readline().startswith("✓")
            os.killpg(started.pid, signal.SIGINT)
            said = started.stdout.read()
        assert (said.splitlines()[-1], "Traceback" in said) == ("Stopped before it was ready.", False)
        assert started.returncode == 1
        assert not (home / "postgres" / "data" / "postmaster.pid").exists()


@pytest.mark.thorough
def test_it_outlives_kills_and_practises_on_beside_a_key_until_ctrl_c(ponder: Ponder) -> None:
    ponder.await_beat()
    ponder.of_kind("ponder-web")[0].kill()
    ponder.of_kind("qcluster")[0].kill()
    ponder.await_beat()
    ponder.await_web()
    for name in ("web server", "workers"):
        assert f"The {name} ended (SIGKILL); starting it again in 0.5 s." in ponder.output

    os.kill(ponder.postmaster(), signal.SIGKILL)
    ponder.await_beat()
    ponder.await_web()
    assert "The database ended; starting it again." in ponder.output

    postmaster = ponder.postmaster()
    others = [one for one in ponder.processes() if one.username() != psutil.Process(postmaster).username()]
    ponder.kill_start()
    _, alive = psutil.wait_procs(others, timeout=5)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
    assert psutil.pid_exists(postmaster)

    api = f"http://127.0.0.1:{free_port()}/v1"
    ponder.environment |= {"OPENAI_API_KEY": "sk-of-nobody", "OPENAI_BASE_URL": api}
    ponder.start()
    assert ponder.postmaster() == postmaster
    assert not ponder.of_kind("jobs.sandbox")
    done = subprocess.run(
        [sys.executable, "manage.py", "submit", "--wait", "--project", "practice", QUICK],
        cwd=ROOT,
        env=ponder.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert ponder.of_kind("jobs.sandbox")
    assert "ready http" not in ponder.output
    assert ponder.stop() <= 5
