"""At 200,000 jobs the database reads indexes, and no table from end to end, for lists and for odds."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from jobs.access import Role
from jobs.models import Job, JobText, Project, Status, User
from jobs.models.questions import AS_JOINED, BY_INDEX, IN_ORDER, hinted
from tests.factories import a_person, a_project
from tests.jobs.views.states import a_job

JOBS = 200_000
SCAN = re.compile(r"Seq Scan on (\w+)")
LARGE = "jobs_job", "jobs_prompt", "jobs_jobtext"
SPREAD = {
    "project_id": "(SELECT array_agg(id) FROM jobs_project)",
    "submitted_by_id": "(SELECT array_agg(id) FROM jobs_user)",
    "model_id": "ARRAY['o3', 'o3', 'o3', 'o3-pro', 'gpt-6-luna']",
    "effort": "ARRAY['low', 'medium', 'high']",
    "status": "array_fill('completed'::text, ARRAY[21]) || ARRAY['failed', 'cancelled']",
    "tags": None,
    "cost": None,
    "created_at": None,
    "uuid": None,
    "short_id": None,
}
QUERIES = (
    "", "status=failed", "status=in_flight", "project=p7", "by={mira}", "by={jonas}&status=cancelled",
    "model=gpt-6-luna", "effort=low", "tag=rare", "since=2026-09-01&until=2026-09-02", "sort=costliest",
    "sort=longest", "sort=costliest&model=gpt-6-luna", "sort=longest&project=p7", "project=p7&status=failed",
    "sort=costliest&status=failed", "after=1789000000000000-1", "model=gone", "q=needle", "q=common",
    "q=common+needle&project=p7", "q=unheard",
)  # fmt: skip
AS_USUAL = "SET LOCAL enable_seqscan TO DEFAULT; SET LOCAL enable_bitmapscan TO DEFAULT; "
POLLED = ("", "status=failed", "project=p7", "sort=costliest")


@pytest.fixture
def many(db: None) -> dict[str, User]:
    """Make many jobs by letting the database repeat one."""
    mira, jonas = a_person(), a_person("jonas@example.com")
    for number in range(20):
        members = {jonas: Role.SUBMITTER} | ({mira: Role.SUBMITTER} if number % 4 == 3 else {})
        first = a_project(f"p{number}", members=members)
    job = a_job(first, jonas, Status.COMPLETED)
    with connection.cursor() as cursor:
        # Made afresh over all rows an index takes a tenth of the time.
        indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s)"
        cursor.execute(f"{indexes} AND indexdef NOT LIKE 'CREATE UNIQUE%%'", [list(LARGE)])
        dropped = cursor.fetchall()
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for name, _ in dropped:
            cursor.execute(f'DROP INDEX "{name}"')
        _repeat(cursor, job)
        for _, definition in dropped:
            cursor.execute(definition)
        cursor.execute("ANALYZE")
    return {"mira": mira, "jonas": jonas, "operator": User.objects.create_superuser("ana@example.com")}


def _repeat(cursor: Any, job: Job) -> None:
    same = [f'"{field.column}"' for field in Job._meta.concrete_fields if field.column not in {*SPREAD, "id"}]
    drawn = [f"({one})[1 + mod(n * 7919, cardinality({one}))]" for one in SPREAD.values() if one]
    cursor.execute("SET LOCAL session_replication_role = replica")  # no look at each row's keys
    cursor.execute(
        f"INSERT INTO jobs_job ({', '.join(SPREAD)}, {', '.join(same)}) SELECT {', '.join(drawn)},"
        " CASE mod(n, 5000) WHEN 0 THEN ARRAY['rare'] ELSE ARRAY[]::text[] END, mod(n, 977) / 100.0,"
        f" created_at - n * interval '1 minute', gen_random_uuid(), 'j_' || n, {', '.join(same)}"
        " FROM jobs_job, generate_series(1, %s) n WHERE id = %s",
        [JOBS, job.pk],
    )
    cursor.execute(
        "INSERT INTO jobs_prompt (job_id, title, text, instructions, schema_name)"
        " SELECT id, 'Job ' || id, '', '', '' FROM jobs_job WHERE id <> %s",
        [job.pk],
    )
    JobText.objects.all().delete()
    cursor.execute(
        "INSERT INTO jobs_jobtext (job_id, vector) SELECT id, ("
        " CASE mod(id, 9000) WHEN 0 THEN '''needl'' ' ELSE '' END || '''common'' ''w' || mod(id, 300) || ''''"
        ")::tsvector FROM jobs_job"
    )
    cursor.execute("SET LOCAL session_replication_role = origin")


def plans(client: Client, path: str) -> list[str]:
    """Return the plan of every question that a page asks."""
    with CaptureQueriesContext(connection) as asked:
        assert client.get(path).status_code == 200
    found = []
    ways = [hinted("{}", hint).split("{}") for hint in (IN_ORDER, BY_INDEX, AS_JOINED, ())]
    with connection.cursor() as cursor:
        for query in asked:
            before, after = next(way for way in ways if query["sql"].startswith(way[0]))
            sql = query["sql"].removeprefix(before).removesuffix(after)
            if sql.startswith(("SELECT", "(SELECT", "WITH", "(WITH")):
                cursor.execute(f"{before}EXPLAIN {sql}{after}")
                while cursor.description is None:
                    cursor.nextset()
                found.append("\n".join(line for (line,) in cursor.fetchall()))
    return found


def test_no_list_filter_search_or_odds_read_a_table_from_end_to_end(
    many: dict[str, User], client: Client
) -> None:
    scans = []
    project = Project.objects.get(slug="p19")
    ran_out = {"incomplete_reason": "max_output_tokens", "spec": {"model": "gpt-6-sol", "mode": "standard"}}
    stopped = a_job(project, many["jonas"], Status.INCOMPLETE, **ran_out)
    for role in ("operator", "mira"):
        client.force_login(many[role])
        page = stopped.get_absolute_url()
        read = plans(client, page)
        assert sum("job_answered_newest on jobs_job" in plan and "way.place" in plan for plan in read) == 1
        found = [table for plan in read for table in SCAN.findall(plan)]
        scans += [(role, page, table) for table in found if table in LARGE]
        # Of a kind that the project has none of, the others are asked.
        ask = plans(client, "/jobs/new/?project=p19&effort=high")
        assert sum(plan.count("job_answered_newest on jobs_job") == 2 for plan in ask) == 1
        found = [table for plan in ask for table in SCAN.findall(plan)]
        scans += [(role, "/jobs/new/", table) for table in found if table in LARGE]
        for query in QUERIES:
            query = query.format(mira=many["mira"].pk, jonas=many["jonas"].pk)
            for path in (f"/jobs/?{query}", *([f"/jobs/live/?{query}"] if query in POLLED else [])):
                found = [table for plan in plans(client, path) for table in SCAN.findall(plan)]
                scans += [(role, path, table) for table in found if table in LARGE]
    assert not scans, "\n".join(map(str, scans))
