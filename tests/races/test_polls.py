"""A job is polled by one pump at a time, and a cancel races its end to one charge."""

import datetime as dt
import threading
import uuid
from collections import Counter

import pytest
from django.db import transaction
from django.db.models import CharField, F, Value
from django.db.models.functions import Concat, Now

from jobs import lifecycle
from jobs.lifecycle import polling
from jobs.models import Attempt, AttemptState, BudgetPeriod, Event, Job, LedgerEntry, Project, Status, User
from jobs.openai_client import Outcome
from tests.factories import a_spec
from tests.fake_api import FakeApi
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def in_flight(project: Project, person: User, count: int) -> list[Job]:
    """Make jobs in flight, each with the hold of one submitted the usual way."""
    spec = a_spec(project, person, max_output_tokens=100)
    with transaction.atomic():
        jobs = [lifecycle.submit(spec) for _ in range(count)]
    Attempt.objects.update(
        state=AttemptState.KNOWN,
        sent_at=Now(),
        response_id=Concat(Value("resp_"), F("pk"), output_field=CharField()),
    )
    Job.objects.update(status=Status.QUEUED, next_action_at=Now())
    return jobs


def test_two_pumps_poll_five_hundred_jobs_once_each(person: User, project: Project) -> None:
    in_flight(project, person, 10)
    # The rest are copies without money: what is raced for here are the rows of the clock.
    model = Job.objects.all()[0]
    copies = []
    for number in range(490):
        copy = Job.objects.all()[0]
        copy.pk, copy.uuid, copy.short_id = None, uuid.uuid4(), f"j_{number}"
        copy.next_action_at, copy.submission_key = model.next_action_at, None
        copies.append(copy)
    made = Job.objects.bulk_create(copies)
    price = Attempt.objects.all()[0].price
    Attempt.objects.bulk_create(
        Attempt(
            job=job, number=1, state=AttemptState.KNOWN, connection_id=project.connection_id, price=price,
            worst_case=0, response_id=f"copy_{job.pk}", sent_at=Now(),
        )
        for job in made
    )  # fmt: skip
    # Jobs of an hour are asked every 20 s: none falls due a second time while a busy machine asks the others.
    Attempt.objects.update(sent_at=Now() - dt.timedelta(hours=1))
    seen: Counter[int] = Counter()

    def pump() -> None:
        while polls := polling.claim_polls(100):
            seen.update(poll.job_id for poll in polls)
            running = [
                Outcome(poll, "retrieve", body={"id": poll.response_id, "status": "in_progress"})
                for poll in polls
            ]
            polling.write_back(running, stretched=1)

    assert at_once([pump, pump]) == [None, None]
    assert len(seen) == 500
    assert set(seen.values()) == {1}
    assert set(Job.objects.values_list("status", flat=True)) == {"in_progress"}
    assert Event.objects.filter(kind="in_progress").count() == 500
    Attempt.objects.filter(response_id__startswith="copy_").delete()
    Event.objects.filter(job__in=made).delete()


def test_a_cancel_against_the_final_poll_ends_in_one_charge_two_hundred_times(
    api: FakeApi, person: User, project: Project
) -> None:
    jobs = in_flight(project, person, 200)
    claims = {poll.job_id: poll for poll in polling.claim_polls(200)}
    line = threading.Barrier(2)

    def cancel() -> Counter[str]:
        found: Counter[str] = Counter()
        for job in jobs:
            line.wait(timeout=30)
            try:
                lifecycle.cancel(job.pk)
                found["asked"] += 1
            except lifecycle.NotCancellable:
                found["too late"] += 1
        return found

    def poll() -> None:
        for job in jobs:
            body = api.body(claims[job.pk].response_id, "completed")
            line.wait(timeout=30)
            polling.write_back([Outcome(claims[job.pk], "retrieve", body=body)], stretched=1)

    cancelled, polled = at_once([cancel, poll])
    assert polled is None
    assert isinstance(cancelled, Counter)
    assert cancelled.total() == 200
    assert set(Job.objects.values_list("status", "next_action_at")) == {("completed", None)}
    charges = LedgerEntry.objects.filter(kind="charge")
    assert charges.count() == charges.values("job").distinct().count() == 200
    assert Event.objects.filter(kind="completed").count() == 200
    assert BudgetPeriod.objects.get().held == 0
    # Asked too late, upstream is asked for nothing more.
    api.run("poll")
    assert (api.gets, api.cancels) == ([], [])
