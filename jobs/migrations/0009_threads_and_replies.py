import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# OpenAI's guide to MCP: 'There is no cost associated with the tool directly.' It moves no amount: nothing was
# ever priced with it.
MCP_IS_FREE = """
    UPDATE jobs_price SET tool_fees = tool_fees || '{"mcp": "0"}'
    WHERE tool_fees ? 'web_search' AND NOT tool_fees ? 'mcp'
"""


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0008_people_and_settings"),
    ]

    operations = [
        migrations.AddField(
            model_name="job",
            name="replays_thread",
            field=models.BooleanField(
                default=False, help_text="The API has forgotten what came before: all of it is sent again."
            ),
        ),
        migrations.CreateModel(
            name="SavedReplies",
            fields=[
                (
                    "job",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        serialize=False,
                        to="jobs.job",
                    ),
                ),
                ("replies", models.JSONField(default=list)),
                ("saved_at", models.DateTimeField(auto_now=True)),
                (
                    "by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.RunSQL(MCP_IS_FREE, migrations.RunSQL.noop),
    ]
