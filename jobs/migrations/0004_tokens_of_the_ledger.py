"""The ledger carries tokens, so that the rollups' can be recomputed; what was booked before is filled in."""

from django.db import migrations, models

TOKENS = {
    "input_tokens": "a.usage -> 'input_tokens'",
    "cached_tokens": "a.usage -> 'input_tokens_details' -> 'cached_tokens'",
    "output_tokens": "a.usage -> 'output_tokens'",
    "reasoning_tokens": "a.usage -> 'output_tokens_details' -> 'reasoning_tokens'",
}


def _count(where: str) -> str:
    """Read a number that another wrote: anything else, and what is not plausible, is none."""
    return (
        f"CASE WHEN jsonb_typeof({where}) = 'number' "
        f"THEN least(greatest(trunc(({where})::text::numeric), 0), 1000000000)::bigint ELSE 0 END"
    )


FILL = f"""
ALTER TABLE jobs_ledgerentry DISABLE TRIGGER ledger_is_append_only;
UPDATE jobs_ledgerentry l SET {", ".join(f"{name} = {_count(where)}" for name, where in TOKENS.items())}
FROM jobs_attempt a
WHERE a.id = l.attempt_id AND a.usage IS NOT NULL AND l.id = (
  SELECT max(last.id) FROM jobs_ledgerentry last WHERE last.attempt_id = a.id AND last.basis = 'usage'
);
ALTER TABLE jobs_ledgerentry ENABLE TRIGGER ledger_is_append_only;
UPDATE jobs_dailyspend d SET {", ".join(f"{name} = t.{name}" for name in TOKENS)}
FROM (
  SELECT l.spent_on, l.project_id, j.model_id, j.effort, l.user_id, l.token_id,
    {", ".join(f"sum(l.{name}) AS {name}" for name in TOKENS)}
  FROM jobs_ledgerentry l JOIN jobs_job j ON j.id = l.job_id
  WHERE l.kind IN ('charge', 'adjust') GROUP BY 1, 2, 3, 4, 5, 6
) t
WHERE (d.spent_on, d.project_id, d.model_id, d.effort, d.user_id)
  = (t.spent_on, t.project_id, t.model_id, t.effort, t.user_id)
  AND d.token_id IS NOT DISTINCT FROM t.token_id;
"""  # noqa: S608 - made of the constants above


class Migration(migrations.Migration):
    dependencies = [("jobs", "0003_responses_unknown_or_unproven")]

    operations = [
        *(
            migrations.AddField(model_name="ledgerentry", name=name, field=models.BigIntegerField(default=0))
            for name in TOKENS
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
