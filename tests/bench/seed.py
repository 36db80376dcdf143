"""Writes a year of work straight into the tables, for benches: what the product would have made, faster."""

import datetime as dt
import random
from collections.abc import Sequence
from decimal import Decimal
from importlib import import_module

from django.db import connection

from jobs import pricing, rendering, spend
from jobs.access import Role
from jobs.models import (
    Answer,
    Attempt,
    Connection,
    Event,
    Job,
    LedgerEntry,
    Membership,
    ModelSpec,
    Price,
    Project,
    Prompt,
    RawResponse,
    User,
)
from jobs.pricing import Usage

DAYS = 365
PEOPLE, PROJECTS, IN_FLIGHT = 8, 5, 12
BATCH = 1000
ENDS = ["completed"] * 18 + ["failed", "incomplete"]
WORST = Decimal("1.25")  # USD
TABLE = "| n | holds |\n|---|---|\n| 1 | yes |"
STEP = "Every step of the argument follows from the one before it. "
ANSWER = f"## So\n\nBy **compactness** it holds: $x^2 \\ge 0$.\n\n{TABLE}\n\n{STEP * 40}"
USAGE = {
    "input_tokens": 2_000,
    "input_tokens_details": {"cached_tokens": 500},
    "output_tokens": 9_000,
    "output_tokens_details": {"reasoning_tokens": 8_000},
    "total_tokens": 11_000,
}
ROLLUPS = """
INSERT INTO jobs_dailyspend (spent_on, project_id, model_id, effort, user_id, cost, jobs,
  input_tokens, cached_tokens, output_tokens, reasoning_tokens, buckets)
SELECT l.spent_on, l.project_id, j.model_id, j.effort, l.user_id, sum(l.amount), count(*),
  2000 * count(*), 500 * count(*), 9000 * count(*), 8000 * count(*), array_fill(0, ARRAY[%s])
FROM jobs_ledgerentry l JOIN jobs_job j ON j.id = l.job_id
WHERE l.kind = 'charge' GROUP BY 1, 2, 3, 4, 5
"""


SUMS_OF_MONTHS = import_module("jobs.migrations.0012_sums_of_a_month").FILL


def fill(count: int) -> User:
    """Write `count` jobs, all ended and charged but the newest few; return an operator."""
    draw, now = random.Random(11), dt.datetime.now(dt.UTC)
    price = Price.objects.filter(model="gpt-5.6-sol", valid_from__lte=now).latest("valid_from")
    people = [User.objects.create_user(f"p{n}@example.com", name=f"Person {n}") for n in range(PEOPLE)]
    projects = [_project(f"project-{number}", people) for number in range(PROJECTS)]
    for first in range(0, count, BATCH):
        numbers = range(first, min(count, first + BATCH))
        jobs = [_job(number, count, price.model, draw, projects, people, now) for number in numbers]
        _write(jobs, price)
    with connection.cursor() as cursor:
        cursor.execute(ROLLUPS, [pricing.BUCKETS])
        cursor.execute(SUMS_OF_MONTHS)
        cursor.execute("ANALYZE")
    return User.objects.create_superuser("bench@example.com", name="Bench")


def _project(slug: str, people: Sequence[User]) -> Project:
    project = Project.objects.create(name=slug.title(), slug=slug, connection=Connection.objects.get())
    spend.set_cap(Decimal(1_000_000), project=project)
    for person in people:
        Membership.objects.create(user=person, project=project, role=Role.SUBMITTER)
    return project


def _job(
    number: int,
    count: int,
    spec: ModelSpec,
    draw: random.Random,
    projects: Sequence[Project],
    people: Sequence[User],
    now: dt.datetime,
) -> Job:
    """Return the n-th oldest job; the last few are running."""
    is_running = number >= count - IN_FLIGHT
    ago = dt.timedelta(minutes=1) if is_running else dt.timedelta(days=DAYS) * (1 - number / count)
    status = "in_progress" if is_running else draw.choice(ENDS)
    took = dt.timedelta(seconds=draw.randint(20, 900))
    return Job(
        project=draw.choice(projects),
        submitted_by=draw.choice(people),
        model=spec,
        effort="high",
        max_output_tokens=40_000,
        tags=[f"tag-{number % 7}"],
        status=status,
        created_at=now - ago,
        sent_at=now - ago,
        finished_at=None if is_running else now - ago + took,
        input_bound=3_000,
        worst_case=WORST,
        error_code="server_error" if status == "failed" else "",
        incomplete_reason="max_output_tokens" if status == "incomplete" else "",
        fingerprint=f"{number:064x}",
    )


def _write(jobs: Sequence[Job], price: Price) -> None:
    """Write jobs with all that belongs to them."""
    usage = Usage.from_wire({"usage": USAGE})
    assert usage is not None
    cost = pricing.charge(price.rates, usage, service_tier="default", window="soonest").total
    for job in jobs:
        job.cost = cost if job.is_final else Decimal(0)
    Job.objects.bulk_create(jobs)
    prompt = "Prove or refute it. " * 50
    Prompt.objects.bulk_create(Prompt(job=job, title=f"Lemma {job.pk}", text=prompt) for job in jobs)
    attempts = Attempt.objects.bulk_create(_attempt(job, price) for job in jobs)
    ended = [(attempt.job, attempt) for attempt in attempts if attempt.job.is_final]
    RawResponse.objects.bulk_create(RawResponse(attempt=made, body={"output": ANSWER}) for _, made in ended)
    html, version = rendering.render(ANSWER), rendering.RENDERER_VERSION
    Answer.objects.bulk_create(
        Answer(job=job, attempt=attempt, text=ANSWER, html=html, renderer_version=version)
        for job, attempt in ended
    )
    Event.objects.bulk_create(
        Event(job=job, kind=kind, at=job.created_at)
        for job in jobs
        for kind in ("submitted", "accepted", "in_progress", *([job.status] if job.is_final else []))
    )
    LedgerEntry.objects.bulk_create(
        LedgerEntry(
            kind=kind,
            project=attempt.job.project,
            user=attempt.job.submitted_by,
            job=attempt.job,
            attempt=attempt,
            month=attempt.job.created_at.date().replace(day=1),
            spent_on=attempt.job.created_at.date(),
            amount=amount,
            basis="usage" if kind == "charge" else "",
            price=price,
            idempotency_key=f"bench:{attempt.pk}:{kind}",
            created_at=attempt.job.created_at,
        )
        for attempt in attempts
        for kind, amount in (("hold", WORST), ("release", -WORST), ("charge", cost))
        if kind == "hold" or attempt.job.is_final
    )


def _attempt(job: Job, price: Price) -> Attempt:
    return Attempt(
        job=job,
        number=1,
        state="ended" if job.is_final else "known",
        connection=job.project.connection,
        price=price,
        worst_case=WORST,
        response_id=f"resp_{job.pk}",
        sent_at=job.sent_at,
        ended_at=job.finished_at,
        end_seen_at=job.finished_at,
        end_status=job.status if job.is_final else "",
        usage=USAGE if job.is_final else None,
        cost=job.cost,
        service_tier="default",
    )
