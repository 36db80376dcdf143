"""Projects: what is spent, held and left, for members; the cap, for managers."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.models import Budget, BudgetPeriod, Project, Status, User
from tests.factories import a_person, a_project, a_spec
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def mira() -> User:
    return a_person()


@pytest.fixture
def project(mira: User) -> Project:
    return a_project(members={mira: Role.MANAGER})


def test_a_project_shows_what_is_spent_held_and_left(project: Project, mira: User) -> None:
    a_job(project, mira, Status.COMPLETED)
    a_job(project, mira, Status.IN_PROGRESS)
    page = signed_in(mira).get("/projects/proofs/")
    period = BudgetPeriod.objects.get()
    assert page.context["period"] == period
    assert period.spent > 0
    assert period.held > 0
    assert period.left == period.cap - period.spent - period.held
    html = page.content.decode()
    assert f"${period.spent:.2f}" in html
    assert f"${period.left:.2f}" in html
    assert "Mira" in html
    assert "Is lemma 4.7 true" in html


def test_the_list_shows_the_projects_one_is_in_and_no_other(project: Project, mira: User) -> None:
    a_project("secret")
    html = signed_in(mira).get("/projects/").content.decode()
    assert "Proofs" in html
    assert "Secret" not in html
    assert (
        "You are in no project yet"
        in signed_in(a_person("eve@example.com")).get("/projects/").content.decode()
    )


def test_an_operator_sees_every_project(project: Project) -> None:
    a_project("secret", cap=None)
    operator = a_person("ops@example.com", is_superuser=True)
    html = signed_in(operator).get("/projects/").content.decode()
    assert "Proofs" in html
    assert "No cap yet: nothing can be sent" in html


def test_a_stranger_finds_no_project(project: Project) -> None:
    stranger = signed_in(a_person("eve@example.com"))
    assert stranger.get("/projects/proofs/").status_code == 404
    assert stranger.post("/projects/proofs/cap/", {"cap": "5"}).status_code == 404
    assert stranger.get("/projects/nothing/").status_code == 404
    assert Budget.objects.get().cap == 100


def test_a_manager_sets_the_cap_from_this_month_on(project: Project, mira: User) -> None:
    page = signed_in(mira).post("/projects/proofs/cap/", {"cap": "250.50"}, follow=True)
    assert "The cap is $250.50 a month now." in page.content.decode()
    assert Budget.objects.get().cap == Decimal("250.50")


@pytest.mark.parametrize("cap", ["", "-1", "much", "1e30", "NaN"])
def test_a_cap_that_is_no_amount_is_refused_beside_the_field(project: Project, mira: User, cap: str) -> None:
    page = signed_in(mira).post("/projects/proofs/cap/", {"cap": cap})
    assert page.status_code == 422
    assert 'class="err"' in page.content.decode()
    assert Budget.objects.get().cap == 100


@pytest.mark.parametrize("role", [Role.VIEWER, Role.SUBMITTER, Role.APPROVER])
def test_only_managers_see_and_use_the_cap_form(project: Project, role: Role) -> None:
    person = a_person("jo@example.com")
    project.members.add(person, through_defaults={"role": role})
    client = signed_in(person)
    assert "cap/" not in client.get("/projects/proofs/").content.decode()
    assert client.post("/projects/proofs/cap/", {"cap": "5"}).status_code == 403
    assert Budget.objects.get().cap == 100


def test_a_cap_below_what_is_committed_is_shown_as_over(project: Project, mira: User) -> None:
    a_job(project, mira, Status.COMPLETED)
    spend.set_cap(Decimal("0.01"), project=project)
    page = signed_in(mira).get("/projects/proofs/")
    assert page.context["period"].is_over
    assert "Nothing more is admitted until it fits" in page.content.decode()


def test_a_refusal_is_listed_with_what_was_missing(project: Project, mira: User) -> None:
    spend.set_cap(Decimal("0.01"), project=project)
    with pytest.raises(spend.BudgetRefused):
        lifecycle.submit(a_spec(project, mira))
    page = signed_in(mira).get("/projects/proofs/")
    assert "Refused this month" in page.content.decode()
    assert page.context["refusals"][0].shortfall > 0


def test_names_that_people_chose_do_not_become_markup(mira: User) -> None:
    project = a_project(members={mira: Role.MANAGER})
    Project.objects.update(name="<script>x</script>", cost_centre="<i>")
    mira.name = "<b>Mira"
    mira.save()
    a_job(project, mira, Status.COMPLETED, spec={"title": "<script>y</script>"})
    for path in ("/projects/", "/projects/proofs/", "/budget/"):
        html = signed_in(mira).get(path).content.decode()
        assert "<script>x" not in html
        assert "<script>y" not in html
        assert "<b>Mira" not in html


def test_pages_of_projects_need_few_queries(
    project: Project, mira: User, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    for status in (Status.COMPLETED, Status.FAILED, Status.IN_PROGRESS):
        a_job(project, mira, status)
    spend.set_cap(Decimal("0.01"), project=project)
    with pytest.raises(spend.BudgetRefused):
        lifecycle.submit(a_spec(project, mira))
    client = signed_in(mira)
    with django_assert_max_num_queries(14):
        client.get("/projects/proofs/")
    with django_assert_max_num_queries(10):
        client.get("/projects/")
