"""An event that comes twice at the same moment is kept once, and what it announces is booked once."""

import datetime as dt
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from jobs import lifecycle
from jobs.access import Role
from jobs.lifecycle import Announcement, deliveries, polling
from jobs.models import (
    Attempt,
    AttemptState,
    Connection,
    Event,
    Job,
    Project,
    PumpLease,
    Status,
    User,
    WebhookDelivery,
)
from jobs.openai_client import Outcome, OutcomeUnknown
from tests.factories import a_project, a_spec
from tests.fake_api import FakeApi
from tests.hooks import deliver, event, with_secret
from tests.races.threads import at_once
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.django_db(transaction=True)


def announcement(response_id: str, webhook_id: str = "wh_1") -> Announcement:
    return Announcement(webhook_id, "response.completed", response_id, timezone.now())


def test_of_a_delivery_that_comes_twelve_times_at_once_one_counts(api: FakeApi, project: Project) -> None:
    found = at_once([lambda: lifecycle.receive(project.connection_id, announcement(""))] * 12)
    assert sorted(map(str, found)) == ["False"] * 11 + ["True"]
    assert WebhookDelivery.objects.get().repeats == 11


def test_an_event_beside_a_poll_that_saw_it_run_leaves_the_job_due(
    api: FakeApi, person: User, project: Project
) -> None:
    job = lifecycle.submit(a_spec(project, person))
    api.run("send")
    api.make_due()
    (poll,) = polling.claim_polls(10)
    body = api.body(poll.response_id, "in_progress")
    found = at_once(
        [
            lambda: polling.write_back([Outcome(poll, "retrieve", body=body)], stretched=1),
            lambda: lifecycle.receive(project.connection_id, announcement(poll.response_id)),
        ]
    )
    assert found == [None, True]
    job.refresh_from_db()
    assert job.next_action_at is not None
    assert job.next_action_at <= timezone.now()


def the_job() -> QuerySet[Any]:
    return Job.objects.select_for_update()


def the_lease_of_a_pump_that_runs() -> QuerySet[Any]:
    return PumpLease.objects.filter(kind="poll").select_for_update(no_key=True)


@pytest.mark.parametrize("what", [the_job, the_lease_of_a_pump_that_runs])
def test_a_delivery_is_taken_within_a_second_whatever_is_locked(
    api: FakeApi, person: User, project: Project, what: Callable[[], QuerySet[Any]]
) -> None:
    job = lifecycle.submit(a_spec(project, person))
    api.run("send")
    api.run("poll")  # makes the lease
    with_secret(project.connection)
    response_id = Attempt.objects.get().response_id
    running = {"holder": uuid.uuid4(), "expires_at": Now() + dt.timedelta(minutes=1)}
    PumpLease.objects.filter(kind="poll").update(**running)
    is_locked, is_answered = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                assert list(what())
                is_locked.set()
                assert is_answered.wait(30)
        finally:
            connection.close()

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        assert is_locked.wait(30)
        began = time.monotonic()
        answer = deliver(project.connection, event(response_id))
        took = time.monotonic() - began
    finally:
        is_answered.set()
        thread.join(30)
    assert (answer.status_code, took < 1) == (204, True), took
    found = WebhookDelivery.objects.get()
    assert (found.state, found.attempt) == ("pending", None)
    PumpLease.objects.update(holder=None, expires_at=Now())
    api.put(job, "completed")
    for _ in range(2):
        lifecycle.run_pump("poll")
    job.refresh_from_db()
    found.refresh_from_db()
    assert (job.status, found.state) == (Status.COMPLETED, "done")


def test_several_pumps_look_up_and_adopt_a_lost_send_once(
    api: FakeApi, person: User, project: Project
) -> None:
    job = lifecycle.submit(a_spec(project, person))
    api.replies.append(OutcomeUnknown("The connection broke.", code="connection_lost"))
    api.run("send")
    nonce = str(Attempt.objects.get().nonce)
    api.responses["resp_9"] = api.body("resp_9", "completed", metadata={"ponder_attempt": nonce})
    for number in range(3):
        lifecycle.receive(project.connection_id, announcement("resp_9", f"wh_{number}"))
    found = at_once([lambda: lifecycle.run_pump("poll")] * 3)
    assert found == [None] * 3
    lifecycle.run_pump("poll")
    job.refresh_from_db()
    assert job.status == Status.COMPLETED
    assert Event.objects.filter(kind="adopted").count() == 1
    assert set(WebhookDelivery.objects.values_list("state", flat=True)) == {"done"}
    assert api.gets.count("resp_9") <= 5


def test_a_send_the_sandbox_accepted_and_nobody_heard_of_is_adopted_by_its_event(
    sandbox: SandboxProcess, person: User
) -> None:
    project = a_project(base_url=sandbox.base_url, members={person: Role.MANAGER})
    prompt = "Is it true? [[sandbox: fault=reset_after seconds=0 outcome=completed]]"
    job = lifecycle.submit(a_spec(project, person, prompt=prompt))
    theirs = sandbox.create("Of another system [[sandbox: seconds=0]]").json["id"]
    lifecycle.run_pump("send")
    attempt = Attempt.objects.get()
    assert attempt.state == AttemptState.UNCONFIRMED
    (ours,) = {one["id"] for one in sandbox.log()["responses"]} - {theirs}
    for number, response_id in enumerate((theirs, ours)):
        lifecycle.receive(project.connection_id, announcement(response_id, f"wh_{number}"))
    for _ in range(2):  # whose they are, and then how ours has ended
        lifecycle.run_pump("poll")
    job.refresh_from_db()
    assert (job.status, job.cost > 0) == (Status.COMPLETED, True)
    states = dict(WebhookDelivery.objects.values_list("response_id", "state"))
    assert states == {theirs: "foreign", ours: "done"}
    gets = {one["id"]: one["gets"] for one in sandbox.log()["responses"]}
    assert gets == {theirs: 1, ours: 2}
    assert sandbox.stats()["posts"] == 2


def test_polls_become_rare_and_usual_again_once_each(api: FakeApi, person: User, project: Project) -> None:
    job = lifecycle.submit(a_spec(project, person))
    api.run("send")
    api.put(job, "completed")
    lifecycle.receive(project.connection_id, announcement(Attempt.objects.get().response_id))
    lifecycle.run_pump("poll")
    assert at_once([lifecycle.wake] * 4) == [None] * 4
    assert Connection.objects.filter(relaxed_at__isnull=False).count() == 1
    WebhookDelivery.objects.update(received_at=Now() - dt.timedelta(minutes=11))
    assert at_once([lifecycle.wake] * 4) == [None] * 4
    assert not Connection.objects.filter(relaxed_at__isnull=False).exists()
    assert Job.objects.get().status == Status.COMPLETED


def test_refusals_are_counted_once_each_also_those_that_come_first_at_once(project: Project) -> None:
    for _ in range(2):
        at_once([lambda: deliveries.refuse(project.connection_id, "Message timestamp too old")] * 8)
    assert sum(one.times for one in WebhookDelivery.objects.all()) == 16
