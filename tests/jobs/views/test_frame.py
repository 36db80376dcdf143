"""The frame: few questions, nothing of projects one is not in, practice money apart from real money."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.models import Connection, ModelSpec, Project, User, Workspace
from jobs.views.frame import Frame, frame
from tests.factories import a_person, a_project, a_spec
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


def test_the_whole_frame_takes_at_most_four_queries() -> None:
    person = a_person(is_superuser=True)
    for number in range(3):
        project = a_project(f"p{number}")
        lifecycle.submit(a_spec(project, person))
    shown = Frame(person)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        _ = (shown.in_flight, shown.projects, shown.month, shown.practice, shown.paused, shown.retiring)
    assert len(asked) <= 4


def test_nothing_is_asked_until_something_is_shown() -> None:
    request = RequestFactory().get("/")
    request.user = a_person()
    with CaptureQueriesContext(connection) as asked:
        frame(request)
    assert len(asked) == 0


def test_a_stranger_has_no_frame() -> None:
    assert frame(RequestFactory().get("/")) == {}


def test_a_member_sees_nothing_of_other_projects() -> None:
    mira, jonas = a_person(), a_person("jonas@example.com")
    mine = a_project("mine", members={mira: Role.VIEWER})
    theirs = a_project("theirs", members={jonas: Role.SUBMITTER})
    a_job(theirs, jonas, "completed")
    lifecycle.submit(a_spec(theirs, jonas))
    Connection.objects.update(paused_at=None)
    shown = Frame(mira)
    assert [project.slug for project in shown.projects] == [mine.slug]
    assert shown.in_flight == 0
    assert shown.month is not None
    assert shown.month.spent == 0


def test_practice_money_never_enters_the_month_of_real_money() -> None:
    mira = a_person()
    play = a_project("play", members={mira: Role.SUBMITTER})
    real = a_project("real", is_practice=False, cap="40", members={mira: Role.SUBMITTER})
    a_job(play, mira, "completed", cost=Decimal(7))
    a_job(real, mira, "completed", cost=Decimal(3))
    month = Frame(mira).month
    assert month is not None
    assert (month.spent, month.cap, month.percent) == (3, 40, Decimal("7.5"))
    assert not Frame(mira).practice


def test_where_all_is_practice_the_month_says_so(client: Client) -> None:
    mira = a_person()
    play = a_project("play", members={mira: Role.SUBMITTER})
    a_job(play, mira, "completed", cost=Decimal(7))
    month = Frame(mira).month
    assert month is not None
    assert month.spent == 7
    client.force_login(mira)
    page = client.get("/jobs/").content.decode()
    assert "Practice money only" in page
    assert "no money is spent" in page


def test_a_paused_connection_is_said_in_our_words_and_only_operators_are_led_to_it() -> None:
    mira, ana = a_person(), a_person("ana@example.com", is_superuser=True)
    project = a_project(members={mira: Role.VIEWER})
    lifecycle.pause(project.connection_id, "insufficient_quota: You exceeded <b>org-123</b>.")
    (seen,) = Frame(mira).paused
    assert (seen.reason, seen.url) == ("the account is out of credit", "")
    (seen,) = Frame(ana).paused
    assert seen.url == "/settings/connections/"


def test_a_pause_by_hand_shows_its_reason() -> None:
    mira = a_person(is_superuser=True)
    project = a_project()
    lifecycle.pause(project.connection_id, "Moving to another account.", by=mira)
    assert Frame(mira).paused[0].reason == "Moving to another account"


def test_everything_is_paused_only_where_nothing_is_open() -> None:
    ana = a_person(is_superuser=True)
    for slug, is_practice in (("play", True), ("real", False)):
        a_project(slug, is_practice=is_practice)
    real = Connection.objects.get(name="real")
    lifecycle.pause(real.pk, "invalid_api_key: No.")
    lifecycle.pause_all("Fire drill", by=ana)
    assert [(one.name, one.reason) for one in Frame(ana).paused] == [
        ("Everything", "Fire drill"),
        ("real", "the key was refused"),
    ]
    lifecycle.resume(real.pk)
    assert [(one.name, one.link) for one in Frame(ana).paused] == [("practice", "See the connection")]


def test_operators_hear_of_a_default_model_that_ends_within_two_weeks(settings: Any) -> None:
    ana, mira = a_person("ana@example.com", is_superuser=True), a_person()
    a_project(members={mira: Role.MANAGER})
    ending = ModelSpec.objects.get(pk="o3-pro").shutdown_date
    assert ending is not None
    for days, heard in ((14, ["o3-pro"]), (15, []), (1, ["o3-pro"]), (0, [])):
        settings.PONDER_TODAY = ending.fromordinal(ending.toordinal() - days)
        assert [spec.id for spec in Frame(ana).retiring] == heard
        assert Frame(mira).retiring == []


def test_an_archived_project_leaves_the_side_bar() -> None:
    ana = a_person(is_superuser=True)
    a_project()
    Project.objects.update(archived_at="2026-11-01T00:00Z")
    assert Frame(ana).projects == []
    assert Frame(ana).month is None


def test_the_frame_makes_the_workspace_on_first_use() -> None:
    Workspace.objects.all().delete()
    assert Frame(User(is_superuser=True)).workspace.pk == 1


def test_a_project_without_a_cap_has_a_meter_without_one() -> None:
    ana = a_person(is_superuser=True)
    a_project(cap=None)
    month = Frame(ana).month
    assert month is not None
    assert (month.cap, month.percent) == (None, None)
    spend.set_cap(Decimal(0), project=Project.objects.get())
    month = Frame(ana).month
    assert month is not None
    assert month.percent is None
