"""Several machines whose rule falls due at the same moment decide once, and beside a person not at all."""

import pytest
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.lifecycle import Decision, NotUnconfirmed
from jobs.lifecycle.ruling import decide_due
from jobs.models import Attempt, Event, Job, Project, Status, UnconfirmedRule, User
from jobs.openai_client import OutcomeUnknown
from tests.factories import a_spec
from tests.fake_api import FakeApi
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def job(api: FakeApi, person: User, project: Project) -> Job:
    """An unconfirmed job that is to be sent again now."""
    made = lifecycle.submit(a_spec(project, person))
    api.replies.append(OutcomeUnknown("The connection broke.", code="connection_lost"))
    api.run("send")
    Project.objects.update(unconfirmed_rule=UnconfirmedRule.RESEND)
    Attempt.objects.update(rule_due_at=Now())
    return made


def test_of_four_machines_one_sends_again(job: Job) -> None:
    found = at_once([decide_due] * 4)
    assert sorted(map(str, found)) == ["0", "0", "0", "1"]
    assert Attempt.objects.filter(job=job).count() == 2
    assert Event.objects.filter(kind="decided_resend").count() == 1


def test_a_person_and_the_rule_do_not_both_decide(job: Job, person: User) -> None:
    found = at_once([decide_due, lambda: lifecycle.resolve(job.pk, Decision.LOST, by=person)])
    job.refresh_from_db()
    by_rule, by_person = found
    if isinstance(by_person, Exception):
        assert (type(by_person), by_rule, job.status) == (NotUnconfirmed, 1, Status.WAITING)
    else:
        assert (by_rule, job.status) == (0, Status.FAILED)
