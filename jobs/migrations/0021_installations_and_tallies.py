"""Installations tell of themselves, and what becomes of sends, polls and jobs is counted."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

# What has ended already is counted once, so that the counts are whole from the beginning.
COUNT = """
INSERT INTO jobs_tally (counted, connection_id, word, count, seconds)
SELECT 'end', p.connection_id, j.status, sum(j.count), 0
FROM (
  SELECT project_id, status, count(*) FROM jobs_job
  WHERE status IN ('completed', 'incomplete', 'failed', 'cancelled') GROUP BY project_id, status
) j JOIN jobs_project p ON p.id = j.project_id GROUP BY p.connection_id, j.status"""


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0020_connections"),
    ]

    operations = [
        migrations.CreateModel(
            name="Installation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("instance", models.CharField(max_length=64, unique=True)),
                ("host", models.CharField(help_text="The machine's own name.", max_length=255)),
                ("version", models.CharField(max_length=40)),
                (
                    "beat_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        help_text="When one of its workers last answered.",
                    ),
                ),
                (
                    "stopped_at",
                    models.DateTimeField(
                        blank=True, help_text="When it was stopped in good order.", null=True
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Tally",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "counted",
                    models.CharField(
                        choices=[
                            ("send", "Sends, by what became of them"),
                            ("poll", "Polls, by what they found"),
                            ("end", "Jobs, by the status in which they ended"),
                            ("sent", "Seconds from being due to being accepted"),
                            ("detected", "Seconds from the end upstream to the end here"),
                        ],
                        max_length=10,
                    ),
                ),
                ("word", models.CharField(blank=True, max_length=20)),
                ("bucket", models.PositiveSmallIntegerField(null=True)),
                ("count", models.BigIntegerField()),
                ("seconds", models.FloatField(default=0)),
                (
                    "connection",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        to="jobs.connection",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "tallies",
            },
        ),
        migrations.RunSQL(COUNT, migrations.RunSQL.noop),
    ]
