"""The page of requests: who asks sees what was decided, and only who may set the cap decides."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.models import Budget, BudgetPeriod, BudgetRequest, Project, User
from tests.factories import a_person, a_project, a_spec
from tests.markup import faults

pytestmark = pytest.mark.django_db
PAGE = "/budget/more/"


@pytest.fixture(autouse=True)
def _november(settings: Settings) -> None:
    settings.PONDER_TODAY = dt.date(2026, 11, 15)


@pytest.fixture
def budget(project: Project) -> Budget:
    return Budget.objects.get(project=project)


@pytest.fixture
def ana(project: Project) -> Client:
    """A manager of the project, signed in."""
    ana = a_person("ana@example.com")
    project.membership_set.create(user=ana, role=Role.MANAGER)
    client = Client()
    client.force_login(ana)
    return client


@pytest.fixture
def wish(budget: Budget, mira: User) -> BudgetRequest:
    return lifecycle.ask_for_budget(
        budget, Decimal("5.25"), until=dt.date(2026, 11, 20), why="A <deadline>.", by=mira
    )


def text(answer: Any) -> str:
    html = answer.content.decode()
    assert faults(html) == []
    return " ".join(html.split())


def test_a_submitter_asks_and_a_manager_decides(
    signed_in: Client, ana: Client, budget: Budget, mira: User
) -> None:
    asked = {"budget": budget.pk, "amount": "5.25", "until": "2026-11-20", "why": "A <deadline>."}
    assert signed_in.post(PAGE, asked)["Location"] == PAGE
    page = text(signed_in.get(PAGE))
    assert "Not decided yet" in page
    assert "Mira asks for" not in page
    page = text(ana.get(PAGE))
    assert "Mira asks for $5.25 more" in page
    assert "A &lt;deadline&gt;." in page
    assert 'value="5.25"' in page
    wish = BudgetRequest.objects.get()
    given = {"amount": "4", "until": "2026-11-18", "note": "Less will do."}
    assert "Granted: $4.00 more" in text(ana.post(f"{PAGE}{wish.pk}/grant/", given, follow=True))
    assert BudgetPeriod.objects.get().granted == 4
    assert "Granted by Ana: Less will do." in text(signed_in.get(PAGE))
    assert "Someone has decided about it meanwhile." in text(
        ana.post(f"{PAGE}{wish.pk}/grant/", given, follow=True)
    )
    assert "Someone has decided about it meanwhile." in text(
        ana.post(f"{PAGE}{wish.pk}/refuse/", {"note": "No."}, follow=True)
    )


def test_a_no_needs_its_reason(ana: Client, signed_in: Client, wish: BudgetRequest) -> None:
    assert "Say why" in text(ana.post(f"{PAGE}{wish.pk}/refuse/", follow=True))
    assert "Refused. Mira sees why." in text(
        ana.post(f"{PAGE}{wish.pk}/refuse/", {"note": "Wait for December."}, follow=True)
    )
    assert "Refused by Ana: Wait for December." in text(signed_in.get(PAGE))


def test_a_grant_for_another_month_or_of_nothing_is_refused(ana: Client, wish: BudgetRequest) -> None:
    for wrong in ({"until": "2026-12-01"}, {"until": "2026-11-14"}, {"amount": "0"}):
        given = {"amount": "4", "until": "2026-11-18", **wrong}
        assert "Nothing was granted." in text(ana.post(f"{PAGE}{wish.pk}/grant/", given, follow=True))
    assert BudgetPeriod.objects.get().granted == 0


def test_who_may_not_set_the_cap_decides_nothing(signed_in: Client, wish: BudgetRequest) -> None:
    given = {"amount": "4", "until": "2026-11-18", "note": "x"}
    for act in ("grant", "refuse"):
        assert signed_in.post(f"{PAGE}{wish.pk}/{act}/", given).status_code == 404


def test_caps_of_the_workspace_and_of_people_are_for_operators(
    ana: Client, signed_in: Client, project: Project, mira: User
) -> None:
    a_project("real", is_practice=False, members={mira: Role.SUBMITTER})
    workspace, own = spend.set_cap(Decimal(9)), spend.set_cap(Decimal(9), user=mira)
    foreign = spend.set_cap(Decimal(9), user=a_person("eve@example.com"))
    asked = {"amount": "5", "until": "2026-11-20", "why": "A deadline."}
    for budget in (workspace, own):
        assert signed_in.post(PAGE, {**asked, "budget": budget.pk}).status_code == 302
    assert signed_in.post(PAGE, {**asked, "budget": foreign.pk}).status_code == 422
    assert "asks for" not in text(ana.get(PAGE)).replace("asks for it", "")
    client = Client()
    client.force_login(a_person("ops@example.com", is_superuser=True))
    assert text(client.get(PAGE)).count("Mira asks for $5.00 more") == 2
    for wish in BudgetRequest.objects.all():
        client.post(f"{PAGE}{wish.pk}/grant/", {"amount": "5", "until": "2026-11-20"})
    periods = BudgetPeriod.objects.filter(granted=5)
    assert set(periods.values_list("budget", flat=True)) == {workspace.pk, own.pk}


def test_a_job_that_waits_for_room_fills_the_form_with_what_is_missing(
    signed_in: Client, project: Project, mira: User
) -> None:
    spend.set_cap(Decimal("0.50"), project=project)
    job = lifecycle.ask(a_spec(project, mira), why="It settles the lemma.")
    page = text(signed_in.get(f"{PAGE}?job={job.short_id}"))
    short = job.worst_case - Decimal("0.50")
    assert f'name="amount" value="{short.quantize(Decimal("0.01"), "ROUND_CEILING")}"' in page
    assert "It settles the lemma." in page
    asked = {"budget": Budget.objects.get().pk, "amount": "5", "until": "2026-11-30", "why": "Needed."}
    answer = signed_in.post(PAGE, {**asked, "job": job.short_id})
    assert answer["Location"] == job.get_absolute_url()
    assert BudgetRequest.objects.get().job == job
    spend.set_cap(Decimal(50), project=project)
    worst = job.worst_case.quantize(Decimal("0.01"), "ROUND_CEILING")
    assert f'value="{worst}"' in text(signed_in.get(f"{PAGE}?job={job.short_id}"))


def test_anothers_job_or_one_that_does_not_wait_is_not_found(
    signed_in: Client, ana: Client, project: Project, mira: User
) -> None:
    job = lifecycle.submit(a_spec(project, mira))
    assert signed_in.get(f"{PAGE}?job={job.short_id}").status_code == 404
    spend.set_cap(Decimal("0.50"), project=project)
    waits = lifecycle.ask(a_spec(project, mira, prompt="Another?"))
    assert ana.get(f"{PAGE}?job={waits.short_id}").status_code == 404


def test_a_grant_that_comes_as_the_month_changes_says_so(
    ana: Client, wish: BudgetRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_args: Any, **_kwargs: Any) -> None:
        raise lifecycle.BadUntil

    monkeypatch.setattr(lifecycle, "grant_budget", late)
    given = {"amount": "4", "until": "2026-11-18"}
    assert "Another month has begun." in text(ana.post(f"{PAGE}{wish.pk}/grant/", given, follow=True))


def test_no_grant_is_too_large_for_the_books(ana: Client, budget: Budget, mira: User) -> None:
    for _ in range(3):
        wish = lifecycle.ask_for_budget(
            budget, Decimal(5), until=dt.date(2026, 11, 20), why="A deadline.", by=mira
        )
        for amount in ("9999999999.99", "99999999.99"):
            ana.post(f"{PAGE}{wish.pk}/grant/", {"amount": amount, "until": "2026-11-20"})
    assert BudgetPeriod.objects.get().granted == 3 * Decimal("99999999.99")
