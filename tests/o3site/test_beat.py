from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from pytest_django.fixtures import Settings

from jobs.models import Installation
from o3site import beat, datadir

pytestmark = pytest.mark.usefixtures("run_folder")

type Clock = list[float]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Seconds that a test lets pass."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return now


@pytest.fixture
def broker(clock: Clock, settings: Settings) -> beat.Broker:
    """A broker that has just made a beat."""
    made = beat.Broker(list_key=settings.CLUSTER_NAME)
    ((number, _),) = made.dequeue()
    assert number == 0
    return made


def put(queue: str) -> OrmQ:
    return OrmQ.objects.create(key=queue, payload=queue, lock=timezone.now() - timedelta(seconds=1))


@pytest.mark.django_db
def test_messages_are_taken_in_order_and_those_of_other_queues_are_left(
    broker: beat.Broker, settings: Settings
) -> None:
    put("another")
    first, second = put(settings.CLUSTER_NAME), put(settings.CLUSTER_NAME)
    assert [broker.dequeue(), broker.dequeue(), broker.dequeue()] == [
        [(first.pk, settings.CLUSTER_NAME)],
        [(second.pk, settings.CLUSTER_NAME)],
        [],
    ]


@pytest.mark.django_db
def test_a_message_that_was_taken_comes_back_only_after_the_retry_time(
    broker: beat.Broker, settings: Settings
) -> None:
    put(settings.CLUSTER_NAME)
    assert broker.dequeue()
    assert broker.dequeue() == []
    assert OrmQ.objects.get().lock > timezone.now() + timedelta(seconds=settings.Q_CLUSTER["retry"] - 10)


@pytest.mark.django_db
def test_every_five_seconds_a_beat_comes_before_the_backlog(
    broker: beat.Broker, clock: Clock, settings: Settings
) -> None:
    message = put(settings.CLUSTER_NAME)
    clock[0] += 5.0
    (number, package), *rest = broker.dequeue()
    assert (number, [pk for pk, _ in rest]) == (0, [message.pk])
    assert SignedPackage.loads(package)["func"] is beat.stamp
    clock[0] += 4.9
    assert broker.dequeue() == []


@pytest.mark.django_db
def test_a_beat_leaves_no_row(broker: beat.Broker, clock: Clock) -> None:
    clock[0] += 5.0
    ((number, _),) = broker.dequeue()
    broker.acknowledge(number)
    assert not OrmQ.objects.exists()


@pytest.mark.django_db
def test_workers_are_not_blamed_while_the_database_does_not_answer(
    broker: beat.Broker, clock: Clock, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError

    assert datadir.touched(settings.OUTAGE_FILE) == 0
    monkeypatch.setattr(broker, "_next", fail)
    clock[0] += 5.0
    with pytest.raises(OperationalError):
        broker.dequeue()
    assert datadir.touched(settings.OUTAGE_FILE) > 0


def test_a_cluster_is_made_without_a_database(settings: Settings) -> None:
    # Not marked django_db: to open a connection would fail.
    connection.close()
    beat.Broker(list_key=settings.CLUSTER_NAME)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace what a beat does in the database."""

    def replace(**acts: Any) -> None:
        for name in ("note_beat", "wake"):
            monkeypatch.setattr(f"jobs.lifecycle.{name}", acts.get(name, lambda: None))
        monkeypatch.setattr("jobs.management.first_start.needs_sandbox", acts.get("needs_sandbox", bool))

    return replace


def test_every_answer_can_be_told_from_the_one_before(quiet: Callable[..., None], settings: Settings) -> None:
    quiet()
    assert datadir.touched(settings.BEAT_FILE) == 0
    beat.stamp()
    assert datadir.touched(settings.OUTAGE_FILE, settings.BEAT_FILE) > 0


def test_an_answer_counts_even_if_looking_for_work_fails(
    quiet: Callable[..., None], settings: Settings
) -> None:
    def fail() -> None:
        raise OperationalError

    quiet(note_beat=fail)
    with pytest.raises(OperationalError):
        beat.stamp()
    assert datadir.touched(settings.BEAT_FILE) > 0


@pytest.mark.django_db
def test_a_late_beat_does_not_unsay_the_farewell(settings: Settings) -> None:
    settings.STOP_FILE.touch()
    beat.stamp()
    assert not Installation.objects.exists()


def test_the_beat_says_whether_practice_needs_the_sandbox(
    quiet: Callable[..., None], settings: Settings
) -> None:
    for is_needed in (False, True, True, False):
        quiet(needs_sandbox=lambda is_needed=is_needed: is_needed)
        beat.stamp()
        assert settings.PRACTICE_FILE.exists() is is_needed
