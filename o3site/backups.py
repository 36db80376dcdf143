"""Copies what cannot be made again - database, keys, journal - and puts a copy into a new place."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone
from psycopg.conninfo import make_conninfo

from jobs import VERSION, lifecycle
from jobs.models import Connection, Installation, SecretUnreadable
from o3site import datadir, localpg

DUMP, MANIFEST = "database.dump", "manifest.json"
KEYS = ("secret_key", "ponder_keys")
# Rows that belong to processes and machines, and messages to workers: those that are due are rung for anew.
NOT_COPIED = ("django_q_ormq", "jobs_pumplease", "jobs_installation")

# Whoever restores it owns everything, whatever the original's users were called.
PLAIN = ("--no-owner", "--no-privileges")

type Say = Callable[[str], None]


class Refused(Exception):
    """It cannot be done; the message is one sentence that says why and what to do."""


def backup(folder: Path, *, say: Say) -> None:
    """Copy everything into a new folder (0700), also while Ponder runs. Raises Refused.

    The journal comes after the database: it then has every send that the database was too early for. The
    manifest comes last: a folder without one is no backup.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused(f"{folder} exists and is not an empty folder: choose another.")
    with _database():
        datadir.private(folder).chmod(0o700)
        manifest = {
            "made_at": timezone.now().isoformat(timespec="seconds"),
            "version": VERSION,
            "migrations": sorted(f"{app}.{name}" for app, name in _applied()),
            "is_at_work": Installation.objects.beating().exists(),
        }
        left_out = [f"--exclude-table-data={table}" for table in NOT_COPIED]
        _run("pg_dump", "--format=custom", *PLAIN, *left_out, f"--file={folder / DUMP}")
    (folder / DUMP).chmod(0o600)
    say(f"✓ database ({(folder / DUMP).stat().st_size / 1e6:.1f} MB)")
    if settings.JOURNAL_DIR.is_dir():
        shutil.copytree(settings.JOURNAL_DIR, folder / "journal")
    shutil.copy2(settings.DATA_DIR / "instance", folder / "instance")
    say("✓ journal")
    kept = [settings.DATA_DIR / "keys" / name for name in KEYS]
    if settings.DATABASE_URL:
        say("! SECRET_KEY and PONDER_KEYS are from the environment: keep them, apart from this folder.")
    else:
        datadir.private(folder / "keys")
        for path in kept:
            shutil.copy2(path, folder / "keys" / path.name)
        say("✓ keys: whoever has this folder can read everything in it")
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def restore(folder: Path, *, is_moved: bool, say: Say) -> None:
    """Put a backup into an empty database and data directory; again after a kill, it goes on. Raises Refused.

    Unless the original was off before the backup and stays off (`is_moved`), the copy is held: it sends and
    asks for nothing until someone resumes its connections.
    """
    manifest = _manifest(folder)
    if is_moved and manifest["is_at_work"]:
        raise Refused(
            "Workers ran when this backup was made, so it may be behind: stop them and make another,"
            " or restore it without --moved."
        )
    mark = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    with _nothing_runs(), _database():
        has_begun = settings.RESTORING_FILE.exists() and settings.RESTORING_FILE.read_text() == mark
        is_filled = bool(connection.introspection.table_names())
        has_journal = settings.JOURNAL_DIR.is_dir() and any(settings.JOURNAL_DIR.glob("*.jsonl"))
        if (is_filled or has_journal) and not has_begun:
            raise Refused("There is a database or a journal already: restore into a new place only.")
        settings.RESTORING_FILE.write_text(mark)
        _put_files(folder)
        if not is_filled:
            connection.close()
            _run("pg_restore", *PLAIN, "--exit-on-error", "--single-transaction", str(folder / DUMP))
        say("✓ database")
        call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
        if not is_moved:
            held, doubtful = lifecycle.hold_restored(manifest["made_at"])
            say(f"✓ held: {held} connections send and ask for nothing until you resume them")
            if doubtful:
                say(f"! unconfirmed: {doubtful} jobs that waited, for they may have been sent since")
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        _warn_of_unreadable(say)
        settings.RESTORING_FILE.unlink()


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        raise Refused(f"{folder} is no whole backup: it has no {MANIFEST}.") from None
    known = {f"{app}.{name}" for app, name in MigrationLoader(None).disk_migrations}
    if not set(found["migrations"]) <= known:
        raise Refused(
            f"This backup was made by a newer Ponder ({found['version']}): restore it with that one."
        )
    return found


def _put_files(folder: Path) -> None:
    """Copy journal, name and keys, and go on in this process as the installation that they are of."""
    if (folder / "journal").is_dir():
        shutil.copytree(folder / "journal", settings.JOURNAL_DIR, dirs_exist_ok=True)
        settings.JOURNAL_DIR.chmod(0o700)
    names = {"instance": settings.DATA_DIR / "instance"}
    if not settings.DATABASE_URL:
        names |= {f"keys/{name}": settings.DATA_DIR / "keys" / name for name in KEYS}
    for name, target in names.items():
        if (folder / name).exists():
            draft = target.with_name(f".{target.name}.restored")
            shutil.copyfile(folder / name, draft)
            draft.chmod(0o600)
            draft.replace(target)
    settings.INSTANCE = (settings.DATA_DIR / "instance").read_text().strip()
    if not settings.DATABASE_URL:
        settings.PONDER_KEYS = (settings.DATA_DIR / "keys" / "ponder_keys").read_text().strip().split(",")


def _warn_of_unreadable(say: Say) -> None:
    unreadable = []
    for one in Connection.objects.order_by("name"):
        try:
            one.key.reveal()
        except SecretUnreadable:
            unreadable.append(one.name)
    if unreadable:
        say(
            f"! PONDER_KEYS does not decrypt the key of {', '.join(unreadable)}: set it as it was for the"
            " original (the backup of a bundled database has it in keys/)."
        )


@contextmanager
def _database() -> Iterator[None]:
    """Have the database running meanwhile; a bundled one that did not run is stopped again."""
    is_ours = not settings.DATABASE_URL and localpg.start(settings.DATA_DIR)
    try:
        yield
    finally:
        connection.close()
        if is_ours:
            localpg.stop(settings.DATA_DIR)


@contextmanager
def _nothing_runs() -> Iterator[None]:
    with ExitStack() as locks:
        for part in ("sandbox", "web", "workers"):
            lock = datadir.Lock(settings.DATA_DIR / "run" / f"{part}.lock")
            locks.callback(lock.free)
            try:
                lock.take()
            except datadir.InUse as error:
                raise Refused(
                    f"Ponder runs on {settings.DATA_DIR} (process {error}): stop it first."
                ) from None
        yield


def _applied() -> set[tuple[str, str]]:
    return set(MigrationLoader(connection).applied_migrations)


def _conninfo() -> str:
    """Return how to reach the database, without the password: arguments of processes can be seen."""
    where = connection.settings_dict
    names = {"host": where["HOST"], "port": where["PORT"], "user": where["USER"], "dbname": where["NAME"]}
    given = {**where["OPTIONS"], **names, "pool": ""}
    return make_conninfo("", **{name: value for name, value in given.items() if value != ""})


def _run(tool: str, *arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    password = str(connection.settings_dict["PASSWORD"])
    try:
        program = localpg.program(tool)
    except localpg.Unavailable as error:
        raise Refused(str(error)) from None
    done = subprocess.run(  # noqa: S603 (PostgreSQL's own programs)
        [program, "--no-password", f"--dbname={_conninfo()}", *arguments],
        env={**environment, "PGPASSWORD": password},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        # Its first line alone: the rest of an error of data can hold rows.
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
        raise Refused(f"{tool} failed: {said}")
