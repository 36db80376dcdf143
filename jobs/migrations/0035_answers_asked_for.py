import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0034_monthly_sums_by_month"),
    ]

    operations = [
        migrations.AddField(
            model_name="savedreplies",
            name="why",
            field=models.CharField(
                blank=True,
                db_default="",
                help_text="Why they are worth it, if it is asked.",
                max_length=1000,
            ),
        ),
        migrations.AddField(
            model_name="savedreplies",
            name="asked_in",
            field=models.OneToOneField(
                help_text="The job that answers with such, while it waits for approval.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="jobs.job",
            ),
        ),
    ]
