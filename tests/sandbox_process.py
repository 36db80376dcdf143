"""Runs the sandbox as a process of its own for tests, and asks it what it saw."""

import http.client
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
READY_WITHIN = 15.0  # seconds; a busy machine imports slowly


@dataclass(frozen=True)
class Answer:
    """What came back: HTTP status, headers, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """Return the body as an object."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def error(self) -> dict[str, Any]:
        """Return the `error` object of a refusal."""
        found: dict[str, Any] = self.json["error"]
        return found


class SandboxProcess:
    """One sandbox on a free port of loopback, with a file of its own.

    As a context manager it starts when needed and leaves nothing behind. `restart` keeps port and file,
    so an address handed to a connection stays good.
    """

    def __init__(self, data: Path | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sandbox-") if data is None else None
        self.data = data or Path(self._folder.name if self._folder else "") / "sandbox.sqlite3"
        self.base_url = ""
        self._port = 0
        self._options: list[str] = []
        self._process: subprocess.Popen[str] | None = None

    def start(
        self,
        *,
        speed: float = 1000,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        today: str | None = None,
        extra: Sequence[str] = (),
    ) -> Self:
        """Start it and wait until it listens; `extra` are further command-line words.

        Its day is `today`, or else PONDER_TODAY as for the dashboard, or else the real one.
        """
        self._options = ["--speed", str(speed), *extra]
        if webhook_url:
            self._options += ["--webhook-url", webhook_url, "--webhook-secret", webhook_secret or ""]
        today = today or os.environ.get("PONDER_TODAY")
        if today:
            self._options += ["--today", today]
        self._run()
        return self

    def restart(self) -> Self:
        """Start it again with the same options, port and file; what still runs is killed first."""
        self.kill()
        self._run()
        return self

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it with SIGTERM and return its exit code."""
        return self._end(signal.SIGTERM)

    def close(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        if self._folder:
            self._folder.cleanup()

    @property
    def azure_url(self) -> str:
        """The address at which it speaks as Azure does."""
        return self.base_url.replace("/v1", "/openai/v1")

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "sk-practice",
        at: str = "",
        **headers: str,
    ) -> Answer:
        """Send one request to the API, without any retry; `path` begins after /v1 or the address `at`.

        Raises:
            ConnectionError or http.client.HTTPException: the connection was cut.
        """
        address = urlsplit(at or self.base_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        sent = {"Content-Type": "application/json"}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            payload = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, address.path + path, payload, sent)
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def create(self, prompt: str, **parameters: Any) -> Answer:
        """POST a background response of o3-pro; parameters of None are left out."""
        body = {"model": "o3-pro", "background": True, "input": prompt} | parameters
        return self.call("POST", "/responses", {k: v for k, v in body.items() if v is not None})

    def wait_for(self, response_id: str, *statuses: str, within: float = 10.0) -> dict[str, Any]:
        """Poll a response until it has one of the statuses, by default any end; return its body."""
        wanted = statuses or ("completed", "incomplete", "failed", "cancelled")
        deadline = time.monotonic() + within
        while True:
            found = self.call("GET", f"/responses/{response_id}")
            if found.status == 200 and found.json["status"] in wanted:
                return found.json
            if time.monotonic() > deadline:
                raise TimeoutError(f"{found.status}, not one of {wanted}")
            time.sleep(0.02)

    def log(self) -> dict[str, Any]:
        """Return what was accepted and every POST: see /sandbox/log."""
        return self._call("GET", "/sandbox/log")

    def stats(self) -> dict[str, Any]:
        """Return the counters: see /sandbox/stats."""
        return self._call("GET", "/sandbox/stats")

    def faults(self, **faults: Any) -> dict[str, Any]:
        """Set global faults, such as `down=True`, `http=503` or `post_delay=0.5`; return all of them."""
        return self._call("POST", "/sandbox/faults", faults)

    def reset(self) -> None:
        """Forget every response, counter and fault."""
        self._call("POST", "/sandbox/reset", {})

    def __enter__(self) -> Self:
        return self if self._process else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        words = ["--port", str(self._port), "--data", str(self.data), *self._options]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jobs.sandbox", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        is_ready, _, _ = select.select([self._process.stdout], [], [], READY_WITHIN)
        line = self._process.stdout.readline() if is_ready else ""
        if not line.startswith("ready "):
            self.kill()
            raise RuntimeError("the sandbox did not start")
        self.base_url = line.split()[1]
        self._port = int(self.base_url.split(":")[2].split("/")[0])

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code = self._process.wait(timeout=10)
        if self._process.stdout:
            self._process.stdout.close()
        self._process = None
        return code

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            self.base_url.removesuffix("/v1") + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
