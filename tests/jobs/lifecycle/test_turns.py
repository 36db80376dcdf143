"""Turns: projects of one connection are sent fairly, however many jobs one of them has waiting."""

import datetime as dt
import re

import pytest
from django.db import connection
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.access import Role
from jobs.lifecycle import claiming, pump, replanning
from jobs.models import Attempt, Connection, Job, Project, User, Workspace, turns
from tests.copies import copies_of
from tests.factories import a_project
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = pytest.mark.django_db


@pytest.fixture
def other(person: User, project: Project) -> Project:
    """A second project on the same connection."""
    return a_project("other", members={person: Role.MANAGER})


@pytest.fixture
def _accepting(project: Project) -> None:
    """Let the connection have accepted something lately, so that a burst is no doubt."""
    Connection.objects.update(accepted_at=Now())


def claimed(most: int) -> list[str]:
    """Claim for so many free slots; return whose jobs they are, in the order they were made."""
    # A connection that is alone gets half of what is free.
    sends = claiming.claim_sends(2 * most)
    found = Job.objects.filter(pk__in=[send.job_id for send in sends]).order_by("pk")
    return list(found.values_list("project__slug", flat=True))


def in_line(most: int = 100) -> list[tuple[str, int]]:
    """Return whose job is sent next, and how many slots its project would have then."""
    ours, today = Connection.objects.get(), Workspace.objects.the().today()
    return [
        (Job.objects.get(pk=turn.job_id).project.slug, turn.number)
        for turn in turns.in_turn(ours.pk, most=most, day=today)
    ]


@pytest.mark.usefixtures("_accepting")
def test_one_job_of_another_project_goes_before_the_many_of_the_first(
    submit: Submit, project: Project, other: Project
) -> None:
    for _ in range(6):
        submit()
    submit(to=other)
    assert claimed(2) == ["proofs", "other"]


@pytest.mark.usefixtures("_accepting")
def test_who_holds_fewest_slots_comes_first_then_who_has_waited_longest(
    submit: Submit, project: Project, other: Project
) -> None:
    for to in (project, project, project, project, other, other):
        submit(to=to)
    assert in_line() == [
        ("proofs", 1), ("other", 1), ("proofs", 2), ("other", 2), ("proofs", 3), ("proofs", 4),
    ]  # fmt: skip
    assert in_line(3) == [("proofs", 1), ("other", 1), ("proofs", 2)]
    assert claimed(3) == ["proofs", "proofs", "other"]
    assert in_line() == [("other", 2), ("proofs", 3), ("proofs", 4)]
    Job.objects.filter(project=other).update(next_action_at=Now() + dt.timedelta(minutes=1))
    assert in_line() == [("proofs", 3), ("proofs", 4)]


@pytest.mark.usefixtures("_accepting")
def test_within_a_project_the_order_is_that_of_waiting(submit: Submit) -> None:
    first, second, third = (submit() for _ in range(3))
    Job.objects.filter(pk=third.pk).update(next_action_at=Now() - dt.timedelta(hours=1))
    ours, today = Connection.objects.get(), Workspace.objects.the().today()
    line = turns.in_turn(ours.pk, most=9, day=today)
    assert [turn.job_id for turn in line] == [third.pk, first.pk, second.pk]


@pytest.mark.usefixtures("_accepting")
def test_of_the_last_slots_one_in_twenty_is_kept_for_projects_that_have_none(
    api: FakeApi, submit: Submit, project: Project, other: Project
) -> None:
    Connection.objects.update(max_in_flight=4)
    for _ in range(6):
        submit()
    assert claimed(9) == ["proofs"] * 3
    assert claimed(9) == [], "the last slot waits for someone else"
    submit(to=other)
    submit(to=other)
    assert claimed(9) == ["other"]
    assert claimed(9) == []
    assert Attempt.objects.open().count() == 4


@pytest.mark.usefixtures("_accepting")
@pytest.mark.parametrize(("slots", "most_of_one"), [(1, 1), (2, 1), (7, 6), (20, 19), (39, 38), (40, 38)])
def test_what_is_kept_is_little(
    submit: Submit, project: Project, other: Project, slots: int, most_of_one: int
) -> None:
    assert slots - turns.kept_slots(project.connection_id, slots) == most_of_one
    Project.objects.filter(pk=other.pk).update(archived_at=Now())
    assert turns.kept_slots(project.connection_id, slots) == 0, "nobody else sends"


def test_a_connection_that_is_paused_between_look_and_lock_is_not_sent_to(
    submit: Submit, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit()
    since = turns.waiting_since()
    lifecycle.pause(project.connection_id, "by hand")
    assert turns.waiting_since() == []
    monkeypatch.setattr(turns, "waiting_since", lambda: since)
    assert claiming.claim_sends(64) == []


def test_a_job_that_is_cancelled_between_look_and_lock_is_not_sent(
    submit: Submit, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, stays = submit(), submit()
    today = Workspace.objects.the().today()
    line = turns.in_turn(project.connection_id, most=9, day=today)
    Job.objects.filter(pk=job.pk).update(cancel_requested_at=Now())
    monkeypatch.setattr(turns, "in_turn", lambda *_, **__: line)
    assert [send.job_id for send in claiming.claim_sends(64)] == [stays.pk]


def test_a_waiting_job_knows_its_place_in_its_own_project(
    submit: Submit, project: Project, other: Project
) -> None:
    for _ in range(3):
        submit()
    late = submit(to=other)
    places = dict(Job.objects.with_place().values_list("pk", "ahead"))
    assert places[late.pk] == 0
    assert sorted(places.values()) == [0, 0, 1, 2]


@pytest.mark.usefixtures("_accepting")
@pytest.mark.parametrize("is_analysed", [True, False])
def test_ten_thousand_waiting_jobs_make_a_claim_no_dearer(
    submit: Submit, project: Project, other: Project, is_analysed: bool
) -> None:
    job = submit()
    copies_of(job, 9_999)
    late = submit(to=other)
    with connection.cursor() as cursor:
        if is_analysed:  # the first burst of all is sent before there are statistics of it
            cursor.execute("ANALYZE jobs_job, jobs_attempt, jobs_prompt, jobs_project, jobs_connection")
        question = turns._in_turn()
        given = {"connection": project.connection_id, "day": Workspace.objects.the().today(), "most": 96}
        params = [given[p.name] if hasattr(p, "name") and p.name in given else p for p in question.params]
        for name, value in question.hint:
            cursor.execute(f"SET LOCAL {name} = {value}")
        cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF) {question.sql}", params)
        plan = "\n".join(line for (line,) in cursor.fetchall())
        for name, _ in question.hint:
            cursor.execute(f"SET LOCAL {name} TO DEFAULT")
    assert "job_in_line" in plan
    assert "Seq Scan on jobs_job" not in plan
    read = [int(float(rows)) for rows in re.findall(r"Scan.* on jobs_\w+.*actual .*rows=([\d.]+)", plan)]
    assert max(read) <= 96, plan
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '2s'")
    assert replanning.replan_due() == 0
    assert pump.falls_due("send", within=0)
    sends = claiming.claim_sends(8)
    assert late.pk in {send.job_id for send in sends}
    assert len(sends) == 4
