"""Slots of a connection that two installations share: never one too many, and nobody's are all of them."""

import threading
import time
from typing import Any

import pytest
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.access import Role
from jobs.lifecycle import claiming, sending
from jobs.models import Attempt, AttemptState, Connection, Event, Job, Project, Prompt, Status, User
from jobs.openai_client import Outcome
from tests.copies import copies_of
from tests.factories import a_project, a_spec
from tests.fake_api import FakeApi
from tests.races.threads import at_once
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.django_db(transaction=True)

CAP = 7
SENT_WITHIN = 2.0  # seconds


class Here(threading.local):
    """Settings of the installation that a thread belongs to."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self.INSTANCE = f"instance-{threading.get_ident()}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._settings, name)


def test_two_installations_never_have_more_open_than_allowed(
    api: FakeApi, person: User, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = lifecycle.submit(a_spec(project, person))
    copies = copies_of(job, 199)
    Connection.objects.update(max_in_flight=CAP, accepted_at=Now())
    monkeypatch.setattr(claiming, "settings", Here(claiming.settings))
    waiting, most = Job.objects.filter(status=Status.WAITING), []

    def pump() -> int:
        sent = 0
        while waiting.exists():
            sends = claiming.claim_sends(64)
            most.append(Attempt.objects.open().count())
            for send in sends:
                body = api.body(f"resp_{send.attempt_id}")
                sending.write_back(Outcome(send, "create", body=body))
            most.append(Attempt.objects.open().count())
            ended = [send.attempt_id for send in sends]
            Attempt.objects.filter(pk__in=ended).update(state=AttemptState.ENDED, end_seen_at=Now())
            sent += len(sends)
        return sent

    sent = at_once([pump, pump])
    assert sum(map(int, map(str, sent))) == 200
    assert max(most) == CAP
    assert Attempt.objects.filter(state=AttemptState.ENDED).count() == 200
    assert Attempt.objects.values("instance").distinct().count() == 2
    forget(copies)
    # The one with a hold goes on, for the books.
    Attempt.objects.update(state=AttemptState.KNOWN, end_seen_at=None)


@pytest.mark.thorough
def test_a_job_is_sent_within_two_seconds_while_a_thousand_of_another_project_wait(
    sandbox: SandboxProcess, person: User
) -> None:
    members = {person: Role.MANAGER}
    many = a_project("many", base_url=sandbox.base_url, members=members)
    one = a_project("one", base_url=sandbox.base_url, members=members)
    Connection.objects.update(max_in_flight=20, accepted_at=Now())
    long = a_spec(many, person, prompt="[[sandbox: seconds=600]]", max_output_tokens=100)
    with transaction.atomic():
        first = [lifecycle.submit(long) for _ in range(25)][-1]
    copies = copies_of(first, 975)
    known = Attempt.objects.filter(state=AttemptState.KNOWN)
    stop = claiming.settings.STOP_FILE

    def wait_for(attempts: Any, count: int, within: float) -> float:
        began = time.monotonic()
        while attempts.count() < count:
            assert time.monotonic() - began < within
            time.sleep(0.02)
        return time.monotonic() - began

    def pump() -> None:
        while not stop.exists():
            lifecycle.run_pump("send")

    def submit() -> float:
        try:
            wait_for(known, 19, within=20)
            job = lifecycle.submit(a_spec(one, person, prompt="[[sandbox: seconds=600]]"))
            return wait_for(known.filter(job=job), 1, within=SENT_WITHIN)
        finally:
            stop.touch()

    _, took = at_once([pump, submit])
    assert isinstance(took, float), took
    assert known.filter(job__project=many).count() == 19
    assert Job.objects.filter(status=Status.WAITING).count() == 981
    forget(copies)


def forget(copies: QuerySet[Job]) -> None:
    """Delete jobs without money, which no audit would understand."""
    for rows in (Event, Attempt, Prompt):
        rows.objects.filter(job__in=copies).delete()
    copies.delete()
