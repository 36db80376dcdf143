"""Builds indexes of jobs beside whoever writes them."""

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
        AddIndexConcurrently(
            model_name="job",
            index=GinIndex(TagsAndProject("tags", "project_id"), name="job_tags_in_project"),
        ),
        AddIndexConcurrently(
            model_name="job",
            index=models.Index(
                condition=models.Q(("goes_first", True), ("next_action_at__isnull", False)),
                fields=["next_action_at"],
                name="job_goes_first",
            ),
        ),
    ]
