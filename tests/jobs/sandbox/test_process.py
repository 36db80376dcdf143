"""The sandbox as a process: start, stop, kill, restart."""

import http.client
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jobs.sandbox import life, store
from jobs.sandbox.__main__ import main
from jobs.sandbox.life import Plan, Usage
from tests.jobs.sandbox.conftest import TODAY
from tests.sandbox_process import ROOT, SandboxProcess


def test_it_says_where_it_listens_and_ends_with_sigterm(own_sandbox: SandboxProcess) -> None:
    own_sandbox.start(today=TODAY)
    assert own_sandbox.base_url.startswith("http://127.0.0.1:")
    assert own_sandbox.call("GET", "/models").status == 200
    assert own_sandbox.stop() == 0


def test_it_ends_within_a_second_while_requests_are_held(own_sandbox: SandboxProcess) -> None:
    own_sandbox.start(today=TODAY)
    cuts: list[Exception] = []

    def hold(prompt: str, *, background: bool) -> None:
        try:
            own_sandbox.create(prompt, background=background)
        except (http.client.HTTPException, OSError) as error:
            cuts.append(error)

    threads = [
        threading.Thread(target=hold, args=("Hang [[sandbox: fault=hang]]",), kwargs={"background": True}),
        threading.Thread(target=hold, args=("Think [[sandbox: seconds=600]]",), kwargs={"background": False}),
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(own_sandbox.log()["responses"]) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    began = time.monotonic()
    assert own_sandbox.stop() == 0
    assert time.monotonic() - began < 1
    for thread in threads:
        thread.join(timeout=5)
    assert len(cuts) == 2


def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "jobs.sandbox"),
                *("--port", str(taken.getsockname()[1])),
                *("--data", str(tmp_path / "s.sqlite3")),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=20,
        )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert "in use" in ended.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--speed", "0"],
        ["--speed", "2000"],
        ["--webhook-secret", "whsec_!"],
        ["--webhook-fault", "late"],
        ["--today", "soon"],
    ],
)
def test_bad_words_are_refused(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["sandbox", "--port", "0", "--data", str(tmp_path / "s.sqlite3"), *words]
    )
    with pytest.raises(SystemExit, match="2"):
        main()
    assert words[0] in capsys.readouterr().err


def test_it_imports_nothing_of_the_dashboard() -> None:
    code = (
        "import sys, jobs.sandbox.__main__\n"
        "ours = [name for name in sys.modules if name.startswith(('jobs.', 'o3site'))]\n"
        "print([name for name in ours if not name.startswith('jobs.sandbox')],"
        " [name for name in ('django', 'openai', 'jsonschema', 'psycopg') if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True
    )
    assert ended.stdout == "[] []\n"


def test_a_kill_loses_no_accepted_response(own_sandbox: SandboxProcess) -> None:
    """Four clients post as fast as they can; the process dies in the middle of it."""
    own_sandbox.start(today=TODAY)
    answered: list[str] = []

    def post() -> None:
        for number in range(10_000):
            try:
                answered.append(
                    own_sandbox.create(
                        f"Keep me {number} [[sandbox: seconds=600]]", metadata={"n": str(number)}
                    ).json["id"]
                )
            except (http.client.HTTPException, OSError, ValueError):
                return

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(answered) < 60 and time.monotonic() < deadline:
        time.sleep(0.005)
    own_sandbox.kill()
    for thread in threads:
        thread.join(timeout=10)
    own_sandbox.restart()
    kept = {row["id"] for row in own_sandbox.log()["responses"]}
    assert len(answered) >= 60
    assert set(answered) <= kept
    assert own_sandbox.call("GET", f"/responses/{answered[-1]}").json["id"] == answered[-1]


def test_time_goes_on_while_it_is_down(own_sandbox: SandboxProcess) -> None:
    own_sandbox.start(today=TODAY)
    base_url = own_sandbox.base_url
    first = own_sandbox.create("End while I am away [[sandbox: seconds=0.3]]").json["id"]
    second = own_sandbox.create("Cancel me [[sandbox: seconds=600]]").json["id"]
    own_sandbox.call("POST", f"/responses/{second}/cancel")
    third = own_sandbox.create("Delete me").json["id"]
    own_sandbox.call("DELETE", f"/responses/{third}")
    own_sandbox.kill()
    time.sleep(0.3)
    own_sandbox.restart()
    assert own_sandbox.base_url == base_url
    assert own_sandbox.call("GET", f"/responses/{first}").json["status"] == "completed"
    assert own_sandbox.call("GET", f"/responses/{second}").json["status"] == "cancelled"
    assert own_sandbox.call("GET", f"/responses/{third}").status == 404
    assert len(own_sandbox.log()["posts"]) == 3


def test_more_responses_than_memory_holds_are_read_from_the_file(tmp_path: Path) -> None:
    usage = Usage(1, 0, 1, 0)
    plan = Plan(
        seconds=600,
        queue_seconds=1,
        status="completed",
        model="o3-pro-2025-06-10",
        service_tier="default",
        output=[],
        usage=usage,
        shows_usage=True,
        usage_after_cancel=False,
    )
    billed = store.Billed("p", "k", "o3-pro", "default", "soonest", TODAY, usage, [], None)
    kept = store.Store(tmp_path / "s.sqlite3")
    for number in range(store.CACHED + 1):
        record = store.Record(f"resp_{number}", 1000.0, None, "hash", {"n": number}, plan)
        kept.accept(record, [], billed, [])
    oldest = kept.get("resp_0")
    assert oldest is not None
    assert (oldest.request, oldest.plan) == ({"n": 0}, plan)
    assert oldest.state(1001.0) == life.State("in_progress")
    kept.close()
