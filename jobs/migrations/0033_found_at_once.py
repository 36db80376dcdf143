"""Builds indexes of jobs beside whoever writes them.

What a killed one has left half built is in the way of the next, and goes first.
"""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

from jobs.models.list_indexes import TagsAndProject


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("jobs", "0032_ledger_indexes"),
    ]

    operations = [
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS job_tags_in_project", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="job",
            index=GinIndex(TagsAndProject("tags", "project_id"), name="job_tags_in_project"),
        ),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS job_goes_first", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="job",
            index=models.Index(
                condition=models.Q(("goes_first", True), ("next_action_at__isnull", False)),
                fields=["next_action_at"],
                name="job_goes_first",
            ),
        ),
    ]
