"""What the budget review reads: a month's tags, and the ledger, refusals and verdicts in their order."""

from decimal import Decimal

import django.db.models.deletion
from django.db import migrations, models

FILL = """
INSERT INTO jobs_monthlytagspend (month, project_id, tag, cost, jobs)
SELECT date_trunc('month', d.spent_on)::date, d.project_id, d.tag, sum(d.cost), sum(d.jobs)
FROM jobs_dailytagspend d GROUP BY 1, 2, 3
"""


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0026_approvals"),
    ]

    operations = [
        migrations.CreateModel(
            name="MonthlyTagSpend",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("month", models.DateField(help_text="Its first day.")),
                ("tag", models.CharField(max_length=60)),
                ("cost", models.DecimalField(decimal_places=10, default=Decimal("0"), max_digits=20)),
                ("jobs", models.PositiveIntegerField(default=0)),
            ],
            options={
                "verbose_name_plural": "monthly tag spend",
            },
        ),
        migrations.RemoveIndex(
            model_name="ledgerentry",
            name="ledger_month_project",
        ),
        migrations.RemoveIndex(
            model_name="ledgerentry",
            name="ledger_month_user",
        ),
        migrations.AddIndex(
            model_name="dailyspend",
            index=models.Index(fields=["user", "spent_on"], name="daily_spend_person"),
        ),
        migrations.AddIndex(
            model_name="dailyspend",
            index=models.Index(
                condition=models.Q(("token__isnull", False)),
                fields=["token", "spent_on"],
                name="daily_spend_token",
            ),
        ),
        migrations.AddIndex(
            model_name="ledgerentry",
            index=models.Index(fields=["month", "-spent_on", "-id"], name="ledger_newest"),
        ),
        migrations.AddIndex(
            model_name="ledgerentry",
            index=models.Index(fields=["month", "project", "-spent_on", "-id"], name="ledger_project_newest"),
        ),
        migrations.AddIndex(
            model_name="ledgerentry",
            index=models.Index(fields=["month", "user", "-spent_on", "-id"], name="ledger_person_newest"),
        ),
        migrations.AddIndex(
            model_name="ledgerentry",
            index=models.Index(
                condition=models.Q(("token__isnull", False)),
                fields=["month", "token", "-spent_on", "-id"],
                name="ledger_token_newest",
            ),
        ),
        migrations.AddIndex(
            model_name="ledgerentry",
            index=models.Index(
                condition=models.Q(("kind__in", ["adjust", "grant"])),
                fields=["month", "project", "-spent_on", "-id"],
                name="ledger_corrections",
            ),
        ),
        migrations.AddIndex(
            model_name="ledgerentry",
            index=models.Index(
                condition=models.Q(("kind", "charge")),
                fields=["month", "project", "-amount", "-id"],
                name="ledger_costliest",
            ),
        ),
        migrations.AddIndex(
            model_name="refusal",
            index=models.Index(fields=["month", "project", "-at"], name="refusal_newest"),
        ),
        migrations.AddIndex(
            model_name="verdict",
            index=models.Index(fields=["-at"], name="verdict_newest"),
        ),
        migrations.AddField(
            model_name="monthlytagspend",
            name="project",
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="jobs.project"),
        ),
        migrations.AddConstraint(
            model_name="monthlytagspend",
            constraint=models.UniqueConstraint(
                fields=("month", "project", "tag"), name="one_tag_sum_a_month"
            ),
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
