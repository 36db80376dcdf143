"""Polls are rare while webhooks announce every end in time, and usual again once one is not announced."""

import datetime as dt

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from jobs import lifecycle
from jobs.lifecycle import Announcement, polling, relaxing
from jobs.models import Attempt, Connection, Job, Project, Secret, Status, WebhookDelivery
from jobs.openai_client import Outcome, OutcomeUnknown
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(api: FakeApi, submit: Submit) -> Job:
    """A job in flight that has been running for a minute."""
    made = submit()
    api.run("send")
    api.put(made, "in_progress")
    api.run("poll")
    Job.objects.update(sent_at=F("sent_at") - dt.timedelta(minutes=1))
    return made


def response_of(job: Job) -> str:
    return Attempt.objects.get(job=job).response_id


def announce(job: Job, *, late: float = 0, kind: str = "response.completed") -> None:
    """Announce the end of a job, some seconds after it."""
    attempt = Attempt.objects.get(job=job)
    event_at = timezone.now() - dt.timedelta(seconds=late)
    number = WebhookDelivery.objects.count()
    news = Announcement(f"wh_{number}", kind, attempt.response_id, event_at)
    lifecycle.receive(attempt.connection_id, news)


def end(api: FakeApi, job: Job) -> None:
    """Let a poll find that a job has ended."""
    api.put(job, "completed")
    Job.objects.filter(pk=job.pk).update(next_action_at=Now())
    lifecycle.run_pump("poll")
    assert Job.objects.get(pk=job.pk).status == Status.COMPLETED


def pass_by(**span: float) -> None:
    """Let some time pass, in words of timedelta."""
    by = dt.timedelta(**span)
    Attempt.objects.update(end_seen_at=F("end_seen_at") - by)
    WebhookDelivery.objects.update(received_at=F("received_at") - by, event_at=F("event_at") - by)


def is_relaxed(project: Project) -> bool:
    """Judge the connection anew."""
    relaxing.mind_webhooks()
    project.connection.refresh_from_db()
    return project.connection.relaxed_at is not None


def seconds_to_next_look(job: Job) -> float:
    found = Job.objects.get(pk=job.pk).next_action_at
    assert found is not None
    return (found - timezone.now()).total_seconds()


def told(api: FakeApi, submit: Submit) -> Job:
    """Another job of the connection, whose end is announced and found."""
    found = submit(prompt=f"Lemma {Job.objects.count()}?")
    lifecycle.run_pump("send")
    announce(found)
    end(api, found)
    return found


def untold(api: FakeApi, submit: Submit) -> Job:
    """Another job of the connection, whose end only a poll has found."""
    found = submit(prompt=f"Lemma {Job.objects.count()}?")
    lifecycle.run_pump("send")
    end(api, found)
    return found


def poll(api: FakeApi, job: Job, word: str = "in_progress") -> float:
    """Poll a job that still runs and return the seconds to the next poll."""
    api.put(job, word)
    Job.objects.filter(pk=job.pk).update(next_action_at=Now(), claim_token=None)
    lifecycle.run_pump("poll")
    return seconds_to_next_look(job)


def test_polls_are_usual_where_nothing_was_ever_announced(api: FakeApi, job: Job, project: Project) -> None:
    assert not is_relaxed(project)
    assert poll(api, job) < 3


def test_polls_are_rare_once_an_end_was_announced_in_time(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    told(api, submit)
    assert is_relaxed(project)
    assert 58 < poll(api, job) <= 120


def test_what_is_queued_is_asked_as_usual_so_that_its_page_says_when_it_runs(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    told(api, submit)
    assert is_relaxed(project)
    assert poll(api, job, "queued") < 3


def test_what_is_to_stop_or_was_announced_already_is_asked_as_usual(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    told(api, submit)
    assert is_relaxed(project)
    announce(job)
    # The event was quicker than the API's own answer.
    assert poll(api, job) < 3
    WebhookDelivery.objects.filter(response_id=response_of(job)).delete()
    assert poll(api, job) > 58
    lifecycle.cancel(job.pk)
    assert poll(api, job) < 3


def test_an_id_given_by_hand_is_asked_as_usual(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    told(api, submit)
    assert is_relaxed(project)
    Attempt.objects.filter(job=job).update(is_unproven=True)
    nonce = str(Attempt.objects.get(job=job).nonce)
    api.responses[response_of(job)] = api.body(
        response_of(job), "in_progress", metadata={"ponder_attempt": nonce}
    )
    Job.objects.filter(pk=job.pk).update(next_action_at=Now())
    lifecycle.run_pump("poll")
    assert seconds_to_next_look(job) < 3


def test_a_poll_that_fails_is_repeated_as_usual(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    told(api, submit)
    assert is_relaxed(project)
    api.lose(job, OutcomeUnknown("Reset.", code="connection_lost"))
    Job.objects.filter(pk=job.pk).update(next_action_at=Now())
    lifecycle.run_pump("poll")
    assert seconds_to_next_look(job) < 5


def test_one_dropped_event_brings_the_polls_back_also_of_rows_far_out(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    told(api, submit)
    assert is_relaxed(project)
    assert poll(api, job) > 58
    untold(api, submit)
    # Its event may still come.
    pass_by(seconds=29)
    assert is_relaxed(project)
    assert seconds_to_next_look(job) > 50
    pass_by(seconds=2)
    assert not is_relaxed(project)
    assert 0 <= seconds_to_next_look(job) + 0.5 < 3
    # Others that come in time do not make up for it before ten minutes have passed.
    told(api, submit)
    assert not is_relaxed(project)
    pass_by(minutes=9, seconds=50)
    told(api, submit)
    assert not is_relaxed(project)
    pass_by(seconds=20)
    assert is_relaxed(project)


def test_an_event_that_comes_within_half_a_minute_after_the_poll_is_in_time(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    told(api, submit)
    late = untold(api, submit)
    pass_by(seconds=25)
    announce(late)
    pass_by(seconds=10)
    assert is_relaxed(project)


def test_an_event_that_comes_later_is_a_dropped_one(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    told(api, submit)
    late = untold(api, submit)
    pass_by(seconds=40)
    announce(late)
    assert not is_relaxed(project)


def test_events_that_all_come_late_never_relax(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    # A poll would have been there before.
    announce(job, late=15)
    end(api, job)
    assert not is_relaxed(project)


def test_after_ten_silent_minutes_polls_are_usual_again(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    told(api, submit)
    assert is_relaxed(project)
    poll(api, job)
    pass_by(minutes=11)
    assert not is_relaxed(project)
    assert seconds_to_next_look(job) < 3


def test_doubled_and_reordered_events_change_nothing(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    first, second = (submit(prompt=f"Lemma {number}?") for number in range(2))
    lifecycle.run_pump("send")
    for ended in (second, first, second, first):
        announce(ended)
    for ended in (first, second):
        end(api, ended)
    pass_by(seconds=40)
    assert is_relaxed(project)


def test_foreign_and_other_events_prove_nothing(api: FakeApi, job: Job, project: Project) -> None:
    for webhook_id, response_id in (("wh_1", "resp_theirs"), ("wh_2", "")):
        news = Announcement(webhook_id, "response.completed", response_id, timezone.now())
        lifecycle.receive(project.connection.pk, news)
    assert not is_relaxed(project)


def test_what_was_given_up_here_was_not_to_be_announced(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    told(api, submit)
    Attempt.objects.filter(job=job).update(end_seen_at=Now() - dt.timedelta(minutes=1), error_code="stuck")
    assert is_relaxed(project)


def test_each_connection_is_judged_by_its_own(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    told(api, submit)
    other = Connection.objects.create(name="Other", base_url="https://x.example/v1", key=Secret.of("sk-o"))
    assert is_relaxed(project)
    other.refresh_from_db()
    assert other.relaxed_at is None
    Attempt.objects.filter(job=job).update(connection=other)
    assert poll(api, job) < 3


def test_a_row_under_a_claim_is_put_off_by_its_pump_as_usual(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    told(api, submit)
    assert is_relaxed(project)
    Job.objects.filter(pk=job.pk).update(next_action_at=Now())
    (claimed,) = polling.claim_polls(10)
    pass_by(minutes=11)
    assert not is_relaxed(project)
    assert seconds_to_next_look(job) > 20
    body = api.body(claimed.response_id, "in_progress")
    polling.write_back([Outcome(claimed, "retrieve", body=body)], stretched=1)
    assert seconds_to_next_look(job) < 3


def test_of_two_installations_that_see_a_silence_one_brings_the_polls_back(
    api: FakeApi, job: Job, submit: Submit, project: Project
) -> None:
    told(api, submit)
    assert is_relaxed(project)
    for _ in range(2):
        poll(api, job)
        relaxing._tighten(project.connection_id)
    assert seconds_to_next_look(job) > 0


def test_the_beat_judges_them(api: FakeApi, submit: Submit, project: Project) -> None:
    told(api, submit)
    lifecycle.wake()
    project.connection.refresh_from_db()
    assert project.connection.relaxed_at is not None


def test_the_fleets_budget_counts_rare_polls_as_rare(
    api: FakeApi, job: Job, submit: Submit, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll(api, job)
    monkeypatch.setattr(polling, "FLEET_BUDGET", 0.1)
    assert polling.stretch() == pytest.approx(5)
    told(api, submit)
    assert is_relaxed(project)
    assert polling.stretch() == 1
    assert 60 <= relaxing.rare_interval(60) <= 120


@pytest.mark.parametrize(("age", "stretch", "most"), [(60, 16, 120), (7_200, 5, 120), (7_200, 16, 352)])
def test_a_stretched_fleet_leaves_the_safety_net_as_it_is_unless_usual_polls_are_rarer(
    age: float, stretch: float, most: float
) -> None:
    found = [relaxing.rare_interval(age, stretch=stretch) for _ in range(50)]
    assert 60 <= min(found) <= max(found) <= most
