"""A page of a month reads sums of the month; those of months there are already are made of the days."""

from decimal import Decimal

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

DAYS = "date_trunc('month', d.spent_on)::date, d.project_id"
SUMS = """sum(d.cost), sum(d.jobs), sum(d.input_tokens), sum(d.cached_tokens), sum(d.output_tokens),
  sum(d.reasoning_tokens)"""
INTO = """INSERT INTO jobs_monthlyspend
  (month, project_id, spent_on, model_id, effort, user_id, token_id, cost, jobs, input_tokens,
   cached_tokens, output_tokens, reasoning_tokens, buckets)"""
FILL = f"""
{INTO} SELECT {DAYS}, d.spent_on, NULL, '', NULL, NULL, {SUMS}, NULL
FROM jobs_dailyspend d GROUP BY 1, 2, 3;
WITH filled AS (
  SELECT date_trunc('month', d.spent_on)::date AS month, d.project_id, d.model_id, d.effort, u.place,
    sum(u.jobs)::integer AS jobs
  FROM jobs_dailyspend d, unnest(d.buckets) WITH ORDINALITY AS u(jobs, place)
  WHERE u.jobs <> 0 GROUP BY 1, 2, 3, 4, 5
), sums AS (
  SELECT {DAYS}, d.model_id, d.effort, max(cardinality(d.buckets)), {SUMS}
  FROM jobs_dailyspend d GROUP BY 1, 2, 3, 4
)
{INTO} SELECT s.month, s.project_id, NULL, s.model_id, s.effort, NULL, NULL, s.cost, s.jobs, s.read, s.cached,
  s.written, s.thought, array_agg(coalesce(f.jobs, 0) ORDER BY g.place)
FROM sums s(month, project_id, model_id, effort, size, cost, jobs, read, cached, written, thought)
CROSS JOIN generate_series(1, s.size) AS g(place)
LEFT JOIN filled f USING (month, project_id, model_id, effort, place)
GROUP BY 1, 2, 4, 5, 8, 9, 10, 11, 12, 13;
{INTO} SELECT {DAYS}, NULL, NULL, '', d.user_id, d.token_id, {SUMS}, NULL
FROM jobs_dailyspend d GROUP BY 1, 2, 6, 7;
"""  # noqa: S608 - made of the constants above


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0012_lists_and_search"),
    ]

    operations = [
        migrations.CreateModel(
            name="MonthlySpend",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("month", models.DateField(help_text="Its first day.")),
                ("spent_on", models.DateField(null=True)),
                ("effort", models.CharField(blank=True, max_length=16)),
                ("cost", models.DecimalField(decimal_places=10, default=Decimal("0"), max_digits=20)),
                ("jobs", models.PositiveIntegerField(default=0)),
                ("input_tokens", models.BigIntegerField(default=0)),
                ("cached_tokens", models.BigIntegerField(default=0)),
                ("output_tokens", models.BigIntegerField(default=0)),
                ("reasoning_tokens", models.BigIntegerField(default=0)),
                (
                    "buckets",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveIntegerField(), null=True
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, to="jobs.modelspec"
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="jobs.project"),
                ),
                (
                    "token",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, to="jobs.apitoken"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "monthly spend",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("month", "project", "spent_on", "model", "effort", "user", "token"),
                        name="one_sum_a_month",
                        nulls_distinct=False,
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("effort", ""),
                                ("model", None),
                                ("spent_on__isnull", False),
                                ("token", None),
                                ("user", None),
                            ),
                            models.Q(
                                ("model__isnull", False), ("spent_on", None), ("token", None), ("user", None)
                            ),
                            models.Q(
                                ("effort", ""), ("model", None), ("spent_on", None), ("user__isnull", False)
                            ),
                            _connector="OR",
                        ),
                        name="monthly_sum_is_of_one_kind",
                    ),
                ],
            },
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
