"""What a month likely comes to is noted for everyone, of the real projects that each of them sees."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from jobs import clock, lifecycle, tasks
from jobs.access import Role
from jobs.models import Connection, Project, User, Workspace, month_end_of
from tests.factories import a_person, a_project
from tests.jobs.views.rollups import spend_days
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db
TODAY = dt.date(2026, 6, 19)  # a Friday
DAYS = {dt.date(2026, 4, 13) + dt.timedelta(days=number): Decimal(number % 7) for number in range(67)}


@pytest.fixture(autouse=True)
def _noon(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PONDER_TODAY = TODAY
    monkeypatch.setattr(clock, "gone", lambda _: 0.5)


@pytest.fixture
def proofs(person: User) -> Project:
    return spending("proofs", person, 1)


def spending(slug: str, person: User, times: int, *, is_practice: bool = False) -> Project:
    project = a_project(slug, is_practice=is_practice, members={person: Role.SUBMITTER})
    spend_days(project, person, {day: cost * times for day, cost in DAYS.items()})
    return project


def told(person: User) -> Decimal | None:
    person.refresh_from_db()
    return person.month_end


def test_everyone_is_told_of_the_real_projects_they_see(proofs: Project, person: User) -> None:
    eve, ana = a_person("eve@example.com"), a_person("ana@example.com", is_superuser=True)
    outsider, gone = a_person("out@example.com"), a_person("gone@example.com", is_active=False)
    bugs = spending("bugs", eve, 10)
    spending("play", person, 1000, is_practice=True)
    proofs.membership_set.create(user=gone, role=Role.MANAGER)
    lifecycle.foretell()
    mine, hers, whole = told(person), told(eve), told(ana)
    assert mine is not None
    assert hers is not None
    assert whole is not None
    assert 57 < mine < 120 < hers
    assert abs(mine + hers - whole) < whole / 20
    assert (told(outsider), told(gone)) == (None, None)
    assert person.month_end_of == month_end_of(TODAY, [proofs.pk])
    assert ana.month_end_of == month_end_of(TODAY, [bugs.pk, proofs.pk])
    bugs.membership_set.create(user=person, role=Role.VIEWER)
    lifecycle.foretell()
    assert told(person) == whole


def test_what_is_held_is_expected_as_far_as_holds_are_usually_charged(proofs: Project, person: User) -> None:
    lifecycle.foretell()
    before = told(person)
    assert before is not None
    job = a_job(proofs, person, "in_progress")
    lifecycle.foretell()
    assert told(person) == before + job.worst_case.quantize(Decimal("0.01"))
    a_job(proofs, person, "completed", cost=job.worst_case / 10)
    lifecycle.foretell()
    after = told(person)
    assert after is not None
    assert before < after < before + job.worst_case


def test_too_early_to_tell_is_told_as_nothing(proofs: Project, person: User, settings: Any) -> None:
    lifecycle.foretell()
    assert told(person)
    settings.PONDER_TODAY = dt.date(2026, 12, 1)
    lifecycle.foretell()
    assert told(person) is None


def test_it_is_told_once_an_hour(proofs: Project, person: User) -> None:
    tasks.sweep()
    assert told(person)


def test_without_anyone_or_anything_nothing_is_told() -> None:
    Connection.objects.all().delete()
    lifecycle.foretell()
    assert Workspace.objects.the().pk


def test_many_people_who_see_the_same_are_told_at_once(
    proofs: Project, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(5):
        proofs.membership_set.create(user=a_person(f"eve{number}@example.com"), role=Role.VIEWER)
    # The zone twice, projects, memberships and operators, days and holds; then one for all of them.
    with django_assert_num_queries(8):
        lifecycle.foretell()


def test_an_operator_is_told_once_of_all_projects_also_as_a_member_of_some(
    proofs: Project, person: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    bugs = spending("bugs", person, 10)
    ana = a_person("ana@example.com", is_superuser=True)
    proofs.membership_set.create(user=ana, role=Role.MANAGER)
    with django_assert_num_queries(8):
        lifecycle.foretell()
    assert told(ana) == told(person)
    assert ana.month_end_of == month_end_of(TODAY, [bugs.pk, proofs.pk])
