"""What waiting would have saved, from the sums of a month."""

from decimal import Decimal

import pytest

from jobs import clock, forecast
from jobs.access import Role
from jobs.forecast import Waiting
from jobs.models import Connection, Job, Kind, ModelSpec, MonthlySpend, Project, Status, User, Workspace
from jobs.models.questions import ask_in_step
from jobs.models.rollups import ModelSum
from tests.factories import a_project
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


@pytest.mark.parametrize("kind", [Kind.AZURE, Kind.COMPATIBLE])
def test_nobody_waits_where_nothing_is_offered_for_it(project: Project, mira: User, kind: Kind) -> None:
    elsewhere = a_project("bugs", is_practice=False, members={mira: Role.SUBMITTER})
    for one, effort in ((project, "low"), (elsewhere, "low"), (elsewhere, "high")):
        job = done(one, mira, effort=effort)
    done(elsewhere, mira, window="8h")
    assert waiting(elsewhere, project) == Waiting(job.cost * 3 * Decimal("0.4"), 3, 8)
    # The price is the same; what did wait there is not taken off either.
    Connection.objects.filter(pk=elsewhere.connection_id).update(kind=kind)
    assert waiting(elsewhere, project) == Waiting(job.cost * Decimal("0.4"), 1, 8)
    assert waiting(elsewhere) is None


def test_nothing_could_have_been_saved(project: Project, mira: User) -> None:
    assert waiting(project) is None
    done(project, mira, window="8h")
    assert waiting(project) is None
    done(project, mira, "gpt-6-luna")
    assert waiting() is None
    ModelSpec.objects.update(completion_windows=["soonest"])
    assert waiting(project) is None
