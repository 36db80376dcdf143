"""Writes half a year of a team's work straight into the tables: `python -m tests.bench.seed`.

What the product would have made, faster: jobs with attempts, ledger, rollups, periods, texts, search.
The database is a fresh one in a directory of its own, which is removed at the end unless `--home` names it.
"""

import argparse
import importlib
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django

from o3site import localpg
from tests.bench import figures

if TYPE_CHECKING:
    from jobs.models import User

# Written without a WAL and synced at the end: a seeding that is cut short is begun again.
LOADING = {
    "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "wal_level": "minimal",
    "max_wal_senders": "0", "shared_buffers": "1GB", "max_wal_size": "16GB", "autovacuum": "off",
    "maintenance_work_mem": "512MB", "work_mem": "128MB",
}  # fmt: skip
TABLES = (
    "jobs_job",
    "jobs_ledgerentry",
    "jobs_attempt",
    "jobs_jobtext",
    "jobs_prompt",
    "jobs_answer",
    "jobs_event",
)


def main() -> None:
    """Make the database, fill it, audit it, print how long it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--home", type=Path, help="where to keep it; an empty directory")
    args = parser.parse_args()
    with seeded(args.jobs, args.home):
        pass


@contextmanager
def seeded(count: int, home: Path | None = None) -> Iterator[Path]:
    """Run a database of `count` jobs under the product's own settings; seed it unless `home` has it."""
    folder = Path(tempfile.mkdtemp(prefix="ponder-bench-")) if home is None else home
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)  # under root the database is another user and must pass through
    data, is_full = folder / "var", (folder / "seeded").exists()
    os.environ |= {"PONDER_DATA_DIR": str(data), "DJANGO_SETTINGS_MODULE": "o3site.settings"}
    try:
        if not is_full:
            localpg.start(data, LOADING)
            django.setup()
            _make(count)
            # Nobody keeps a connection to a server that is about to go.
            importlib.import_module("django.db").connections.close_all()
            localpg.stop(data)
            (folder / "seeded").touch()
        localpg.start(data)
        django.setup()
        # A kept one may be older than the tables of today.
        importlib.import_module("django.core.management").call_command("migrate", verbosity=0)
        yield data
    finally:
        localpg.stop(data)
        if home is None:
            shutil.rmtree(folder)


def fill(count: int) -> "User":
    """Write `count` jobs with all that belongs to them into a database that has none; return an operator."""
    from django.db import connection

    from jobs.models import User
    from tests.bench import seed_plan, seed_rows  # need Django to be set up

    draw = random.Random(11)
    operator = User.objects.create_superuser("bench@example.com", name="Bench")
    plan = seed_plan.plan_of(count, draw, seed_plan.team(draw), seed_plan.sorts_of_models(draw))
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # foreign keys hold: all of it is ours
        indexes = _drop_indexes(cursor)
        cursor.execute("BEGIN")
        cursor.execute("TRUNCATE jobs_job CASCADE")
        seed_rows.write(cursor, plan, seed_plan.texts_of(cursor, draw), draw)
        cursor.execute("COMMIT")
        _said("rows copied")
        _build(indexes)
        _said("indexes built")
        _sum_up(cursor)
        _said("sums made")
        cursor.execute("SET session_replication_role = origin")
        cursor.execute("VACUUM ANALYZE")
    return operator


def _make(count: int) -> None:
    from django.core.management import call_command

    began = time.monotonic()
    print(figures.noise())
    call_command("migrate", verbosity=0)
    fill(count)
    print(f"{count:,} jobs seeded in {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    call_command("audit")
    print(f"audited in {time.monotonic() - began:.0f} s")
    print(figures.noise(), flush=True)


def _said(what: str) -> None:
    print(f"  {what} by {time.process_time():.0f} s of our own time", flush=True)


def _drop_indexes(cursor: Any) -> dict[str, list[str]]:
    """Drop every index of the large tables but their keys; return what makes them again, table by table."""
    cursor.execute(
        "SELECT c.relname, i.relname, pg_get_indexdef(x.indexrelid), k.conname, pg_get_constraintdef(k.oid)"
        " FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid"
        " LEFT JOIN pg_constraint k ON k.conindid = x.indexrelid AND k.contype = 'u'"
        " WHERE c.relname = ANY(%s) AND NOT x.indisprimary",
        [list(TABLES)],
    )
    made: dict[str, list[str]] = {}
    for table, index, definition, constraint, rule in cursor.fetchall():
        if constraint:
            cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{constraint}"')
            definition = f'ALTER TABLE {table} ADD CONSTRAINT "{constraint}" {rule}'
        else:
            cursor.execute(f'DROP INDEX "{index}"')
        made.setdefault(table, []).append(definition)
    return made


def _build(indexes: dict[str, list[str]]) -> None:
    """Make the indexes of two tables at a time."""
    from django.db import connection

    queue = [indexes[table] for table in TABLES if table in indexes]

    def work() -> None:
        with connection.Database.connect(**connection.get_connection_params(), autocommit=True) as own:
            while queue:
                for statement in queue.pop(0):
                    own.execute(statement)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _sum_up(cursor: Any) -> None:
    """Make rollups and periods from the ledger, and let the numbers of rows go on after the last."""
    from jobs import pricing

    edges = ", ".join(str(edge) for edge in pricing.BUCKET_EDGES)
    counts = ", ".join(
        f"count(*) FILTER (WHERE l.basis <> 'none' AND width_bucket(l.amount, e) = {number})"
        for number in range(pricing.BUCKETS)
    )
    charges = "FROM jobs_ledgerentry l JOIN jobs_job j ON j.id = l.job_id"
    cursor.execute(
        "INSERT INTO jobs_dailyspend (spent_on, project_id, model_id, effort, user_id, cost, jobs,"
        " input_tokens, cached_tokens, output_tokens, reasoning_tokens, buckets)"
        " SELECT l.spent_on, l.project_id, j.model_id, j.effort, l.user_id, sum(l.amount),"
        " count(*) FILTER (WHERE l.basis <> 'none'), sum(l.input_tokens), sum(l.cached_tokens),"
        f" sum(l.output_tokens), sum(l.reasoning_tokens), ARRAY[{counts}]"
        f" {charges}, (SELECT ARRAY[{edges}]::numeric[] e) x WHERE l.kind = 'charge' GROUP BY 1, 2, 3, 4, 5"
    )
    cursor.execute(
        "INSERT INTO jobs_dailytagspend (spent_on, project_id, user_id, tag, cost, jobs)"
        " SELECT l.spent_on, l.project_id, l.user_id, tag, sum(l.amount),"
        f" count(*) FILTER (WHERE l.basis <> 'none') {charges}, unnest(j.tags) tag"
        " WHERE l.kind = 'charge' GROUP BY 1, 2, 3, 4"
    )
    for made in ("0013_sums_of_a_month", "0027_budget_review"):
        cursor.execute(importlib.import_module(f"jobs.migrations.{made}").FILL)
    cursor.execute("TRUNCATE jobs_budgetperiod")
    cursor.execute(
        "WITH sums AS (SELECT l.month, l.project_id, l.user_id, c.is_practice,"
        " sum(l.amount) FILTER (WHERE l.kind = 'charge') spent,"
        " sum(l.amount) FILTER (WHERE l.kind <> 'charge') held FROM jobs_ledgerentry l"
        " JOIN jobs_project p ON p.id = l.project_id JOIN jobs_connection c ON c.id = p.connection_id"
        " GROUP BY 1, 2, 3, 4)"
        " INSERT INTO jobs_budgetperiod (budget_id, month, cap, granted, spent, held)"
        " SELECT b.id, s.month, b.cap, 0, coalesce(sum(s.spent), 0), sum(s.held)"
        " FROM jobs_budget b JOIN sums s"
        " ON (b.scope = 'project' AND s.project_id = b.project_id) OR (NOT s.is_practice AND"
        " (b.scope = 'workspace' OR (b.scope = 'member' AND s.user_id = b.user_id)))"
        " GROUP BY b.id, s.month, b.cap"
    )
    for table in ("jobs_job", "jobs_attempt", "jobs_ledgerentry", "jobs_event"):
        cursor.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), greatest(max(id), 1)) FROM {table}"
        )


if __name__ == "__main__":
    main()
