"""The journal: what it still knows after a kill, and what it never gets wrong."""

import errno
import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.lifecycle import Decision, claiming, journal, sending
from jobs.lifecycle.adoption import adopt
from jobs.models import Attempt, AttemptState, BudgetPeriod, Event, Job, Status
from jobs.openai_client import Outcome
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]


def the(job: Job) -> Attempt:
    job.refresh_from_db()
    return Attempt.objects.get(job=job)


def claimed(job: Job) -> sending.Send:
    """Claim the job as a process that is killed before it commits what the API said."""
    (send,) = claiming.claim_sends(1)
    assert send.job_id == job.pk
    return send


def lease_ends() -> None:
    Attempt.objects.filter(state=AttemptState.SENDING).update(lease_expires_at=Now())


def test_the_line_is_written_before_the_database_knows(api: FakeApi, submit: Submit) -> None:
    job = submit()
    seen: list[tuple[bool, str]] = []
    api.while_sending = lambda: seen.append((journal.path().exists(), the(job).state))
    api.run("send")
    assert seen == [(False, "sending")]
    line = json.loads(journal.path().read_text())
    assert time.time() - line.pop("written_at") < 60
    assert line == {"attempt": str(the(job).nonce), "response_id": "resp_1", "request_id": "req_1"}
    assert journal.path().stat().st_mode & 0o777 == 0o600
    assert journal.path().name == f"{settings.INSTANCE}.jsonl"


def test_a_replay_adopts_what_the_database_does_not_know_and_only_once(submit: Submit) -> None:
    job = submit()
    journal.write(claimed(job).nonce, "resp_9", "req_9")
    assert lifecycle.replay() == 1
    assert lifecycle.replay() == 0
    assert (the(job).state, the(job).response_id, the(job).request_id) == ("known", "resp_9", "req_9")
    assert job.status == Status.QUEUED
    assert Event.objects.filter(kind="adopted").count() == 1
    assert BudgetPeriod.objects.get().held == job.worst_case


def test_without_a_journal_there_is_nothing_to_adopt(submit: Submit) -> None:
    assert lifecycle.replay() == 0
    claimed(submit())
    assert lifecycle.replay() == 0


def test_the_reaper_adopts_what_the_journal_knows(submit: Submit) -> None:
    job = submit()
    journal.write(claimed(job).nonce, "resp_9", "")
    lease_ends()
    assert sending.reap() == 0
    assert the(job).state == AttemptState.KNOWN


def test_the_reaper_calls_the_rest_unconfirmed_and_keeps_the_hold(submit: Submit) -> None:
    job = submit()
    claimed(job)
    lease_ends()
    assert sending.reap() == 1
    assert (the(job).state, the(job).error_code, job.status) == ("unconfirmed", "interrupted", "unconfirmed")
    assert (job.next_action_at, job.claim_token) == (None, None)
    assert BudgetPeriod.objects.get().held == job.worst_case


def test_a_line_found_after_the_reaper_still_adopts(submit: Submit) -> None:
    job = submit()
    nonce = claimed(job).nonce
    lease_ends()
    sending.reap()
    journal.write(nonce, "resp_9", "")
    assert lifecycle.replay() == 1
    assert job_status(job) == Status.QUEUED


@pytest.mark.parametrize("decision", [Decision.LOST, Decision.PAID])
def test_a_line_found_after_a_decision_still_adopts(submit: Submit, decision: Decision) -> None:
    job = submit()
    nonce = claimed(job).nonce
    lease_ends()
    sending.reap()
    lifecycle.resolve(job.pk, decision)
    journal.write(nonce, "resp_9", "")
    assert lifecycle.replay() == 1
    assert (the(job).state, job_status(job)) == (AttemptState.KNOWN, Status.FAILED)
    assert job.next_action_at is not None


def test_another_installation_reaps_but_never_adopts(submit: Submit) -> None:
    job = submit()
    send = claimed(job)
    journal.write(send.nonce, "resp_9", "")
    Attempt.objects.update(instance="another")
    assert lifecycle.replay() == 0
    lease_ends()
    assert sending.reap() == 1
    assert the(job).state == AttemptState.UNCONFIRMED
    # Its owner is back.
    Attempt.objects.update(instance=settings.INSTANCE)
    assert lifecycle.replay() == 1
    assert the(job).state == AttemptState.KNOWN


@pytest.mark.parametrize(
    "rubbish",
    [
        '{"attempt": "8d',
        "{}",
        "[]",
        "7",
        "null",
        '{"attempt": 7, "response_id": "x", "request_id": ""}',
        "\x00\ufffd",
    ],
)
def test_half_a_line_does_not_cost_the_next_one(
    submit: Submit, rubbish: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = submit()
    nonce = claimed(job).nonce
    journal.path().parent.mkdir(parents=True)
    journal.path().write_text(rubbish)  # killed in mid-write: no end of line
    journal.write(nonce, "resp_9", "")
    assert lifecycle.replay() == 1
    aside = journal.path().with_suffix(".unreadable")
    assert caplog.messages == [f"unreadable lines of the journal, set aside in {aside.name}: 1"]
    assert aside.read_text().strip() == rubbish
    assert lifecycle.replay() == 0
    assert len(caplog.messages) == 1


def a_line(nonce: uuid.UUID, *, days: float | None = 0) -> bytes:
    """Write the line of an attempt that was sent so many days ago, or by a version that gave no time."""
    entry = {"attempt": str(nonce), "response_id": "resp_9", "request_id": ""}
    if days is not None:
        entry |= {"written_at": time.time() - days * 86_400}
    return json.dumps(entry).encode()


def lines() -> list[bytes]:
    return [line for line in journal.path().read_bytes().splitlines() if line]


def trimmed(*before: bytes, days_ago: float = 1.1) -> list[bytes]:
    """Replay a journal that was last trimmed so many days ago; return the lines it has then."""
    journal.write(uuid.uuid4(), "resp_1", "")
    journal.path().write_bytes(b"\n".join([*before, b""]))
    then = time.time() - days_ago * 86_400
    os.utime(journal.path().with_suffix(".lock"), (then, then))
    lifecycle.replay()
    return lines()


@pytest.mark.parametrize("days", [31, None], ids=["a month ago", "by a version that gave no time"])
def test_a_line_is_forgotten_once_upstream_has_forgotten_its_response(
    submit: Submit, days: float | None
) -> None:
    over, is_open = claimed(submit()), claimed(submit())
    Attempt.objects.filter(pk=over.attempt_id).update(state=AttemptState.ENDED)
    Attempt.objects.filter(pk=is_open.attempt_id).update(state=AttemptState.KNOWN)
    stays = [a_line(over.nonce, days=29), a_line(is_open.nonce, days=days), a_line(uuid.uuid4())]
    goes = [a_line(uuid.uuid4(), days=days)]
    assert trimmed(*stays, *goes) == stays
    assert trimmed(a_line(over.nonce, days=days), *goes) == []
    assert journal.path().stat().st_mode & 0o777 == 0o600
    Attempt.objects.update(state=AttemptState.SENDING)


def test_the_journal_is_trimmed_once_a_day(submit: Submit) -> None:
    old = a_line(uuid.uuid4(), days=40)
    assert trimmed(old, days_ago=0.9) == [old]
    assert trimmed(old) == []
    journal.path().write_bytes(old + b"\n")
    lifecycle.replay()
    assert lines() == [old]


def test_a_line_that_replays_is_adopted_before_it_is_forgotten(submit: Submit) -> None:
    job = submit()
    send = claimed(job)
    Attempt.objects.update(state=AttemptState.ENDED, error_code="lost")
    Job.objects.update(status=Status.FAILED, error_code="lost")
    old = a_line(send.nonce, days=40)
    assert trimmed(old) == [old]
    assert the(job).state == AttemptState.KNOWN


def test_a_journal_that_cannot_be_trimmed_hinders_nobody(
    api: FakeApi, submit: Submit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        old = a_line(uuid.uuid4(), days=40)
        assert trimmed(old) == [old]
    assert caplog.messages == ["the journal could not be tidied (No space left on device)"]
    lifecycle.replay()
    assert len(caplog.messages) == 1, "it is tried again tomorrow"


def test_a_journal_that_is_gone_is_none_to_trim(submit: Submit) -> None:
    assert trimmed() == []
    journal.path().unlink()
    os.utime(journal.path().with_suffix(".lock"), (0, 0))
    assert lifecycle.replay() == 0


def test_a_line_is_written_whole_though_the_system_takes_it_in_parts(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit()
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, content: real(descriptor, content[:7]))
        journal.write(claimed(job).nonce, "resp_9", "req_9")
    assert lifecycle.replay() == 1


def test_what_stays_unsure_is_not_looked_for_in_all_of_the_journal_again(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    real = journal._parse

    def parse(text: bytes) -> object:
        read.append(text)
        return real(text)

    monkeypatch.setattr(journal, "_parse", parse)
    first = submit()
    nonce = claimed(first).nonce
    for _ in range(50):
        journal.write(uuid.uuid4(), "resp_of_another", "")

    def replay() -> tuple[int, bool]:
        read.clear()
        return lifecycle.replay(), len(read) >= 50

    assert replay() == (0, True)
    assert replay() == (0, False)
    journal.write(nonce, "resp_1", "")
    assert replay() == (1, False)
    # Another one that is unsure may be anywhere in it; and so may all when it is another file.
    second = submit()
    claimed(second)
    assert replay() == (0, True)
    assert replay() == (0, False)
    journal._rewrite(without=set())
    assert replay() == (0, True)
    journal.path().write_bytes(a_line(the(second).nonce) + b"\n")
    assert replay()[0] == 1


def test_an_id_that_was_another_attempts_is_adopted_once_it_is_free(submit: Submit) -> None:
    first, second = submit(), submit()
    wrong, right = claiming.claim_sends(64)
    assert adopt(wrong.attempt_id, "resp_9", how="by hand")
    journal.write(right.nonce, "resp_9", "")
    assert lifecycle.replay() == 0
    Attempt.objects.filter(pk=wrong.attempt_id).update(response_id="resp_8")
    assert lifecycle.replay() == 1
    assert {the(first).response_id, the(second).response_id} == {"resp_8", "resp_9"}


def test_a_line_that_is_not_ended_yet_is_read_again(submit: Submit) -> None:
    job = submit()
    line = a_line(claimed(job).nonce)
    journal.path().parent.mkdir(parents=True)
    journal.path().write_bytes(line[:50])
    assert lifecycle.replay() == 0
    assert not journal.path().with_suffix(".unreadable").exists()
    with journal.path().open("ab") as file:
        file.write(line[50:])
    assert lifecycle.replay() == 1


def test_a_line_of_another_database_adopts_nothing(submit: Submit) -> None:
    # A restored database gives row numbers again; a nonce it never gives again.
    job = submit()
    claimed(job)
    journal.write(uuid.uuid4(), "resp_of_the_past", "")
    assert lifecycle.replay() == 0
    assert the(job).state == AttemptState.SENDING


def test_the_pump_replays_before_it_sends(api: FakeApi, submit: Submit) -> None:
    job = submit()
    journal.write(claimed(job).nonce, "resp_9", "")
    api.run("send")
    assert the(job).response_id == "resp_9"
    assert api.posts == []


def test_the_answer_that_is_committed_after_a_replay_changes_nothing(api: FakeApi, submit: Submit) -> None:
    job = submit()
    send = claimed(job)
    journal.write(send.nonce, "resp_9", "")
    lifecycle.replay()
    sending.write_back(Outcome(send, "create", body=api.body("resp_9")))
    assert (the(job).state, job_status(job)) == (AttemptState.KNOWN, Status.QUEUED)
    assert Event.objects.filter(job=job).count() == 2


def job_status(job: Job) -> str:
    job.refresh_from_db()
    return job.status


def test_journals_of_others_are_read_only_where_there_are_some(
    submit: Submit, django_assert_num_queries: Callable[..., Any]
) -> None:
    attempt = Attempt.objects.get(job=submit())
    Attempt.objects.update(state=AttemptState.SENDING, instance="another")
    with django_assert_num_queries(0):
        assert lifecycle.replay_copied() == 0
    journal.write(attempt.nonce, "resp_1", "req_1")
    with django_assert_num_queries(0):
        assert lifecycle.replay_copied() == 0
    own = journal.path()
    own.rename(own.with_name("another.jsonl"))
    assert lifecycle.replay() == 0
    assert lifecycle.replay_copied() == 1
    with django_assert_num_queries(1):
        assert lifecycle.replay_copied() == 0
