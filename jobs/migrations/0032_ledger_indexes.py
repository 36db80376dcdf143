"""Drops what the ledger is not read by.

The keys stay as they are: left to itself, Django would make all seven anew and look through the whole ledger
for each.
"""

from django.db import migrations, models
from django.db.models.deletion import PROTECT

# Each column with the end of its index's name.
INDEXES = {
    "actor_id": "b0f5fdb2",
    "budget_id": "af1652d5",
    "job_id": "6b399c0d",
    "price_id": "7a489db6",
    "project_id": "d677965b",
    "token_id": "1060cfd0",
    "user_id": "003cbd18",
}


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0031_goes_first"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    f"DROP INDEX IF EXISTS jobs_ledgerentry_{column}_{end}",
                    f"CREATE INDEX jobs_ledgerentry_{column}_{end} ON jobs_ledgerentry ({column})",
                )
                for column, end in INDEXES.items()
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="ledgerentry",
                    name="actor",
                    field=models.ForeignKey(
                        db_index=False, related_name="+", null=True, on_delete=PROTECT, to="jobs.user"
                    ),
                ),
                migrations.AlterField(
                    model_name="ledgerentry",
                    name="budget",
                    field=models.ForeignKey(
                        db_index=False,
                        help_text="Of a grant: the one that it raises.",
                        null=True,
                        on_delete=PROTECT,
                        to="jobs.budget",
                    ),
                ),
                migrations.AlterField(
                    model_name="ledgerentry",
                    name="job",
                    field=models.ForeignKey(db_index=False, null=True, on_delete=PROTECT, to="jobs.job"),
                ),
                migrations.AlterField(
                    model_name="ledgerentry",
                    name="price",
                    field=models.ForeignKey(db_index=False, null=True, on_delete=PROTECT, to="jobs.price"),
                ),
                migrations.AlterField(
                    model_name="ledgerentry",
                    name="project",
                    field=models.ForeignKey(db_index=False, null=True, on_delete=PROTECT, to="jobs.project"),
                ),
                migrations.AlterField(
                    model_name="ledgerentry",
                    name="token",
                    field=models.ForeignKey(db_index=False, null=True, on_delete=PROTECT, to="jobs.apitoken"),
                ),
                migrations.AlterField(
                    model_name="ledgerentry",
                    name="user",
                    field=models.ForeignKey(
                        db_index=False,
                        related_name="ledger_entries",
                        null=True,
                        on_delete=PROTECT,
                        to="jobs.user",
                    ),
                ),
            ],
        ),
    ]
