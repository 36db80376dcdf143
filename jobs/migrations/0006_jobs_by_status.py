"""A status tab of the job list finds its rows in order, however rare they are."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0005_sends_unknown_in_a_row"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["status", "-created_at", "-id"], name="job_status_newest"),
        ),
    ]
