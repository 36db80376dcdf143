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
KEYS = ("secret_key", "ponder_keys")  # what is in force, wherever it came from
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
    try:
        is_taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise Refused(f"{folder} cannot be used: {error.strerror}.") from None
    if is_taken:
        raise Refused(f"{folder} exists and is not an empty folder: choose another.")
    if not (settings.DATABASE_URL or localpg.is_made(settings.DATA_DIR)):
        raise Refused(f"{settings.DATA_DIR} holds no database of Ponder.")
    with _database(), _made_whole(folder):
        applied = _applied()
        if not any(app == "jobs" for app, _ in applied):
            raise Refused("The database has no tables of Ponder: there is nothing to copy.")
        manifest = {
            "made_at": timezone.now().isoformat(timespec="seconds"),
            "version": VERSION,
            "migrations": sorted(f"{app}.{name}" for app, name in applied),
            "is_at_work": Installation.objects.beating().exists(),
        }
        left_out = [f"--exclude-table-data={table}" for table in NOT_COPIED]
        _run("pg_dump", "--format=custom", *PLAIN, *left_out, f"--file={folder / DUMP}")
        (folder / DUMP).chmod(0o600)
        say(f"✓ database ({(folder / DUMP).stat().st_size / 1e6:.1f} MB)")
        copied = _copy_journals(settings.JOURNAL_DIR, folder / "journal")
        shutil.copy2(settings.DATA_DIR / "instance", folder / "instance")
        say(
            "✓ journal"
            if copied
            else f"! no journal in {settings.JOURNAL_DIR}: none was ever sent from here?"
        )
        if settings.DATABASE_URL:
            say("! SECRET_KEY and PONDER_KEYS are from the environment: keep them, apart from this folder.")
        else:
            _keep_keys(folder / "keys")
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
        known = lifecycle.replay() + lifecycle.replay_copied()
        if known:
            say(f"✓ journal: {known} sends that the database was not sure of were accepted")
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
    _copy_journals(folder / "journal", settings.JOURNAL_DIR)
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
    # The environment would win at the next start too.
    if not (settings.DATABASE_URL or os.environ.get("PONDER_KEYS", "").strip()):
        kept = (settings.DATA_DIR / "keys" / "ponder_keys").read_text()
        settings.PONDER_KEYS = [key.strip() for key in kept.split(",") if key.strip()]


def _copy_journals(source: Path, target: Path) -> int:
    """Copy journals, and nothing of what lies beside them for a moment; return how many."""
    found = sorted(source.glob("*.jsonl"))
    for path in found:
        datadir.private(target).chmod(0o700)
        try:
            shutil.copy2(path, target)
        except FileNotFoundError:  # one that is trimmed is put in its place anew
            shutil.copy2(path, target)
    return len(found)


def _keep_keys(folder: Path) -> None:
    """Write the keys in force: those of the environment count for more than files, which may be older."""
    datadir.private(folder)
    for name, text in zip(KEYS, (settings.SECRET_KEY, ",".join(settings.PONDER_KEYS)), strict=True):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(f"{text}\n")


@contextmanager
def _made_whole(folder: Path) -> Iterator[None]:
    """Make a folder (0700) and what is put into it, or nothing. Raises Refused where a file cannot be."""
    was_there = folder.exists()
    try:
        datadir.private(folder).chmod(0o700)
        yield
    except BaseException as error:
        for path in folder.iterdir() if folder.is_dir() else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not was_there:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise Refused(f"Nothing was copied: {error.strerror} ({error.filename}).") from None
        raise


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
