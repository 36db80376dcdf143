"""Attempts know since when they are unknown upstream and whether their id was proved; connections, a doubt."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0002_ledger_is_append_only")]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="is_unproven",
            field=models.BooleanField(
                default=False,
                help_text="Its response id was given by hand, and no response has named it yet.",
            ),
        ),
        migrations.AddField(
            model_name="attempt",
            name="missed_since",
            field=models.DateTimeField(blank=True, help_text="When that row began.", null=True),
        ),
        migrations.AddField(
            model_name="connection",
            name="doubted_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When it last paused because several responses were unknown there.",
                null=True,
            ),
        ),
    ]
