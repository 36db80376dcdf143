"""Nothing is sent twice: many senders, one POST."""

import threading
from contextlib import suppress

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.access import Role
from jobs.lifecycle import claiming, pump, sending
from jobs.models import Attempt, AttemptState, Job, LedgerEntry, Project, Status, User
from jobs.openai_client import Retryable
from tests.factories import a_project, a_spec
from tests.fake_api import FakeApi
from tests.races.threads import at_once
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.django_db(transaction=True)


def test_twenty_senders_of_one_job_post_it_once(
    sandbox: SandboxProcess, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = a_project(base_url=sandbox.base_url, members={person: Role.MANAGER})
    job = lifecycle.submit(a_spec(project, person, prompt="[[sandbox: seconds=60]]"))
    # Each round is one claim: a pump stays only while it has something to do.
    monkeypatch.setattr(pump, "falls_due", lambda *_, **__: False)

    def send() -> bool:
        with pump.Session[sending.Send](concurrency=1, on_created=pump._journal) as session:
            sends = pump._Sends(session)
            sends.claim()
            has_claimed = sends.is_busy
            while sends.is_busy:
                sends.write_down()
        return has_claimed

    claims = at_once([send] * 20)
    assert sorted(map(str, claims)) == ["False"] * 19 + ["True"]
    assert sandbox.stats()["posts"] == 1
    job.refresh_from_db()
    assert (job.status, Attempt.objects.get().state) == (Status.QUEUED, AttemptState.KNOWN)


def test_pumps_that_ignore_each_others_leases_still_send_once(
    api: FakeApi, person: User, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = lifecycle.submit(a_spec(project, person))
    api.run("send")
    for number in range(30):
        lifecycle.submit(a_spec(project, person, prompt=f"Lemma {number}?"))

    def claim() -> list[int]:
        return [send.attempt_id for send in claiming.claim_sends(20)]

    found = [one for claims in at_once([claim] * 6) for one in claims]  # type: ignore[union-attr]
    assert len(found) == len(set(found)) == 30
    assert set(Job.objects.exclude(pk=accepted.pk).values_list("status", flat=True)) == {"sending"}


@pytest.mark.parametrize("moment", ["while_sending", "while_waiting"])
def test_a_database_that_drops_its_connections_costs_no_outcome(
    api: FakeApi, person: User, project: Project, moment: str
) -> None:
    jobs = [lifecycle.submit(a_spec(project, person, prompt=f"Lemma {number}?")) for number in range(3)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()

    def drop() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    setattr(api, moment, lambda: at_once([drop]))
    api.replies.extend([Retryable("Away.", code="connect_error")] * 3)
    api.slow, api.step = 1, 1
    with suppress(OperationalError):
        lifecycle.run_pump("send")
    connection.close_if_unusable_or_obsolete()
    assert set(Job.objects.values_list("status", "attempt__state")) == {("waiting", "planned")}
    assert len(api.posts) == len(jobs)


def test_a_submission_does_not_wait_for_a_claim(person: User, project: Project) -> None:
    spec = a_spec(project, person)
    lifecycle.submit(spec)

    def submit() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '2s'")
        lifecycle.submit(spec)

    with transaction.atomic():
        assert len(claiming.claim_sends(1)) == 1
        assert at_once([submit]) == [None]


def test_ten_submissions_with_one_key_make_one_job(person: User, project: Project) -> None:
    spec = a_spec(project, person, submission_key="one")
    jobs = at_once([lambda: lifecycle.submit(spec).pk] * 10)
    assert len(set(map(str, jobs))) == 1
    assert Job.objects.count() == Attempt.objects.count() == LedgerEntry.objects.count() == 1


def test_ten_decisions_about_one_unconfirmed_job_make_one(
    api: FakeApi, person: User, project: Project
) -> None:
    job = lifecycle.submit(a_spec(project, person))
    claiming.claim_sends(1)
    Attempt.objects.update(state=AttemptState.UNCONFIRMED)
    Job.objects.update(status=Status.UNCONFIRMED, claim_token=None, next_action_at=None)
    decisions = list(lifecycle.Decision) * 3
    found = at_once(
        [
            lambda decision=decision: lifecycle.resolve(job.pk, decision, response_id="resp_1")
            for decision in decisions
        ]
    )
    assert sum(isinstance(one, Job) for one in found) == 1
    assert sum(isinstance(one, lifecycle.NotUnconfirmed) for one in found) == len(decisions) - 1


def test_a_cancel_against_the_claim_either_stops_the_job_or_is_remembered(
    person: User, project: Project
) -> None:
    spec = a_spec(project, person, max_output_tokens=100)
    jobs = [lifecycle.submit(spec) for _ in range(60)]
    Job.objects.update(next_action_at=None)
    line = threading.Barrier(2)

    def claim() -> None:
        for _ in jobs:
            line.wait(timeout=30)
            claiming.claim_sends(1)

    def cancel() -> None:
        for job in jobs:
            Job.objects.filter(pk=job.pk).update(next_action_at=Now())
            line.wait(timeout=30)
            lifecycle.cancel(job.pk)

    assert at_once([claim, cancel]) == [None, None]
    assert not Job.objects.filter(cancel_requested_at=None).exists()
    found = set(Job.objects.values_list("status", "attempt__state"))
    assert found <= {("cancelled", "ended"), ("sending", "sending")}
    stopped = Job.objects.filter(status=Status.CANCELLED).count()
    assert LedgerEntry.objects.filter(kind="release").count() == stopped
