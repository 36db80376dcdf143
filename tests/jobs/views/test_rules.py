"""The pages of caps and limits: everyone reads those of their projects, operators set the others."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from jobs import forecast, spend
from jobs.access import Role
from jobs.models import Alert, Budget, BudgetPeriod, Chat, Project, Scope, Status, User
from jobs.templatetags import ui
from jobs.views import rules
from tests.factories import a_person, a_project
from tests.jobs.views.rollups import spend_days
from tests.jobs.views.states import a_job
from tests.markup import faults

pytestmark = pytest.mark.django_db
RULES, MEMBERS = "/budget/rules/", "/budget/rules/members/"


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(a_person("ops@example.com", is_superuser=True))
    return client


def text(client: Client, path: str) -> str:
    page = client.get(path)
    assert page.status_code == 200
    assert faults(page.content.decode()) == []
    return " ".join(page.content.decode().split())


def test_a_member_reads_what_holds_and_who_approves(signed_in: Client, project: Project, mira: User) -> None:
    Project.objects.update(job_limit=Decimal(5))
    ana = a_person("ana@example.com")
    gone = a_person("gone@example.com", is_active=False)
    for person in (ana, gone):
        project.membership_set.create(user=person, role=Role.APPROVER)
    a_project("secret")
    page = text(signed_in, RULES)
    assert "$100.00" in page
    assert "$5.00" in page
    assert '<td class="wraps">Ana</td>' in page
    assert "Secret" not in page
    assert "The whole workspace" not in page
    assert f'href="{project.get_absolute_url()}settings/"' not in page


def test_a_manager_is_led_to_the_cap_and_the_limits(signed_in: Client, project: Project, mira: User) -> None:
    project.membership_set.update(role=Role.MANAGER)
    assert f'href="{project.get_absolute_url()}settings/"' in text(signed_in, RULES)


def test_a_manager_makes_a_cap_soft_with_a_line_in_the_trail(signed_in: Client, project: Project) -> None:
    project.membership_set.update(role=Role.MANAGER)
    assert (
        signed_in.post(f"{project.get_absolute_url()}cap/", {"cap": "40", "is_soft": "on"}).status_code == 302
    )
    assert Budget.objects.values_list("cap", "is_hard").get() == (40, False)
    assert "Cap a month: $100.00 → $40.00, soft" in text(signed_in, f"{project.get_absolute_url()}settings/")
    assert "a month, soft" in text(signed_in, project.get_absolute_url())


def test_an_operator_sets_and_lifts_the_workspaces_cap(operator: Client, project: Project) -> None:
    assert operator.post(f"{RULES}workspace/", {"cap": "nothing"}).status_code == 422
    operator.post(f"{RULES}workspace/", {"cap": "500", "is_soft": "on"})
    budget = Budget.objects.get(scope=Scope.WORKSPACE)
    page = text(operator, RULES)
    assert "of $500.00" in page
    assert "Cap of workspace. Cap a month: none → $500.00, soft" in page
    for _ in range(2):
        assert operator.post(f"{RULES}caps/{budget.pk}/lift/")["Location"] == RULES
    page = text(operator, RULES)
    assert "No cap: only the projects’ own hold." in page
    assert page.count("Cap a month: $500.00, soft → none") == 1


def test_an_operator_caps_people_by_address(operator: Client, project: Project, mira: User) -> None:
    assert operator.post(MEMBERS, {"email": "nobody@example.com", "cap": "5"}).status_code == 422
    assert operator.post(MEMBERS, {"email": "MIRA@example.com", "cap": "5"}).status_code == 302
    page = text(operator, MEMBERS)
    assert "mira@example.com" in page
    assert "$5.00" in page
    budget = Budget.objects.get(user=mira)
    assert operator.post(f"{RULES}caps/{budget.pk}/lift/")["Location"] == MEMBERS
    assert "Nobody has a cap of their own." in text(operator, MEMBERS)


def test_people_read_their_own_cap_and_how_its_month_ends(
    signed_in: Client, operator: Client, mira: User, settings: Any
) -> None:
    settings.PONDER_TODAY = dt.date(2026, 11, 20)
    real = a_project("real", cap="500", is_practice=False, members={mira: Role.SUBMITTER})
    spend.set_cap(Decimal(3), user=a_person("jo@example.com"))
    assert "Your own cap" not in text(signed_in, RULES)
    budget = spend.set_cap(Decimal(80), user=mira)
    job = a_job(real, mira, Status.IN_PROGRESS)
    page = text(signed_in, RULES)
    held = ui.ceiling(job.worst_case)
    assert f"$0.00 spent and {held} held of $80.00, {ui.money(80 - job.worst_case)} left." in page
    assert "Likely" not in page
    assert text(operator, MEMBERS).count("too early to tell") == 2
    days = {dt.date(2026, 11, day): Decimal(2) for day in range(2, 19)}
    spend_days(real, mira, days)
    BudgetPeriod.objects.filter(budget=budget).update(spent=sum(days.values()))
    end = forecast.month_ends(Budget.objects.own_of(mira.pk).periods_in(dt.date(2026, 11, 1)))[budget.pk]
    assert end is not None
    assert 50 < end.likely < 65
    assert f"Likely {ui.dollars(end.likely)} by the end of November." in text(signed_in, RULES)
    assert f"<td>{ui.dollars(end.likely)}</td>" in text(operator, MEMBERS)
    spend.set_cap(Decimal(40), user=mira)
    assert f'<td class="badtx">{ui.dollars(end.likely)}</td>' in text(operator, MEMBERS)
    spend.lift_cap(budget)
    assert "Your own cap" not in text(signed_in, RULES)


def test_the_cap_of_a_project_cannot_be_lifted(operator: Client, project: Project) -> None:
    assert operator.post(f"{RULES}caps/{Budget.objects.get().pk}/lift/").status_code == 404


def test_the_lists_go_on_where_a_page_ends(
    operator: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "PAGE", 2)
    for number in range(3):
        a_project(f"quarry-{number}")
        spend.set_cap(Decimal(5), user=a_person(f"eve{number}@example.com"))
    assert 'href="?after=quarry-0"' in text(operator, RULES)
    assert 'href="?after=quarry-2"' not in text(operator, f"{RULES}?after=quarry-0")
    assert 'href="?after=eve1%40example.com"' in text(operator, MEMBERS)
    assert "eve2@example.com" in text(operator, f"{MEMBERS}?after=eve1@example.com")


def test_the_lists_ask_as_much_for_one_row_as_for_many(
    operator: Client, project: Project, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(5):
        a_project(f"quarry-{number}")
        spend.set_cap(Decimal(5), user=a_person(f"eve{number}@example.com"))
    text(operator, RULES)
    with django_assert_num_queries(14):
        text(operator, RULES)
    with django_assert_num_queries(9):
        text(operator, MEMBERS)


CHAT = "https://chat.example.com/hooks/s3cret"


def test_an_operator_sets_the_workspaces_chat_whose_address_is_never_shown(
    operator: Client, project: Project
) -> None:
    for wrong in (
        "s3cret",
        "ftp://chat.example.com/",
        "http://[",
        "https://127.0.0.1/hook",
        "https://a@b.c/",
    ):
        assert operator.post(f"{RULES}chat/", {"address": wrong}).status_code == 422
    operator.post(f"{RULES}chat/", {"address": CHAT})
    assert Chat.objects.get().address.reveal() == CHAT
    page = text(operator, RULES)
    assert "Set by Ops" in page
    assert "s3cret" not in page
    operator.post(f"{RULES}chat/", {"address": ""})
    assert not Chat.objects.exists()


def test_a_manager_sets_the_chat_of_their_project(signed_in: Client, mira: User) -> None:
    real = a_project("real", is_practice=False, members={mira: Role.MANAGER})
    here = real.get_absolute_url()
    assert "no address" not in text(signed_in, f"{here}settings/")
    signed_in.post(f"{here}chat/", {"address": "nothing"})
    assert not Chat.objects.exists()
    signed_in.post(f"{here}chat/", {"address": CHAT})
    assert Chat.objects.get().project == real
    page = text(signed_in, f"{here}settings/")
    assert "Chat for alerts set" in page
    assert "s3cret" not in page


def an_alert(of: Project) -> None:
    Alert.objects.create(
        budget=of.budget_set.get(),
        month="2026-11-01",
        threshold=80,
        measure="spent",
        amount=80,
        room=100,
        mail="sent",
        chat="failed",
        chat_error="http_404",
    )


TOLD = ("80% spent", "$80.00 of $100.00", "Sent", "Failed", "http_404")


def test_operators_see_what_was_told_and_whether_it_arrived(operator: Client, project: Project) -> None:
    an_alert(project)
    page = text(operator, RULES)
    assert [words for words in TOLD if words not in page] == []


def test_managers_see_whether_their_projects_alerts_arrived(signed_in: Client, mira: User) -> None:
    real = a_project("real", is_practice=False, members={mira: Role.MANAGER})
    an_alert(a_project("other", is_practice=False))
    assert "None yet." in text(signed_in, f"{real.get_absolute_url()}settings/")
    an_alert(real)
    page = text(signed_in, f"{real.get_absolute_url()}settings/")
    assert [words for words in TOLD if words not in page] == []
