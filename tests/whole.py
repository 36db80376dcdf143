"""Runs the whole product with its own command, and visits it as a browser would, for tests and benches."""

import html
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import psutil

ROOT = Path(__file__).resolve().parent.parent
READY_WITHIN = 60.0  # seconds; a shared machine may be busy with something else
GONE_WITHIN = 80.0  # seconds; a POST in progress is awaited
READY = re.compile(r"Ponder runs at \S+/ |The workers run ")
LINK = re.compile(r"/enter/#(\S+)")
OURS = ("DATABASE_URL", "SECRET_KEY", "DJANGO_", "OPENAI_", "PONDER_")


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


class Whole:
    """One `manage.py start` on a free port, on a data directory of its own unless told otherwise.

    `words` go to the command; `environment` is added to ours, from which every setting has been removed.
    As a context manager it starts, waits until it is ready, and leaves no process behind.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        words: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = (sys.executable,),
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ponder-whole-") if home is None else None
        if self._folder:
            Path(self._folder.name).chmod(0o711)  # under root the database is another user
        self.home = home or Path(self._folder.name if self._folder else "") / "var"
        self.port = free_port()
        self._command = [*command, "manage.py", "start", "--port", str(self.port), *words]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self.environment = {**kept, "PONDER_DATA_DIR": str(self.home), **(environment or {})}
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._said = threading.Condition()
        self._lines: list[str] = []
        self.link = ""
        self.took = 0.0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """All it has printed so far, over every start."""
        with self._said:
            return "\n".join(self._lines)

    @property
    def sandbox_url(self) -> str:
        """Where its sandbox answers, without /v1."""
        return f"http://127.0.0.1:{(self.home / 'sandbox-port').read_text().strip()}"

    def start(self) -> float:
        """Start it; return the seconds until the address was printed and /healthz answered."""
        began, before = time.monotonic(), len(self._lines)
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=[self._process], daemon=True)
        self._reader.start()
        with self._said:
            is_ready = self._said.wait_for(
                lambda: self._is_over() or any(map(READY.match, self._lines[before:])), READY_WITHIN
            )
        if not is_ready or self._process.poll() is not None:
            self.kill()
            raise RuntimeError(f"it did not start: {self.output}")
        if "workers" not in self._command:
            with Visitor(self.base_url) as visitor:
                assert visitor.get("/healthz").status == 200
        self.took = time.monotonic() - began
        # The link is printed right after the address, and only as long as no operator has a password.
        with self._said:
            self._said.wait_for(lambda: any(map(LINK.search, self._lines[before:])), 0.2)
            found = [match[1] for line in self._lines[before:] if (match := LINK.search(line))]
        self.link = found[-1] if found else ""
        return self.took

    def sandbox_log(self) -> dict[str, Any]:
        """Return what its sandbox accepted and every POST: see /sandbox/log."""
        with urllib.request.urlopen(f"{self.sandbox_url}/sandbox/log", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def sandbox_faults(self, **faults: Any) -> None:
        """Set faults of its sandbox, such as `post_delay=0.5`: see /sandbox/faults."""
        body = json.dumps(faults).encode()
        request = urllib.request.Request(f"{self.sandbox_url}/sandbox/faults", data=body, method="POST")
        urllib.request.urlopen(request, timeout=30).close()

    def await_sandbox(self, is_there: Callable[[dict[str, Any]], bool], *, within: float = 30.0) -> None:
        """Wait until the sandbox's log shows something. Raises TimeoutError."""
        deadline = time.monotonic() + within
        while True:
            # It listens a little later than the web server.
            with suppress(OSError):
                if is_there(self.sandbox_log()):
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not seen at the sandbox within {within:g} s")
            time.sleep(0.1)

    def processes(self) -> list[psutil.Process]:
        """Return every process of it that lives: its own, its children's, and the bundled database's."""
        roots = [self._process.pid] if self._process else []
        postmaster = self.home / "postgres" / "data" / "postmaster.pid"
        with suppress(OSError, ValueError, IndexError):
            roots.append(int(postmaster.read_text().splitlines()[0]))
        found: dict[int, psutil.Process] = {}
        for root in roots:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(root)
                found |= {one.pid: one for one in (process, *process.children(recursive=True))}
        return list(found.values())

    def stop(self) -> float:
        """Press Ctrl-C, as a terminal does; return the seconds until the last process was gone."""
        if self._process is None:
            return 0.0
        alive, began = self.processes(), time.monotonic()
        os.killpg(self._process.pid, signal.SIGINT)
        deadline = began + GONE_WITHIN
        while time.monotonic() < deadline:
            self._process.poll()
            alive = [one for one in alive if _lives(one)]
            if not alive:
                break
            time.sleep(0.02)
        took = time.monotonic() - began
        if alive:
            self.kill()
            raise RuntimeError(f"still there after {took:.0f} s: {alive}")
        # It may have ended between the last look at it and at the list: unreaped it would be a warning.
        self._process.wait()
        self._forget()
        return took

    def kill(self) -> None:
        """End every process of it with SIGKILL."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self._process is not None:
            self._process.wait()
            self._forget()

    def __enter__(self) -> Self:
        if self._process is None:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self.kill()
            if self._folder:
                self._folder.cleanup()

    def _forget(self) -> None:
        assert self._process is not None
        if self._reader:
            self._reader.join(timeout=5)
        if self._process.stdout:
            self._process.stdout.close()
        self._process = None

    def _is_over(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._said:
                self._lines.append(line.rstrip("\n"))
                self._said.notify_all()
        with self._said:
            self._said.notify_all()


@dataclass(frozen=True)
class Page:
    """What came back: HTTP status, headers, text."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def location(self) -> str:
        return self.headers.get("location", "")

    def fields(self, name: str) -> dict[str, str]:
        """Return what a browser would send of a form, named by its action or id, if nothing was changed."""
        forms = re.findall(r"<form\b[^>]*>.*?</form>", self.text, re.DOTALL)
        return _fields(next(form for form in forms if f'"{name}"' in form.partition(">")[0]))


class Visitor:
    """A browser without a screen: one kept connection, cookies, CSRF."""

    def __init__(self, base_url: str) -> None:
        address = urlsplit(base_url)
        self._base = base_url
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        self.cookies: dict[str, str] = {}

    def get(self, path: str, **headers: str) -> Page:
        """GET a path; redirects are not followed."""
        return self._ask("GET", path, None, headers)

    def post(self, path: str, fields: Mapping[str, str | list[str]], **headers: str) -> Page:
        """POST a form with the CSRF token of the cookie."""
        sent = {**fields, "csrfmiddlewaretoken": self.cookies.get("csrftoken", "")}
        headers = {"Content_Type": "application/x-www-form-urlencoded", "Origin": self._base, **headers}
        return self._ask("POST", path, urlencode(sent, doseq=True).encode(), headers)

    def upload(self, path: str, fields: Mapping[str, str], files: Mapping[str, bytes]) -> Page:
        """POST a form with files (name → bytes) in its field `files`."""
        sent = {**fields, "csrfmiddlewaretoken": self.cookies.get("csrftoken", "")}
        parts = [(f'name="{name}"', value.encode()) for name, value in sent.items()]
        parts += [(f'name="files"; filename="{name}"', data) for name, data in files.items()]
        body = b"".join(
            b"--limit\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head.encode(), data)
            for head, data in parts
        )
        headers = {"Content_Type": "multipart/form-data; boundary=limit", "Origin": self._base}
        return self._ask("POST", path, body + b"--limit--\r\n", headers)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Page:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = None
        try:
            self._connection.request(method, path, body, sent)
            if method == "GET":
                answer = self._connection.getresponse()
        except (ConnectionError, http.client.HTTPException):
            # A kept connection that the server has closed meanwhile: nothing was sent, or nothing changed.
            self._connection.close()
            self._connection.request(method, path, body, sent)
        answer = answer or self._connection.getresponse()
        text = answer.read().decode(errors="replace")
        for cookie in answer.headers.get_all("set-cookie") or ():
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        found = {name.lower(): value for name, value in answer.headers.items()}
        return Page(answer.status, found, text)


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _fields(form: str) -> dict[str, str]:
    """Read names and values out of a form of ours; its markup is known, so no parser is needed."""
    found: dict[str, str] = {}
    for tag, rest in re.findall(r"<(input|textarea|select)\b((?:[^>\"]|\"[^\"]*\")*)>", form):
        attributes = dict(re.findall(r"([\w-]+)(?:=\"([^\"]*)\")?", rest))
        name, kind = attributes.get("name"), attributes.get("type", "text")
        if not name or kind in ("submit", "file") or "disabled" in attributes:
            continue
        if kind in ("radio", "checkbox") and "checked" not in attributes:
            continue
        value = attributes.get("value", "on" if kind in ("radio", "checkbox") else "")
        if tag == "textarea":
            value = form.partition(rest + ">")[2].partition("</textarea>")[0].removeprefix("\n")
        if tag == "select":
            options = form.partition(rest + ">")[2].partition("</select>")[0]
            chosen = re.search(r'<option[^>]*value="([^"]*)"[^>]*\bselected', options)
            value = chosen[1] if chosen else ""
        found[name] = html.unescape(value)
    return found
