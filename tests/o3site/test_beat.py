from datetime import timedelta

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.utils import timezone
from django_q.models import OrmQ

from o3site import beat


@pytest.fixture(autouse=True)
def _own_stamp(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr(beat, "STAMP", tmp_path_factory.mktemp("run") / "beat")


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> beat.Broker:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return beat.Broker(list_key=settings.CLUSTER_NAME)


def put(queue: str) -> OrmQ:
    return OrmQ.objects.create(key=queue, payload=queue, lock=timezone.now() - timedelta(seconds=1))


@pytest.mark.django_db
def test_a_cluster_takes_from_the_shared_queue_and_its_own_in_order(broker: beat.Broker) -> None:
    first, second = put(beat.OWN_QUEUE), put(settings.CLUSTER_NAME)
    assert [broker.dequeue(), broker.dequeue(), broker.dequeue()] == [
        [(first.pk, beat.OWN_QUEUE)],
        [(second.pk, settings.CLUSTER_NAME)],
        [],
    ]


@pytest.mark.django_db
def test_the_beat_of_another_machine_is_left_to_it(broker: beat.Broker) -> None:
    put(f"{settings.CLUSTER_NAME}-another")
    assert broker.dequeue() == []


@pytest.mark.django_db
def test_a_message_that_was_taken_comes_back_only_after_the_retry_time(broker: beat.Broker) -> None:
    put(settings.CLUSTER_NAME)
    assert broker.dequeue()
    assert broker.dequeue() == []
    assert OrmQ.objects.get().lock > timezone.now() + timedelta(seconds=settings.Q_CLUSTER["retry"] - 10)


@pytest.mark.django_db(transaction=True)
def test_unanswered_beats_do_not_pile_up() -> None:
    beat.ring()
    beat.ring()
    assert [message.key for message in OrmQ.objects.all()] == [beat.OWN_QUEUE]
    assert OrmQ.objects.get().task["func"] is beat.stamp


@pytest.mark.django_db(transaction=True)
def test_ringing_does_not_hang_with_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("5s",)
            cursor.execute("SET LOCAL statement_timeout = '10ms'")
            cursor.execute("SELECT pg_sleep(60)")

    monkeypatch.setattr(beat, "async_task", hang)
    with pytest.raises(OperationalError):
        beat.ring()
    monkeypatch.undo()
    beat.ring()


def test_every_answer_can_be_told_from_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.lifecycle.note_beat", lambda: None)
    monkeypatch.setattr("jobs.lifecycle.wake", lambda: None)
    assert beat.last() == 0
    beat.stamp()
    assert beat.last() > 0


def test_an_answer_counts_even_if_looking_for_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OperationalError

    monkeypatch.setattr("jobs.lifecycle.note_beat", fail)
    with pytest.raises(OperationalError):
        beat.stamp()
    assert beat.last() > 0
