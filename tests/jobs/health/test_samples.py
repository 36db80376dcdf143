"""What a scrape answers: numbers of the database, true whoever counted them."""

import datetime as dt
import threading
from decimal import Decimal
from importlib import import_module

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoAssertNumQueries

from jobs import lifecycle
from jobs.access import Role
from jobs.health.samples import scrape
from jobs.models import (
    Attempt,
    Connection,
    Counted,
    Installation,
    Job,
    Project,
    Status,
    Tally,
    User,
    WebhookDelivery,
)
from jobs.models import tally as tallies
from jobs.openai_client import NotFound, OutcomeUnknown, Retryable
from tests.factories import a_project
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit, api, person, project, submit  # noqa: F401 - fixtures
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


def samples() -> dict[str, float]:
    """Scrape, as Prometheus does; return each value by its name and labels."""
    text, _ = scrape("")
    return {
        sample.name + "".join(f" {label}" for label in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_a_job_is_counted_all_the_way(submit: Submit, api: FakeApi) -> None:  # noqa: F811
    job = submit()
    assert samples()["ponder_jobs true waiting"] == 1
    api.replies.append(Retryable("Later.", code="overloaded"))
    api.run("send")
    api.run("send")
    ended_at = timezone.now() - dt.timedelta(seconds=5)
    api.put(job, "in_progress")
    api.run("poll")
    api.lose(job, NotFound("No such response.", code="not_found"))
    api.run("poll")
    api.put(job, "completed", completed_at=ended_at.timestamp())
    api.run("poll")
    found = samples()
    assert "ponder_jobs true waiting" not in found
    assert found["ponder_jobs_ended_total practice true completed"] == 1
    assert found["ponder_sends_total practice accepted"] == 1
    assert found["ponder_sends_total practice retryable"] == 1
    assert found["ponder_polls_total practice completed"] == 1
    assert found["ponder_errors_total practice send retryable"] == 1
    assert found["ponder_errors_total practice poll not_found"] == 1
    assert found["ponder_send_latency_seconds_count practice"] == 1
    assert found["ponder_detection_latency_seconds_bucket practice 4.0"] == 0
    assert found["ponder_detection_latency_seconds_bucket practice 8.0"] == 1
    assert found["ponder_detection_latency_seconds_bucket practice +Inf"] == 1
    assert 5 <= found["ponder_detection_latency_seconds_sum practice"] < 8


def test_a_send_is_timed_from_when_it_was_due(submit: Submit, api: FakeApi) -> None:  # noqa: F811
    submit()
    Job.objects.update(next_action_at=Now() - dt.timedelta(seconds=20))
    lifecycle.run_pump("send")
    found = samples()
    assert found["ponder_send_latency_seconds_bucket practice 15.0"] == 0
    assert found["ponder_send_latency_seconds_bucket practice 30.0"] == 1


@pytest.mark.parametrize("moment", [None, "soon", True, 1e30])
def test_an_end_without_a_moment_is_not_timed(
    submit: Submit,  # noqa: F811
    api: FakeApi,  # noqa: F811
    moment: object,
) -> None:
    job = submit()
    api.run("send")
    api.put(job, "completed", completed_at=moment)
    api.run("poll")
    job.refresh_from_db()
    assert job.status == Status.COMPLETED
    assert not Tally.objects.filter(counted=Counted.DETECTED).exists()


def test_a_clock_that_is_ahead_counts_as_no_time(project: Project) -> None:  # noqa: F811
    later = timezone.now() + dt.timedelta(minutes=1)
    Tally.objects.time(Counted.DETECTED, project.connection_id, later)
    assert samples()["ponder_detection_latency_seconds_bucket practice 0.1"] == 1


def test_a_word_that_an_api_invents_makes_no_label(submit: Submit, api: FakeApi) -> None:  # noqa: F811
    job = submit()
    api.run("send")
    api.put(job, "pondering")
    api.run("poll")
    assert samples()["ponder_polls_total practice unknown_word"] == 1


def test_what_is_rolled_back_was_never_counted(project: Project) -> None:  # noqa: F811
    with transaction.atomic():
        Tally.objects.add(Counted.SEND, project.connection_id, "accepted")
        transaction.set_rollback(True)
    assert "ponder_sends_total practice accepted" not in samples()


def test_adding_up_changes_no_number(
    project: Project,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(3):
        Tally.objects.add(Counted.SEND, project.connection_id, "accepted")
        Tally.objects.time(Counted.SENT, project.connection_id, timezone.now())
    assert Tally.objects.fold() == 0, "a few rows are left as they are"
    before = Tally.objects.sums()
    monkeypatch.setattr(tallies, "MOST_ROWS", 3)
    assert Tally.objects.fold() == 2
    assert sorted(Tally.objects.sums()) == sorted(before)
    assert Tally.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_two_that_add_up_at_once_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "MOST_ROWS", 3)
    Tally.objects.add_all(Counted.POLL, [((1, "completed"), 1)] * 50)

    def fold() -> None:
        Tally.objects.fold()
        connection.close()

    both = [threading.Thread(target=fold) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert [one.number for one in Tally.objects.sums()] == [50]


def test_counts_of_a_connection_that_is_gone_are_not_shown(project: Project) -> None:  # noqa: F811
    gone = Connection.objects.create(name="gone", base_url="http://127.0.0.1:9/v1")
    Tally.objects.add(Counted.SEND, gone.pk, "accepted")
    gone.delete()
    assert not [name for name in samples() if "gone" in name or name.startswith("ponder_sends_total")]


def test_practice_money_has_names_of_its_own(person: User, project: Project) -> None:  # noqa: F811
    real = a_project("real", is_practice=False, members={person: Role.MANAGER})
    a_job(project, person)
    a_job(real, person, Status.COMPLETED, cost=Decimal("0.25"))
    found = samples()
    assert found["ponder_practice_held_usd proofs"] > 0
    assert found["ponder_held_usd real"] == 0
    assert found["ponder_spent_month_usd real"] == 0.25
    assert found["ponder_cap_month_usd real"] == 100
    assert "ponder_held_usd proofs" not in found


def test_ages_and_pauses(submit: Submit, api: FakeApi) -> None:  # noqa: F811
    job = submit()
    api.run("send")
    past = Now() - dt.timedelta(seconds=90)
    Attempt.objects.update(sent_at=past)
    Job.objects.update(next_action_at=past)
    lifecycle.note_beat()
    Installation.objects.update(host="ada", beat_at=past)
    Installation.objects.create(instance="b2", host="ada", version="1")
    Installation.objects.create(instance="c3", host="bob", version="1", stopped_at=Now())
    lifecycle.pause(job.project.connection_id, "out of credit")
    found = samples()
    assert 90 <= found["ponder_oldest_due_seconds poll"] < 95
    assert found["ponder_oldest_due_seconds send"] == 0
    assert 90 <= found["ponder_oldest_unsettled_seconds"] < 95
    assert found["ponder_oldest_unbooked_end_seconds"] == 0
    assert 90 <= found["ponder_heartbeat_age_seconds ada"] < 95
    assert "ponder_heartbeat_age_seconds bob" not in found
    assert found["ponder_connection_paused practice"] == 1
    assert found["ponder_connection_open_sends practice"] == 1
    assert found["ponder_connection_open_sends_limit practice"] == 200
    assert found["ponder_database_size_bytes"] > 1_000_000
    assert 0 < found["ponder_database_connections"] < found["ponder_database_connections_limit"]


def test_a_webhook_is_timed_from_its_event(project: Project) -> None:  # noqa: F811
    now = timezone.now()
    for seconds, state in ((90, "done"), (7, "done"), (500, "refused")):
        WebhookDelivery.objects.create(
            connection=project.connection,
            webhook_id=f"wh_{seconds}",
            state=state,
            event_at=now - dt.timedelta(seconds=seconds),
            received_at=now,
        )
    found = samples()
    assert found["ponder_webhook_lag_seconds practice"] == 7
    assert found["ponder_webhook_age_seconds practice"] < 5


def test_an_unconfirmed_job_is_a_number(submit: Submit, api: FakeApi) -> None:  # noqa: F811
    submit()
    api.replies.append(OutcomeUnknown("Broke.", code="connection_lost"))
    api.run("send")
    found = samples()
    assert found["ponder_jobs true unconfirmed"] == 1
    assert found["ponder_errors_total practice send outcome_unknown"] == 1


def test_a_scrape_takes_the_same_queries_whatever_there_is(
    person: User,  # noqa: F811
    project: Project,  # noqa: F811
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    samples()
    with django_assert_num_queries(12):
        samples()
    for status in (Status.IN_PROGRESS, Status.UNCONFIRMED, Status.COMPLETED, Status.FAILED):
        a_job(project, person, status)
        Tally.objects.add(Counted.END, project.connection_id, status)
    with django_assert_num_queries(12):
        samples()


def test_no_id_and_no_content_is_in_any_label(submit: Submit, api: FakeApi) -> None:  # noqa: F811
    job = submit(prompt="canary", title="canary")
    api.run("send")
    attempt = Attempt.objects.get(job=job)
    text = scrape("")[0].decode()
    for word in ("canary", job.short_id, str(job.uuid), attempt.response_id, str(attempt.nonce), "mira@"):
        assert word not in text


def test_what_ended_before_anything_was_counted_is_in_the_counts(
    person: User,  # noqa: F811
    project: Project,  # noqa: F811
) -> None:
    for status in (Status.COMPLETED, Status.COMPLETED, Status.FAILED, Status.IN_PROGRESS):
        a_job(project, person, status)
    Tally.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute(import_module("jobs.migrations.0021_installations_and_tallies").COUNT)
    found = {(one.word, one.number) for one in Tally.objects.sums()}
    assert found == {("completed", 2), ("failed", 1)}
