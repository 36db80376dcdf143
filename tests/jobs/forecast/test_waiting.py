"""What waiting would have saved, from the sums of a month."""

from decimal import Decimal

import pytest

from jobs import clock, forecast
from jobs.forecast import Waiting
from jobs.models import Job, ModelSpec, MonthlySpend, Project, Status, User, Workspace
from jobs.models.questions import ask_in_step
from jobs.models.rollups import ModelSum
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


def done(project: Project, by: User, model: str = "gpt-6-sol", **spec: str) -> Job:
    return a_job(project, by, Status.COMPLETED, spec={"model": model, "mode": "standard", **spec})


def waiting(*projects: Project) -> Waiting | None:
    today, ids = Workspace.objects.the().today(), [one.pk for one in projects]
    month = clock.month_of(today)
    spent: dict[str, tuple[Decimal, int]] = {}
    for row in map(ModelSum._make, MonthlySpend.objects.of_projects(ids).by_model([month])):
        cost, jobs = spent.get(row.model, (Decimal(0), 0))
        spent[row.model] = cost + row.cost, jobs + row.jobs
    waited = forecast.Waited(ids, month, today)
    ask_in_step(waited.asking())
    return waited.would_have_saved(spent)


def test_jobs_answered_at_once_could_have_cost_less(project: Project, mira: User) -> None:
    at_once = [done(project, mira), done(project, mira, "gpt-6-luna")]
    done(project, mira, window="8h")
    done(project, mira, window="2h")
    whole = sum(Job.objects.get(pk=job.pk).cost for job in at_once)
    assert waiting(project) == Waiting(whole * Decimal("0.4"), 2, 8)


def test_nothing_could_have_been_saved(project: Project, mira: User) -> None:
    assert waiting(project) is None
    done(project, mira, window="8h")
    assert waiting(project) is None
    done(project, mira, "gpt-6-luna")
    assert waiting() is None
    ModelSpec.objects.update(completion_windows=["soonest"])
    assert waiting(project) is None
