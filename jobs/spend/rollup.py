"""Keeps the rollups equal to the ledger: every charge and adjustment moves them in its transaction."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection

from jobs import pricing
from jobs.models import Job

# The columns of tokens that a ledger row and a rollup have, and a usage too.
TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True)
class Movement:
    """One step of an attempt's cost from `booked` to `cost`, USD.

    A charge is counted among `jobs` and `buckets` once it rests on something: `was_counted` before this
    step, `is_counted` after it. `tokens` has by how much each of TOKENS moves.
    """

    booked: Decimal
    cost: Decimal
    was_counted: bool
    is_counted: bool
    tokens: Mapping[str, int]


def roll_up(job: Job, *, month: dt.date, spent_on: dt.date, movement: Movement) -> None:
    """Add a movement to the day's rows of the job's project, model, effort, person, token and tags, and to
    the month's sums of them.
    """
    delta = movement.cost - movement.booked
    newly = int(movement.is_counted) - int(movement.was_counted)
    change = [0] * pricing.BUCKETS
    if movement.is_counted:
        change[pricing.bucket(movement.cost)] += 1
    if movement.was_counted:
        change[pricing.bucket(movement.booked)] -= 1
    added = {
        "month": month,
        "spent_on": spent_on,
        "project": job.project_id,
        "model": job.model_id,
        "effort": job.effort,
        "user": job.submitted_by_id,
        "token": job.token_id,
        "cost": delta,
        "jobs": newly,
        **movement.tokens,
        "change": change,
        "tags": sorted(set(job.tags)),
    }
    of_tags = [_DAILY_TAG, _MONTHLY_TAG] if job.tags else []
    with connection.cursor() as cursor:
        # A row that does not exist yet never loses a count, so the first insert's buckets are all >= 0.
        cursor.execute("; ".join([_DAILY, *of_tags, _MONTHLY]), added)


def add_to_tags(job: Job, tags: Iterable[str], *, spent_on: dt.date, cost: Decimal, jobs: int) -> None:
    """Add USD and a number of counted charges to a day's rows of some tags of a job, in order of the tags."""
    with connection.cursor() as cursor:
        cursor.execute(
            _DAILY_TAG,
            {
                "spent_on": spent_on,
                "project": job.project_id,
                "user": job.submitted_by_id,
                "tags": sorted(set(tags)),
                "cost": cost,
                "jobs": jobs,
            },
        )


def add_to_months_tags(job: Job, tags: Iterable[str], *, month: dt.date, cost: Decimal, jobs: int) -> None:
    """Add the same to the month's rows, after those of all its days: no two transactions can deadlock."""
    with connection.cursor() as cursor:
        cursor.execute(
            _MONTHLY_TAG,
            {
                "month": month,
                "project": job.project_id,
                "tags": sorted(set(tags)),
                "cost": cost,
                "jobs": jobs,
            },
        )


# What a conflict adds to the row that is there, `r`.
_ADDED = """
  cost = r.cost + EXCLUDED.cost,
  jobs = r.jobs + EXCLUDED.jobs,
  input_tokens = r.input_tokens + EXCLUDED.input_tokens,
  cached_tokens = r.cached_tokens + EXCLUDED.cached_tokens,
  output_tokens = r.output_tokens + EXCLUDED.output_tokens,
  reasoning_tokens = r.reasoning_tokens + EXCLUDED.reasoning_tokens,
  buckets = (
    SELECT array_agg(have + move ORDER BY place)
    FROM unnest(r.buckets, EXCLUDED.buckets) WITH ORDINALITY AS b(have, move, place)
  )
"""

_DAILY = f"""
INSERT INTO jobs_dailyspend AS r
  (spent_on, project_id, model_id, effort, user_id, token_id, cost, jobs,
   input_tokens, cached_tokens, output_tokens, reasoning_tokens, buckets)
VALUES
  (%(spent_on)s, %(project)s, %(model)s, %(effort)s, %(user)s, %(token)s, %(cost)s, %(jobs)s,
   %(input_tokens)s, %(cached_tokens)s, %(output_tokens)s, %(reasoning_tokens)s, %(change)s::integer[])
ON CONFLICT (spent_on, project_id, model_id, effort, user_id, token_id) DO UPDATE SET {_ADDED}"""  # noqa: S608 - a constant of ours

_DAILY_TAG = """
INSERT INTO jobs_dailytagspend AS d (spent_on, project_id, user_id, tag, cost, jobs)
SELECT %(spent_on)s, %(project)s, %(user)s, t.tag, %(cost)s, %(jobs)s
FROM unnest(%(tags)s::text[]) WITH ORDINALITY AS t(tag, place) ORDER BY t.place
ON CONFLICT (spent_on, project_id, user_id, tag) DO UPDATE SET
  cost = d.cost + EXCLUDED.cost, jobs = d.jobs + EXCLUDED.jobs
"""

_MONTHLY_TAG = """
INSERT INTO jobs_monthlytagspend AS m (month, project_id, tag, cost, jobs)
SELECT %(month)s, %(project)s, t.tag, %(cost)s, %(jobs)s
FROM unnest(%(tags)s::text[]) WITH ORDINALITY AS t(tag, place) ORDER BY t.place
ON CONFLICT (month, project_id, tag) DO UPDATE SET
  cost = m.cost + EXCLUDED.cost, jobs = m.jobs + EXCLUDED.jobs
"""

# One row of each kind, always in this order: of two settlements one waits for the other, never both.
_MONTHLY = f"""
INSERT INTO jobs_monthlyspend AS r
  (month, project_id, spent_on, model_id, effort, user_id, token_id, cost, jobs,
   input_tokens, cached_tokens, output_tokens, reasoning_tokens, buckets)
SELECT %(month)s, %(project)s, k.spent_on, k.model_id, k.effort, k.user_id, k.token_id, %(cost)s, %(jobs)s,
  %(input_tokens)s, %(cached_tokens)s, %(output_tokens)s, %(reasoning_tokens)s, k.change
FROM (VALUES
  (%(spent_on)s::date, NULL, '', NULL::bigint, NULL::bigint, NULL::integer[]),
  (NULL, %(model)s, %(effort)s, NULL, NULL, %(change)s::integer[]),
  (NULL, NULL, '', %(user)s, %(token)s, NULL)
) AS k(spent_on, model_id, effort, user_id, token_id, change)
ON CONFLICT (month, project_id, spent_on, model_id, effort, user_id, token_id) DO UPDATE SET {_ADDED}"""  # noqa: S608 - a constant of ours
