"""Drops what the month's sums are not to be read by; the keys stay as they are."""

from django.db import migrations, models
from django.db.models.deletion import PROTECT

# Each column with the end of its index's name.
OF_SUMS = {
    "model_id": "39b2be90",
    "project_id": "2c15b430",
    "token_id": "846e0a03",
    "user_id": "827177ac",
}


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0033_found_at_once"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                *[
                    migrations.RunSQL(
                        f"DROP INDEX IF EXISTS jobs_monthlyspend_{column}_{end}",
                        f"CREATE INDEX jobs_monthlyspend_{column}_{end} ON jobs_monthlyspend ({column})",
                    )
                    for column, end in OF_SUMS.items()
                ],
                migrations.RunSQL(
                    "DROP INDEX IF EXISTS jobs_monthlyspend_model_id_39b2be90_like",
                    "CREATE INDEX jobs_monthlyspend_model_id_39b2be90_like"
                    " ON jobs_monthlyspend (model_id varchar_pattern_ops)",
                ),
                migrations.RunSQL(
                    "DROP INDEX IF EXISTS jobs_monthlytagspend_project_id_a78f9928",
                    "CREATE INDEX jobs_monthlytagspend_project_id_a78f9928"
                    " ON jobs_monthlytagspend (project_id)",
                ),
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="monthlyspend",
                    name="model",
                    field=models.ForeignKey(
                        db_index=False, null=True, on_delete=PROTECT, to="jobs.modelspec"
                    ),
                ),
                migrations.AlterField(
                    model_name="monthlyspend",
                    name="project",
                    field=models.ForeignKey(db_index=False, on_delete=PROTECT, to="jobs.project"),
                ),
                migrations.AlterField(
                    model_name="monthlyspend",
                    name="token",
                    field=models.ForeignKey(db_index=False, null=True, on_delete=PROTECT, to="jobs.apitoken"),
                ),
                migrations.AlterField(
                    model_name="monthlyspend",
                    name="user",
                    field=models.ForeignKey(db_index=False, null=True, on_delete=PROTECT, to="jobs.user"),
                ),
                migrations.AlterField(
                    model_name="monthlytagspend",
                    name="project",
                    field=models.ForeignKey(db_index=False, on_delete=PROTECT, to="jobs.project"),
                ),
            ],
        ),
    ]
