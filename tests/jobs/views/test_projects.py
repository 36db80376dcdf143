"""Projects: what is spent, held and left, for members; cap, settings and archive, for managers."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.forms import ProjectForm
from jobs.models import Budget, BudgetPeriod, Connection, Project, Status, User, trail
from tests.factories import a_person, a_project, a_spec
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


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


def test_the_models_that_a_project_allows_are_named(project: Project, mira: User) -> None:
    client = signed_in(mira)
    assert "<dt>Models</dt><dd>all</dd>" in client.get("/projects/proofs/").content.decode()
    project.allowed_models.set(["o3", "gpt-6-sol"])
    assert "<dt>Models</dt><dd>gpt-6-sol, o3</dd>" in client.get("/projects/proofs/").content.decode()


def test_pages_of_projects_need_few_queries(
    project: Project, mira: User, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    for status in (Status.COMPLETED, Status.FAILED, Status.IN_PROGRESS):
        a_job(project, mira, status)
    spend.set_cap(Decimal("0.01"), project=project)
    with pytest.raises(spend.BudgetRefused):
        lifecycle.submit(a_spec(project, mira))
    client = signed_in(mira)
    with django_assert_max_num_queries(12):
        client.get("/projects/proofs/")
    with django_assert_max_num_queries(10):
        client.get("/projects/")


SETTINGS = {
    "name": "Lemmas",
    "cost_centre": "K-17",
    "default_model": "gpt-6-sol",
    "default_mode": "pro",
    "default_effort": "low",
    "default_max_output_tokens": "30,000",
    "allowed_models": ["gpt-6-sol", "gpt-6-luna"],
    "allowed_efforts": ["low", "high"],
    "job_limit": "5",
    "unconfirmed_rule": "ask",
}


@pytest.fixture
def operator() -> User:
    return a_person("ops@example.com", name="Ops", is_superuser=True)


def said(project: Project) -> list[str]:
    return [entry.get_change_message() for entry in trail.trail_of(project)]


def test_a_manager_changes_the_settings_and_each_change_is_kept(project: Project, mira: User) -> None:
    client = signed_in(mira)
    page = client.post("/projects/proofs/settings/", SETTINGS, follow=True).content.decode()
    project.refresh_from_db()
    assert (project.name, project.slug, project.cost_centre) == ("Lemmas", "proofs", "K-17")
    assert (project.default_model_id, project.default_mode, project.default_effort) == (
        "gpt-6-sol",
        "pro",
        "low",
    )
    assert (project.default_max_output_tokens, project.job_limit) == (30_000, 5)
    assert set(project.allowed_models.values_list("pk", flat=True)) == {"gpt-6-sol", "gpt-6-luna"}
    assert said(project) == [
        "Name: Proofs → Lemmas; Cost centre: none → K-17; Default model: none → GPT-6 Sol; "
        "Default mode: standard → pro; Default effort: none → low; Default output limit: 40000 → 30000; "
        "Allowed models: all → gpt-6-luna, gpt-6-sol; Allowed efforts: all → low, high; "
        "Limit per job: none → 5"
    ]
    assert "Limit per job: none → 5" in page
    client.post("/projects/proofs/settings/", SETTINGS)
    assert len(said(project)) == 1, "what stays as it is makes no line"
    client.post("/projects/proofs/settings/", {**SETTINGS, "job_limit": "", "allowed_models": []})
    assert said(project)[0] == "Allowed models: gpt-6-luna, gpt-6-sol → all; Limit per job: 5 → none"


def test_the_limit_that_the_settings_show_can_be_saved_again(project: Project, mira: User) -> None:
    client = signed_in(mira)
    client.post("/projects/proofs/settings/", {**SETTINGS, "job_limit": "2.5"})
    form = client.get("/projects/proofs/settings/").context["form"]
    shown = str(form["job_limit"].value())
    assert shown == "2.50"
    assert client.post("/projects/proofs/settings/", {**SETTINGS, "job_limit": shown}).status_code == 302
    assert len(said(project)) == 1


def test_a_manager_sets_the_rule_for_unconfirmed_jobs(project: Project, mira: User) -> None:
    client = signed_in(mira)
    page = client.get("/projects/proofs/settings/").content.decode()
    assert re.search(r'value="ask"[^>]*checked', page)
    assert "Send it again: both sends may be charged, twice its ceiling at most" in page
    client.post("/projects/proofs/settings/", {**SETTINGS, "unconfirmed_rule": "resend"})
    project.refresh_from_db()
    assert project.unconfirmed_rule == "resend"
    assert "Rule for unconfirmed jobs: ask → resend" in said(project)[0]
    answer = client.post("/projects/proofs/settings/", {**SETTINGS, "unconfirmed_rule": "always"})
    assert answer.status_code == 422
    project.refresh_from_db()
    assert project.unconfirmed_rule == "resend"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"name": ""}, "This field is required."),
        ({"default_model": "gpt-6.1-sol"}, "This model is not among those allowed below."),
        ({"default_model": "gpt-4"}, "Select a valid choice."),
        ({"default_effort": "medium"}, "This effort is not among those allowed below."),
        (
            {"default_model": "gpt-5.4-pro", "allowed_models": [], "default_effort": "low"},
            "gpt-5.4-pro has the efforts medium, high, xhigh.",
        ),
        ({"default_model": "gpt-5.4-pro", "allowed_models": []}, "gpt-5.4-pro has the modes standard."),
        ({"default_max_output_tokens": "999,999"}, "tokens for gpt-6-sol."),
        ({"default_max_output_tokens": "many"}, "Write a whole number of tokens"),
        ({"job_limit": "0"}, "greater than or equal to 0.01"),
        ({"allowed_efforts": ["extreme"]}, "Select a valid choice."),
    ],
)
def test_settings_with_which_nothing_could_be_sent_are_refused(
    project: Project, mira: User, wrong: dict[str, Any], sentence: str
) -> None:
    answer = signed_in(mira).post("/projects/proofs/settings/", {**SETTINGS, **wrong})
    assert answer.status_code == 422
    assert sentence in answer.content.decode()
    project.refresh_from_db()
    assert project.name == "Proofs"
    assert '<span class="nm" title="Proofs">Proofs</span>' in answer.content.decode()


def test_a_project_without_a_model_of_its_own_takes_any_effort(project: Project, mira: User) -> None:
    wanted = {**SETTINGS, "default_model": "", "allowed_models": [], "default_mode": "standard"}
    assert signed_in(mira).post("/projects/proofs/settings/", wanted).status_code == 302


def test_only_an_operator_chooses_the_connection(project: Project, mira: User, operator: User) -> None:
    other = Connection.objects.create(name="Other", base_url="https://b.example/v1", is_practice=True)
    wanted = {**SETTINGS, "connection": other.pk}
    client = signed_in(mira)
    assert 'name="connection"' not in client.get("/projects/proofs/settings/").content.decode()
    client.post("/projects/proofs/settings/", wanted)
    project.refresh_from_db()
    assert project.connection.name == "practice"
    signed_in(operator).post("/projects/proofs/settings/", wanted)
    project.refresh_from_db()
    assert project.connection == other


def test_a_project_changes_sides_before_its_first_job_and_never_after(
    project: Project, mira: User, operator: User
) -> None:
    real = Connection.objects.create(name="Real", base_url="https://b.example/v1")
    practice = project.connection
    client = signed_in(operator)
    for connection in (real, practice):
        client.post("/projects/proofs/settings/", {**SETTINGS, "connection": connection.pk})
        project.refresh_from_db()
        assert project.connection == connection
    a_job(project, mira, Status.COMPLETED)
    answer = client.post("/projects/proofs/settings/", {**SETTINGS, "connection": real.pk})
    assert "it cannot become real" in answer.content.decode()
    played = a_project("paid", is_practice=False)
    a_job(played, operator, Status.COMPLETED)
    answer = client.post("/projects/paid/settings/", {**SETTINGS, "connection": practice.pk})
    assert "it cannot become practice" in answer.content.decode()
    played.refresh_from_db()
    assert not played.is_practice


def test_a_job_that_comes_in_while_the_form_is_saved_keeps_the_project_on_its_side(
    project: Project, mira: User, operator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Connection.objects.create(name="Real", base_url="https://b.example/v1")
    keep = ProjectForm.keep

    def after_a_job(form: ProjectForm) -> Project:
        a_job(project, mira, Status.COMPLETED)
        return keep(form)

    monkeypatch.setattr(ProjectForm, "keep", after_a_job)
    signed_in(operator).post("/projects/proofs/settings/", {**SETTINGS, "connection": real.pk})
    project.refresh_from_db()
    assert project.is_practice
    assert project.name == "Lemmas"


def test_a_cap_is_written_down_with_what_it_was(project: Project, mira: User) -> None:
    client = signed_in(mira)
    client.post("/projects/proofs/cap/", {"cap": "250.50"})
    assert said(project) == ["Cap a month: $100.00 → $250.50"]
    capless = a_project("capless", cap=None, members={mira: Role.MANAGER})
    client.post("/projects/capless/cap/", {"cap": "5"})
    assert said(capless) == ["Cap a month: none → $5.00"]


def test_an_operator_makes_a_project_with_its_cap(project: Project, operator: User) -> None:
    client = signed_in(operator)
    wanted = {"name": "Grant modelling", "cap": "40", "connection": project.connection_id}
    assert client.post("/projects/new/", wanted)["Location"] == "/projects/grant-modelling/members/"
    made = Project.objects.get(slug="grant-modelling")
    assert Budget.objects.get(project=made).cap == 40
    assert said(made) == ["On practice, cap a month $40.00"]
    page = client.get(f"/projects/new/?connection={project.connection_id}").content.decode()
    assert f'<option value="{project.connection_id}" selected>' in page


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"slug": "new"}, "This word is taken by a page."),
        ({"slug": "proofs"}, "already exists"),
        ({"slug": "a b"}, "Enter a valid “slug”"),
        ({"name": "数"}, "Write one: the name has no letters that an address can carry."),
        ({"name": ""}, "This field is required."),
        ({"cap": "-1"}, "greater than or equal to 0"),
        ({"connection": ""}, "This field is required."),
    ],
)
def test_what_is_no_project_is_refused(
    project: Project, operator: User, wrong: dict[str, str], sentence: str
) -> None:
    wanted = {"name": "Tilings", "cap": "40", "connection": project.connection_id}
    answer = signed_in(operator).post("/projects/new/", wanted | wrong)
    assert answer.status_code == 422
    assert sentence in answer.content.decode()
    assert Project.objects.count() == 1


def test_a_project_goes_to_the_archive_and_back(project: Project, mira: User) -> None:
    client = signed_in(mira)
    page = client.post("/projects/proofs/archive/", follow=True).content.decode()
    assert "Proofs is archived." in page
    assert "This project is archived." in page
    assert "New job here" not in page
    page = client.get("/projects/").content.decode()
    assert "Archive" in page
    assert "/projects/proofs/" in page
    page = client.post("/projects/proofs/unarchive/", follow=True).content.decode()
    assert "Proofs takes jobs again." in page
    assert "New job here" in page


def test_a_practice_project_is_offered_the_archive_once_the_real_api_is_connected(
    project: Project, mira: User
) -> None:
    client = signed_in(mira)
    assert "The real API is connected." not in client.get("/projects/proofs/").content.decode()
    Connection.objects.create(name="Real", base_url="https://b.example/v1")
    page = client.get("/projects/proofs/").content.decode()
    assert "The real API is connected." in page
    assert "Archive this project" in page


@pytest.mark.parametrize("path", ["settings/", "members/"])
def test_the_further_pages_of_a_project_are_for_managers(project: Project, path: str) -> None:
    person = a_person("jo@example.com")
    project.members.add(person, through_defaults={"role": Role.APPROVER})
    client = signed_in(person)
    assert f"proofs/{path}" not in client.get("/projects/proofs/").content.decode()
    assert client.get(f"/projects/proofs/{path}").status_code == 403


def test_the_settings_take_few_queries(
    project: Project, operator: User, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    client = signed_in(operator)
    for name in ("A", "B", "C"):
        client.post(
            "/projects/proofs/settings/", {**SETTINGS, "name": name, "connection": project.connection_id}
        )
    client.get("/projects/proofs/settings/")
    with django_assert_max_num_queries(13):
        client.get("/projects/proofs/settings/")
