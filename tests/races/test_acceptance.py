"""Sends that are accepted while everything is paused: neither waits for the other for ever."""

import threading

import pytest
from django.db import connection, transaction

from jobs import lifecycle
from jobs.access import Role
from jobs.lifecycle import claiming, sending
from jobs.models import Attempt, AttemptState, Connection, Project, User
from jobs.openai_client import Outcome
from tests.factories import a_project, a_spec
from tests.fake_api import FakeApi
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def wait_for_waiting(count: int) -> None:
    """Wait until so many sessions wait for a lock."""
    with connection.cursor() as cursor:
        for _ in range(1_000):
            cursor.execute(
                "SELECT count(*), pg_sleep(0.01) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0] >= count:
                return
    raise AssertionError("nobody waits")


def test_pausing_everything_beside_acceptances_on_two_connections_is_no_deadlock(
    api: FakeApi, person: User, project: Project
) -> None:
    other = a_project("other", base_url="http://127.0.0.1:9/v1", members={person: Role.MANAGER})
    for one in (project, other):
        lifecycle.submit(a_spec(one, person))
    sends = claiming.claim_sends(10)
    outcomes = [Outcome(send, "create", body=api.body(f"resp_{send.attempt_id}")) for send in sends]
    first, second = sorted([project.connection_id, other.connection_id])
    for pk in (second, first):  # their rows lie in this order now
        Connection.objects.filter(pk=pk).update(accepted_at=None)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE jobs_connection")
    is_held, is_paused = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Connection.objects.select_for_update().get(pk=first)
            is_held.set()
            wait_for_waiting(2)

    def pause() -> int:
        is_held.wait(10)
        is_paused.set()
        return lifecycle.pause_all("", by=person)

    def accept() -> int:
        is_paused.wait(10)
        wait_for_waiting(1)
        return len(sending.write_back_accepted(outcomes))

    assert at_once([hold, pause, accept]) == [None, 2, 0]
    assert set(Attempt.objects.values_list("state", flat=True)) == {AttemptState.KNOWN}
