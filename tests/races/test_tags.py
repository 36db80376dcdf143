"""A job's cost follows its tags, whoever changes them while it is charged; the audit looks afterwards."""

from collections.abc import Callable
from decimal import Decimal
from itertools import batched

import pytest
from django.db import transaction

from jobs import lifecycle, spend
from jobs.models import Basis, DailyTagSpend, Job, Project, User
from tests.factories import a_spec
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def test_tags_changed_while_jobs_are_charged_get_all_of_their_cost(person: User, project: Project) -> None:
    spec = a_spec(project, person, max_output_tokens=1_000, tags=("a", "b"))
    jobs = [lifecycle.submit(spec) for _ in range(8)]

    def settle(job: Job) -> Callable[[], None]:
        def settle() -> None:
            with transaction.atomic():
                spend.settle(job.attempt_set.get(), cost=Decimal("0.01"), basis=Basis.USAGE)

        return settle

    def retag(job: Job, *tags: str) -> Callable[[], None]:
        return lambda: lifecycle.retag(job.pk, tags, by=person)

    for pair in batched(jobs, 2, strict=True):
        acts = [act for job in pair for act in (settle(job), retag(job, "c", "b"), retag(job, "c"))]
        assert at_once(acts) == [None] * 6
    for job in jobs:
        lifecycle.retag(job.pk, ["b", "c"], by=person)
    rows = {row.tag: (row.cost, row.jobs) for row in DailyTagSpend.objects.all()}
    assert rows == {"b": (Decimal("0.08"), 8), "c": (Decimal("0.08"), 8)}
