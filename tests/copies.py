"""Makes many jobs wait at once, by letting the database repeat one; nothing is held for the copies."""

from django.db import connection, models, transaction

from jobs.models import Attempt, Job, Prompt


def copies_of(job: Job, count: int) -> models.QuerySet[Job]:
    """Repeat a job that was never sent, each copy a second later in line; return the copies."""
    last = Job.objects.latest("pk").pk
    with transaction.atomic():
        _repeat(
            job,
            count,
            uuid="gen_random_uuid()",
            short_id="'j_' || n",
            next_action_at="next_action_at + n * interval '1 microsecond'",
        )
        first = Job.objects.filter(pk__gt=last).earliest("pk").pk
        _repeat(Attempt.objects.get(job=job), count, nonce="gen_random_uuid()", job_id=f"{first} - 1 + n")
        _repeat(Prompt.objects.get(job=job), count, job_id=f"{first} - 1 + n")
    return Job.objects.filter(pk__range=(first, first + count - 1))


def _repeat(row: models.Model, count: int, **drawn: str) -> None:
    """Repeat a row with some of its columns drawn anew from n, 1 to `count`."""
    fields = row._meta.concrete_fields
    table, key = row._meta.db_table, next(field.column for field in fields if field.primary_key)
    same = [f'"{field.column}"' for field in fields if field.column not in {*drawn, "id"}]
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET LOCAL session_replication_role = replica")  # no look at each row's keys
        cursor.execute(
            f"INSERT INTO {table} ({', '.join([*drawn, *same])}) SELECT {', '.join([*drawn.values(), *same])}"
            f" FROM {table}, generate_series(1, %s) n WHERE {key} = %s",
            [count, row.pk],
        )
        cursor.execute("SET LOCAL session_replication_role = origin")
