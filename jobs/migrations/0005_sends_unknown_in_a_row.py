"""Connections count the sends in a row of which nobody knows whether they were accepted."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0004_tokens_of_the_ledger")]

    operations = [
        migrations.AddField(
            model_name="connection",
            name="unknown_in_a_row",
            field=models.PositiveSmallIntegerField(
                default=0,
                editable=False,
                help_text="Sends in a row that perhaps were accepted.",
            ),
        ),
    ]
