"""Prepare what Ponder needs before it runs: static files, database, records."""

import hashlib
import os
from collections.abc import Callable, Collection
from typing import TypedDict

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import connection

from jobs.management import first_start
from o3site import beat

# An arbitrary number: whoever starts on this database at the same time waits for the same one.
MIGRATION_LOCK = 706_167_001


def collect_static(*, say: Callable[[str], None]) -> None:
    """Collect the static files into the data directory, unless none has changed since the last time."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list(["CVS", ".*", "*~"]):
            status = os.stat(storage.path(name))
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    known = settings.DATA_DIR / "static.sha256"
    if known.is_file() and known.read_text() == digest.hexdigest() and settings.STATIC_ROOT.is_dir():
        return
    call_command("collectstatic", verbosity=0, interactive=False, skip_checks=True)
    known.write_text(digest.hexdigest())
    say("✓ static files")


class Prepared(TypedDict):
    """A secret for an operator's link, and path and secret of practice's webhook, where there are any."""

    token: str | None
    webhook: tuple[str, str] | None


def prepare_records(parts: Collection[str], *, sandbox_base_url: str, say: Callable[[str], None]) -> Prepared:
    """Have the records that these parts need in a database that runs.

    Raises ImproperlyConfigured, or what Django does when a database cannot be used.
    """
    # Ringing for overdue work, Django-Q closes a connection that may be closed, and our lock goes with it.
    connection.close()
    connection.settings_dict["CONN_MAX_AGE"] = None
    connection.ensure_connection()
    version = connection.cursor().connection.info.parameter_status("server_version")
    place = "in its own folder" if not settings.DATABASE_URL else "at DATABASE_URL"
    say(f"✓ database: PostgreSQL {version} {place}")
    _warn_of_talkative_log(say)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
        token = first_start.prepare(
            sandbox_base_url=sandbox_base_url,
            # On a database that machines share, the practice API is where its part ran first, or runs alone.
            moves_sandbox="sandbox" in parts or not settings.DATABASE_URL,
            takes_sandbox=set(parts) == {"sandbox"} or not settings.DATABASE_URL,
            frees_pumps="workers" in parts,
        )
        elsewhere = first_start.sandbox_elsewhere() if "sandbox" in parts else ""
        cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])
    say("✓ records")
    if elsewhere:
        say(
            f"! Practice leads to another installation's sandbox, {elsewhere}, and none runs here."
            " `start --only sandbox` moves it here."
        )
    beat.note_practice()
    prepared = Prepared(token=token, webhook=first_start.practice_webhook())
    connection.close()
    return prepared


def _warn_of_talkative_log(say: Callable[[str], None]) -> None:
    if not settings.DATABASE_URL:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('log_min_error_statement'), current_user")
        level, user = cursor.fetchone()
    if level not in {"log", "fatal", "panic"}:
        say(
            "! The database's log keeps failed statements, and with them prompts and answers. As its"
            f" superuser run: ALTER ROLE {user} SET log_min_error_statement = panic"
        )
