"""The frame: few questions, nothing of projects one is not in, practice money apart from real money."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from jobs import clock, lifecycle, spend
from jobs.access import Role
from jobs.models import Budget, BudgetPeriod, Connection, ModelSpec, Project, User, Workspace, month_end_of
from jobs.views.frame import Frame, frame
from tests.factories import a_person, a_project, a_spec
from tests.jobs.views.rollups import spend_days
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


# --- How the month ends ----------------------------------------------------------------------------------


@pytest.fixture
def foretold() -> User:
    """Someone who was told of their one real project that it likely comes to 30 USD, of 40."""
    mira = a_person()
    real = a_project("real", is_practice=False, cap="40", members={mira: Role.SUBMITTER})
    a_project("play", members={mira: Role.SUBMITTER})
    mira.month_end = Decimal(30)
    mira.month_end_of = month_end_of(Workspace.objects.the().today(), [real.pk])
    mira.save()
    return mira


def side_bar(person: User) -> str:
    client = Client()
    client.force_login(person)
    page = client.get("/projects/").content.decode()
    return " ".join(page[page.index('class="mini"') : page.index("</a>", page.index('class="mini"'))].split())


def test_the_side_bar_says_how_the_month_likely_ends(foretold: User) -> None:
    assert '<span class="sub">Forecast $30, within budget</span>' in side_bar(foretold)
    spend.set_cap(Decimal(29), project=Project.objects.get(slug="real"))
    assert "Forecast $30, over budget" in side_bar(foretold)


def test_a_grant_counts_in_the_meter_and_in_what_is_within_budget(foretold: User) -> None:
    real = Project.objects.get(slug="real")
    spend.set_cap(Decimal(20), project=real)
    a_job(real, foretold, "completed", cost=Decimal(3))
    BudgetPeriod.objects.filter(budget__project=real).update(granted=10)
    assert "<b>$3</b> of $30" in side_bar(foretold)
    assert "Forecast $30, within budget" in side_bar(foretold)


def test_a_month_without_a_charge_yet_stands_at_its_cap(foretold: User) -> None:
    BudgetPeriod.objects.all().delete()
    assert "<b>$0</b> of $40" in side_bar(foretold)
    assert "within budget" in side_bar(foretold)


def test_the_meter_of_operators_stands_at_the_workspaces_cap(foretold: User) -> None:
    whole = spend.set_cap(Decimal(29))
    assert "<b>$0</b> of $40" in side_bar(foretold)
    foretold.is_superuser = True
    foretold.save()
    assert "<b>$0</b> of $29" in side_bar(foretold)
    assert "Forecast $30, over budget" in side_bar(foretold)
    BudgetPeriod.objects.filter(budget=whole).update(granted=5)
    assert "<b>$0</b> of $34" in side_bar(foretold)
    assert "within budget" in side_bar(foretold)
    client = Client()
    client.force_login(foretold)
    assert client.get("/budget/").context["month"].cap == 34
    BudgetPeriod.objects.filter(budget=whole).delete()
    assert "<b>$0</b> of $29" in side_bar(foretold)
    spend.lift_cap(whole)
    assert "<b>$0</b> of $40" in side_bar(foretold)


@pytest.mark.parametrize("was_spent", [True, False])
def test_a_project_that_goes_to_the_archive_counts_as_on_the_budget_page(
    foretold: User, was_spent: bool, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PONDER_TODAY = dt.date(2026, 11, 20)
    monkeypatch.setattr(clock, "gone", lambda _: 0.5)
    days = (dt.date(2026, 10, 1) + dt.timedelta(days=number) for number in range(50))
    spend_days(Project.objects.get(slug="real"), foretold, dict.fromkeys(days, Decimal(3)))
    old = a_project("old", cap="1000", is_practice=False, members={foretold: Role.SUBMITTER})
    settings.PONDER_TODAY = dt.date(2026, 10, 5)
    a_job(old, foretold, "completed", cost=Decimal("0.01"))  # much less than was held
    settings.PONDER_TODAY = dt.date(2026, 11, 20)
    if was_spent:
        a_job(old, foretold, "completed", cost=Decimal(50))
    for _ in range(4):
        a_job(old, foretold, "in_progress")
    old.archive(by=foretold)
    lifecycle.foretell()
    client = Client()
    client.force_login(foretold)
    page = client.get("/budget/").context
    month, frame = page["month"], page["frame"].month
    assert frame.spent + 57 == month.spent  # of rollups alone
    assert (frame.cap, frame.forecast) == (month.cap, page["end"].all.likely)
    assert month.cap == (1_040 if was_spent else 40)


def test_without_a_cap_the_forecast_stands_alone(foretold: User) -> None:
    BudgetPeriod.objects.all().delete()
    Budget.objects.all().delete()
    assert '<span class="sub">Forecast $30</span>' in side_bar(foretold)


def test_what_was_told_of_another_day_or_other_projects_is_not_said(foretold: User, settings: Any) -> None:
    settings.PONDER_TODAY = Workspace.objects.the().today() + dt.timedelta(days=1)
    assert "Forecast" not in side_bar(foretold)
    settings.PONDER_TODAY = None
    assert "Forecast" in side_bar(foretold)
    foretold.membership_set.filter(project__slug="real").delete()
    assert "Forecast" not in side_bar(foretold)
    other = a_project("other", is_practice=False, members={foretold: Role.VIEWER})
    assert "Forecast" not in side_bar(foretold)
    other.membership_set.all().delete()
    Project.objects.get(slug="real").membership_set.create(user=foretold, role=Role.VIEWER)
    assert "Forecast" in side_bar(foretold)


def test_a_forecast_that_was_overtaken_is_not_said(foretold: User) -> None:
    a_job(Project.objects.get(slug="real"), foretold, "completed", cost=Decimal(31))
    assert "Forecast" not in side_bar(foretold)


def test_practice_money_has_no_forecast(foretold: User) -> None:
    play = Project.objects.get(slug="play")
    Project.objects.get(slug="real").membership_set.all().delete()
    User.objects.update(month_end_of=month_end_of(Workspace.objects.the().today(), [play.pk]))
    assert "Practice money only" in side_bar(foretold)
    assert "Forecast" not in side_bar(foretold)
