"""Questions written once: they give what their QuerySets give, to whoever asks, and leave nothing behind."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from jobs import lifecycle
from jobs.access import Role
from jobs.models import Job, Project, Status, User, job_queries
from jobs.models.job_queries import Order, Place
from jobs.models.questions import (
    AS_JOINED,
    BY_INDEX,
    IN_ORDER,
    Among,
    Anyone,
    Asked,
    Asking,
    Blank,
    Question,
    Statement,
    ask_in_step,
)
from tests.factories import a_person, a_project, a_spec
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def mira() -> User:
    return a_person()


@pytest.fixture
def project(mira: User) -> Project:
    return a_project(members={mira: Role.SUBMITTER})


@pytest.fixture
def jonas() -> User:
    return a_person("jonas@example.com")


def test_a_question_gives_the_rows_its_queryset_gives(
    project: Project, mira: User, django_assert_num_queries: Any
) -> None:
    jobs = [a_job(project, mira, Status.COMPLETED) for _ in range(3)]
    question = Question(
        Job.objects.filter(Among("pk", Blank("ids"))).select_related("project__connection").with_usage()
    )
    for ids in ([jobs[0].pk], [jobs[1].pk, jobs[2].pk], []):
        with django_assert_num_queries(1):
            found = question.ask(ids=ids)
            assert [job.project.connection.name for job in found] == ["practice"] * len(ids)
        assert {job.pk: job.usage["output_tokens"] for job in found} == dict.fromkeys(ids, 9_000)


def test_a_question_of_values_gives_them_as_its_queryset_does(project: Project, mira: User) -> None:
    job = a_job(project, mira, Status.COMPLETED)
    rows = Job.objects.filter(short_id=Blank("short_id"))
    assert Question(rows.values("pk", slug=F("project__slug"))).ask(short_id=job.short_id) == [
        {"pk": job.pk, "slug": "proofs"}
    ]
    assert Question(rows.values_list("pk", flat=True)).ask(short_id=job.short_id) == [job.pk]
    tokens = Question(rows.values_list("attempt__usage__output_tokens"), hint=AS_JOINED)
    assert tokens.ask(short_id=job.short_id) == [(9_000,)]


def test_everyone_is_told_only_what_they_may_see_by_the_same_question(
    project: Project, mira: User, jonas: User
) -> None:
    theirs = a_project("theirs", members={jonas: Role.SUBMITTER})
    mine, other = lifecycle.submit(a_spec(project, mira)), a_job(theirs, jonas, Status.COMPLETED)
    question = Question(Job.objects.visible_to(Anyone(is_superuser=False)).order_by("pk"))
    number = Job.objects.visible_to(Anyone(is_superuser=False)).number(10)
    for person, seen in ((mira, [mine]), (jonas, [other]), (a_person("new@example.com"), [])):
        assert question.ask(person=person.pk) == seen == list(Job.objects.visible_to(person))
        assert number.ask(person=person.pk) == [(len(seen),)]
    everything = Question(Job.objects.visible_to(Anyone(is_superuser=True)).order_by("pk"))
    assert everything.ask(person=mira.pk) == [mine, other]


def test_readers_go_in_step_and_share_their_trips(
    project: Project, mira: User, django_assert_num_queries: Any
) -> None:
    job = a_job(project, mira, Status.COMPLETED)
    slugs = Statement("{}", Project.objects.filter(Among("pk", Blank("ids"))).values_list("slug"))
    jobs = Question(Job.objects.filter(project__slug=Blank("slug")), hint=AS_JOINED)
    told: list[Any] = []

    def first() -> Asking:
        ((slug,),), nobody = yield [Asked(slugs, {"ids": [project.pk]}), Asked(slugs, {"ids": []})]
        told.append((slug, nobody))

    def second() -> Asking:
        yield [Asked(slugs, {"ids": [0]})]
        ((slug, _),) = told  # by the reader before it, in this step
        (found,) = yield [Asked(jobs, {"slug": slug})]
        told.append(found)
        yield []

    with django_assert_num_queries(2):
        ask_in_step(first(), second())
    assert told == [("proofs", []), [job]]


@pytest.mark.parametrize("hint", [BY_INDEX, IN_ORDER, AS_JOINED])
def test_a_hint_holds_for_one_question_only(project: Project, hint: tuple[tuple[str, str], ...]) -> None:
    setting = Statement("SELECT current_setting({})", Blank("name"), hint=hint)
    outer = Statement("SELECT upper(held) FROM ({}) inside(held)", setting)
    found = Question(Project.objects.filter(pk=Blank("pk")), hint=hint)
    assert found.ask(pk=project.pk) == [project]
    for name, value in hint:
        assert setting.ask(name=name) == [(value,)]
        assert outer.ask(name=name) == [(value.upper(),)]
        with connection.cursor() as cursor:
            cursor.execute(f"SHOW {name}")
            assert cursor.fetchone() != (value,)


def test_threads_share_a_question_but_no_connection(project: Project) -> None:
    question = Question(Project.objects.filter(slug=Blank("slug")))
    assert question.ask(slug="proofs") == [project]

    def ask() -> list[Project]:
        try:
            return question.ask(slug="proofs")
        finally:
            connection.close()

    # Another connection does not see what this test has not committed.
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ask).result() == []


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("few", [1, 1_000])
def test_the_first_of_few_and_of_many_are_the_same(
    project: Project, mira: User, monkeypatch: pytest.MonkeyPatch, order: Order, few: int
) -> None:
    monkeypatch.setattr(job_queries, "FEW", few)
    for cost in (3, 1, 2, 1):
        job = a_job(project, mira, Status.COMPLETED)
        Job.objects.filter(pk=job.pk).update(cost=cost)
    rows = Job.objects.filter(project=project)
    whole = list(rows.page(4, order))
    first = rows.versions_of_few(2, order).ask()
    assert {pk for pk, *_ in first} == {job.pk for job in whole[:2]}
    if order is Order.COSTLIEST:
        after = Place(whole[1].cost, whole[1].pk)
        rest = rows.versions_of_few(4, order, after=after).ask()
        assert {pk for pk, *_ in rest} == {job.pk for job in whole[2:]}
    assert rows.filter(effort="none").versions_of_few(2, order).ask() == []
