"""Bring up everything that Ponder consists of with one command, and take it down again."""

import errno
import http.client
import ipaddress
import json
import os
import signal
import socket
import sys
import time
from argparse import ArgumentParser
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import django
from django.conf import settings

from o3site import apart, datadir, localpg, logs
from o3site.supervisor import Child, Pulse, Supervisor

if TYPE_CHECKING:
    from o3site.preparation import Prepared

PARTS = ("workers", "web", "sandbox")  # in the order in which they stop
# Pumps give up on a create after 60 s: past 65 none can still be answered.
SENDS_SECONDS = 65.0
NOT_FOR_CHILDREN = ("DJANGO_", "GRANIAN_", "Q_CLUSTER_")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
WEB_LOGGERS = {"_granian": {"handlers": ["console"], "propagate": False}}
SECRETS = ("OPENAI_", "PONDER_KEYS", "PONDER_MAIL", "PONDER_METRICS_TOKEN", "SECRET_KEY", "DATABASE_URL")
HELP = "Start Ponder: database, web server, workers and, where it is needed, the sandbox."


def main(words: Sequence[str]) -> None:
    """Start what the words of the command line ask for."""
    parser = ArgumentParser(prog="manage.py start", description=HELP)
    add_arguments(parser)
    run(**vars(parser.parse_args(words)))


def add_arguments(parser: ArgumentParser) -> None:
    """Define host, port and the choice of one part."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default 8000)")
    parser.add_argument("--only", choices=sorted(PARTS), help="run one part on this machine")


def run(*, host: str, port: int, only: str | None) -> None:
    """Run until a signal asks for the end, or leave with one line that says why it cannot."""
    if settings.RESTORING_FILE.exists():
        sys.exit("A restore into this place has begun and is not done: run it again first.")
    parts = {only} if only else set(PARTS)
    with _locked(parts):
        if "web" in parts:
            _refuse_host(host)
            _refuse_taken(host, port)
        failure = _run(parts, host, port)
    if failure:
        sys.exit(failure)


def _run(parts: Collection[str], host: str, port: int) -> int | str:
    """Prepare and run the parts until the end; return why they ended if nobody asked for it.

    A number is the exit code of a preparation that has told its reason.
    """
    sandbox = _sandbox_port(may_change="sandbox" in parts)
    # Apart, for this process knows nothing of Django's applications, 50 MB, and asks no database.
    with apart.undisturbed():
        static = apart.Work(lambda: _prepare_static(parts))
        records = apart.Work(lambda: _prepare_records(parts, sandbox))
        database, farewell = _Database(), _Farewell()
        supervisor = Supervisor(say=_say, look=database.look)
    children = _children(parts, host, port, sandbox, farewell)
    is_ready = False
    if "web" in parts:
        settings.CLOSED_FILE.touch()
    try:
        web = children["web"] if "web" in parts else None
        if _await(static, records, supervisor, web):
            found: Prepared = json.loads(records.answer())
            is_ready = _bring_up(parts, host, port, supervisor, children, found["webhook"])
            if is_ready:
                _announce(parts, host, port, sandbox, found["token"])
                supervisor.run()
    finally:
        static.give_up()
        records.give_up()
        if "workers" in parts:
            settings.STOP_FILE.touch()
            if is_ready:
                farewell.begin()
        supervisor.stop(children[part] for part in PARTS)
        farewell.end()
        database.give_up()
        _stop_bundled_database(parts)
    if is_ready or supervisor.failure:
        return supervisor.failure
    if supervisor.is_stopping:
        return "Stopped before it was ready."
    code = static.code or records.code
    return code if code > 0 else f"The preparations were ended by {signal.Signals(-code).name}."


def _prepare_static(parts: Collection[str]) -> None:
    if "web" not in parts:
        return
    django.setup()
    from o3site import preparation

    preparation.collect_static(say=_say)


def _prepare_records(parts: Collection[str], sandbox: int) -> str:
    """Prepare the records; return as JSON what only they tell: see `preparation.prepare_records`."""
    try:
        # First, for it takes the longest where its files are to be made.
        if not settings.DATABASE_URL:
            localpg.start(settings.DATA_DIR)
    except localpg.Unavailable as error:
        sys.exit(str(error))
    django.setup()
    from o3site import preparation

    address = f"http://127.0.0.1:{sandbox}/v1"
    return json.dumps(preparation.prepare_records(parts, sandbox_base_url=address, say=_say))


def _await(static: apart.Work, records: apart.Work, supervisor: Supervisor, web: Child | None) -> bool:
    """Wait for the preparations; tell whether they are done and nobody asked for the end meanwhile.

    The web server is started once its files are there: its imports take as long as making a database does. It
    stays closed until the records are what it knows.
    """
    while True:
        has_files, has_records = static.is_over(), records.is_over()
        if static.code or records.code or supervisor.is_stopping:
            return False
        if web and has_files:
            supervisor.add(web)
            web = None
        if has_files and has_records:
            settings.CLOSED_FILE.unlink(missing_ok=True)
            return True
        supervisor.tick(0.05)


def _bring_up(
    parts: Collection[str],
    host: str,
    port: int,
    supervisor: Supervisor,
    children: Mapping[str, Child],
    webhook: tuple[str, str] | None,
) -> bool:
    """Wait for the web server, start the rest, and tell whether nobody asked for the end meanwhile."""
    # First, and alone on the processor: the workers' imports take three seconds.
    while "web" in parts and not supervisor.is_stopping and not _answers(host, port):
        supervisor.tick(0.05)
    if "workers" in parts:
        settings.STOP_FILE.unlink(missing_ok=True)
    for part in ("workers", "sandbox"):
        if part in parts and not supervisor.is_stopping:
            if part == "sandbox" and "web" in parts and webhook:
                _tell_webhook(children[part], host, port, webhook)
            supervisor.add(children[part])
    return not supervisor.is_stopping


def _tell_webhook(sandbox: Child, host: str, port: int, webhook: tuple[str, str]) -> None:
    """Tell the sandbox where to announce its ends; in its environment, for anybody can read a command line.

    The web server knows itself by the names of loopback: where it listens on none, polls have to do.
    """
    target = _within(host)
    if target in LOOPBACK:
        path, secret = webhook
        address = f"http://{_bracketed(target)}:{port}{path}"
        told = {"SANDBOX_WEBHOOK_URL": address, "SANDBOX_WEBHOOK_SECRET": secret}
        sandbox.environment = {**sandbox.environment, **told}


def _announce(parts: Collection[str], host: str, port: int, sandbox: int, token: str | None) -> None:
    address = settings.PONDER_URL or f"http://{_bracketed(host)}:{port}"
    if "web" in parts:
        _say(f"Ponder runs at {address}/ (Ctrl-C stops it)")
        if token:
            _say(f"Sign in as its administrator (once, within 15 minutes): {address}/enter/#{token}")
    elif "sandbox" in parts:
        _say(f"The sandbox answers at http://127.0.0.1:{sandbox}/v1 (Ctrl-C stops it)")
    else:
        _say("The workers run (Ctrl-C stops them)")


def _children(
    parts: Collection[str], host: str, port: int, sandbox: int, farewell: "_Farewell"
) -> dict[str, Child]:
    """Return how each part is run."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_FOR_CHILDREN)}
    # One arena of glibc's: each thread of the web server would keep one of its own, together 10 MB, and with
    # Python's lock only one of them allocates at a time.
    environment = {"MALLOC_ARENA_MAX": "1", **inherited, "PONDER_DATA_DIR": str(settings.DATA_DIR)}
    python, data = sys.executable, datadir.private(settings.DATA_DIR / "sandbox") / "sandbox.sqlite3"
    return {
        "workers": Child(
            name="workers",
            # The checks would load every page and form, and the workers carry them.
            command=[python, "manage.py", "qcluster", "--skip-checks"],
            environment=environment | {"PONDER_ROLE": "cluster"},
            directory=settings.BASE_DIR,
            stop_seconds=1.5,
            is_busy=farewell.is_awaited,
            pulse=Pulse(last=lambda: datadir.touched(settings.BEAT_FILE, settings.OUTAGE_FILE)),
        ),
        "web": Child(
            name="web server",
            command=[
                # asginl: Django has no lifespan protocol, and asking for it costs a warning.
                *(python, "-m", "granian", "o3site.asgi:application", "--interface", "asginl", "--no-ws"),
                *("--host", host, "--port", str(port), "--workers", "1", "--workers-kill-timeout", "1"),
                *("--log-level", "warning", "--process-name", "ponder-web", *_web_log()),
            ],
            environment=environment | {"PONDER_ROLE": "web"},
            directory=settings.BASE_DIR,
            stop_seconds=1.0,
        ),
        "sandbox": Child(
            name="sandbox",
            command=[
                *(python, "-m", "jobs.sandbox", "--port", str(sandbox), "--data", str(data)),
                *(["--today", str(settings.PONDER_TODAY)] if settings.PONDER_TODAY else []),
            ],
            environment={name: value for name, value in environment.items() if not name.startswith(SECRETS)},
            directory=settings.BASE_DIR,
            stop_seconds=0.5,
            is_vital=set(parts) == {"sandbox"},
            is_heard=False,
            is_wanted=(lambda: True) if set(parts) == {"sandbox"} else settings.PRACTICE_FILE.exists,
        ),
    }


def _web_log() -> list[str]:
    """Return what has the web server itself write JSON lines too, if they are wanted."""
    if not settings.IS_LOG_JSON:
        return []
    path = settings.DATA_DIR / "run" / "web-log.json"
    handlers = {"console": {"class": "logging.StreamHandler", "formatter": "json"}}
    formatters = {"json": {"()": "o3site.logs.JsonFormatter", "instance": settings.INSTANCE}}
    path.write_text(json.dumps({"handlers": handlers, "formatters": formatters, "loggers": WEB_LOGGERS}))
    return ["--log-config", str(path)]


class _Farewell:
    """What the database is asked and told when the workers stop, in a process of its own."""

    def __init__(self) -> None:
        self._work: apart.Work | None = None
        self._until = 0.0

    def begin(self) -> None:
        """Begin it, before the workers are asked to end."""
        with apart.undisturbed():
            self._work = apart.Work(_say_farewell)
        self._until = time.monotonic() + SENDS_SECONDS

    def is_awaited(self) -> bool:
        """Say whether the workers may still hear the answer to a send: unheard, it would be unconfirmed."""
        return self._work is not None and not self._work.is_over() and time.monotonic() < self._until

    def end(self) -> None:
        """End it, as soon as it has told the others that these workers are gone on purpose."""
        if self._work:
            self._work.give_up()


def _say_farewell() -> None:
    try:
        with apart.undisturbed():
            from o3site import farewell

            farewell.note_stop()
        farewell.await_sends(say=_say)
    except Exception as error:
        _fail(error)


class _Database:
    """The bundled database while Ponder runs: no child of ours, for it outlives us, but started again."""

    def __init__(self) -> None:
        self._work: apart.Work | None = None
        self._again_at = 0.0

    def look(self) -> None:
        """Start it again if it has ended; in a process of its own, for that may take a minute."""
        if settings.DATABASE_URL or localpg.runs(settings.DATA_DIR):
            return
        if (self._work and not self._work.is_over()) or time.monotonic() < self._again_at:
            return
        self._again_at = time.monotonic() + 5.0
        _say("The database ended; starting it again.")
        with apart.undisturbed():
            self._work = apart.Work(_start_database)

    def give_up(self) -> None:
        """Leave it as it is."""
        if self._work:
            self._work.give_up()


def _start_database() -> None:
    try:
        localpg.start(settings.DATA_DIR)
    except Exception as error:
        _fail(error)


def _fail(error: Exception) -> None:
    """End a process of ours: not up through the supervisor, which would stop its children here as well."""
    _say(str(error) if isinstance(error, localpg.Unavailable) else f"It failed ({type(error).__name__}).")
    os._exit(1)


def _stop_bundled_database(parts: Collection[str]) -> None:
    """Stop the bundled database unless another part, started by itself, still runs on this data directory."""
    if settings.DATABASE_URL:
        return
    with suppress(datadir.InUse), _locked(set(PARTS) - set(parts), exits=False):
        localpg.stop(settings.DATA_DIR)


def _sandbox_port(*, may_change: bool) -> int:
    """Return the sandbox's port, the same at every start as long as nobody else has taken it."""
    path = settings.DATA_DIR / "sandbox-port"
    port = int(datadir.kept(path, lambda: str(_free_port())))
    if may_change and not _is_free("127.0.0.1", port):
        path.unlink()
        port = int(datadir.kept(path, lambda: str(_free_port())))
    return port


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _is_free(host: str, port: int) -> bool:
    """Say whether one can listen there; raise OSError if that fails for any other reason than being taken."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(address)
            attempt.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def _refuse_taken(host: str, port: int) -> None:
    if not 1 <= port <= 65535:
        sys.exit("--port must be a number from 1 to 65535.")
    try:
        free = _is_free(host, port)
    except OSError as error:
        sys.exit(f"Ponder cannot listen on {host}, port {port}: {error.strerror}.")
    if not free:
        sys.exit(f"Port {port} on {host} is in use: choose another with --port.")


def _refuse_host(host: str) -> None:
    """Refuse to be reachable from other machines without the address that cookies and links need."""
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback and not settings.PONDER_URL:
        sys.exit(f"--host {host} opens Ponder to other machines: set PONDER_URL to its public address first.")


@contextmanager
def _locked(parts: Collection[str], *, exits: bool = True) -> Iterator[None]:
    """Hold the locks of these parts; if another process has one, exit with a line or raise `InUse`."""
    locks: list[datadir.Lock] = []
    try:
        for part in sorted(parts):
            locks.append(datadir.Lock(settings.DATA_DIR / "run" / f"{part}.lock"))
            locks[-1].take()
        yield
    except datadir.InUse as error:
        if not exits:
            raise
        sys.exit(f"Ponder already runs on {settings.DATA_DIR} (process {error}): stop it first.")
    finally:
        for lock in locks:
            lock.free()


def _answers(host: str, port: int) -> bool:
    """Say whether /healthz answers there."""
    web = http.client.HTTPConnection(_within(host), port, timeout=5)
    try:
        web.request("GET", "/healthz", headers={"Host": "localhost"})
        return web.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        web.close()


def _within(host: str) -> str:
    """Return where on this machine one reaches what listens on a host."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (a comparison)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _say(line: str) -> None:
    printed = logs.JsonFormatter(instance=settings.INSTANCE).said(line) if settings.IS_LOG_JSON else line
    # The terminal may be gone before Ponder is.
    with suppress(OSError):
        # One write, also where Python's output is unbuffered: what we start prints to the same place.
        sys.stdout.write(f"{printed}\n")
        sys.stdout.flush()
