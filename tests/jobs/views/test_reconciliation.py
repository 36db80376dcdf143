"""The page of reconciliations: what it says, whom it shows itself to, and what its buttons do."""

from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from jobs.models import (
    Cause,
    Job,
    Project,
    Reconciliation,
    ReconciliationLine,
    ReconciliationPart,
    Status,
    User,
)
from jobs.models.reconciliation import PATIENCE
from tests.factories import a_person
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db

PAGE = "/settings/reconciliation/"


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(a_person("operator@example.com", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def job(project: Project, mira: User) -> Job:
    return a_job(project, mira, Status.COMPLETED, answer={"text": "yes"})


def a_run(**more: Any) -> Reconciliation:
    given = {
        "is_practice": True,
        "since": "2026-10-20",
        "until": "2026-11-23",
        "ended_at": "2026-11-23T10:00Z",
    }
    return Reconciliation.objects.create(**{**given, **more})


def a_line(run: Reconciliation, cause: Cause = Cause.PRICE, **more: Any) -> ReconciliationLine:
    return ReconciliationLine.objects.create(reconciliation=run, cause=cause, model="gpt-6-sol", **more)


def test_without_an_admin_key_it_says_what_to_set(operator: Client, settings: Settings) -> None:
    shown = operator.get(PAGE).text
    assert "No connection here leads to OpenAI." in shown
    assert "Reconcile now" not in shown


def test_asking_for_one_has_a_worker_do_it(operator: Client, project: Project) -> None:
    assert "Nothing has been reconciled yet." in operator.get(f"{PAGE}?practice=on").text
    answer = operator.post(PAGE, {"practice": "on"})
    assert answer.headers["Location"] == f"{PAGE}?practice=on"
    assert "Reading the bill" in operator.get(f"{PAGE}?practice=on").text
    live = operator.get(f"{PAGE}live/?practice=on", headers={"HX-Request": "true"})
    assert "Reading the bill" in live.text
    assert "<h2" not in live.text
    Reconciliation.objects.update(asked_at=Reconciliation.objects.get().asked_at - PATIENCE)
    assert "Do the workers run?" in operator.get(f"{PAGE}?practice=on").text


def test_asking_where_there_is_no_bill_says_why(operator: Client) -> None:
    assert "No connection here leads to OpenAI." in operator.post(PAGE, follow=True).text


def test_what_went_wrong_is_shown_instead_of_a_result(operator: Client, project: Project) -> None:
    a_run(problem="OpenAI does not know the key in OPENAI_ADMIN_KEY.")
    assert "OpenAI does not know the key" in operator.get(f"{PAGE}?practice=on").text


def test_each_difference_has_its_cause_its_jobs_and_its_button(operator: Client, job: Job) -> None:
    run = a_run(billed="12", booked="10")
    price = a_line(run, billed="12", booked="10", jobs=1, day="2026-11-20", note="1.2 times the price.")
    attempt = job.attempt_set.get()
    ReconciliationPart.objects.create(line=price, attempt=attempt, was=attempt.cost, should_be="12")
    a_line(run, Cause.MATCHED, billed="5", booked="5", jobs=7)
    shown = operator.get(f"{PAGE}?practice=on").text
    assert "Every dollar is explained." in shown
    assert "1.2 times the price." in shown
    assert job.get_absolute_url() in shown
    assert shown.count("Book it") == 1
    assert shown.index("Price change") < shown.index("Matched")


def test_what_is_not_explained_comes_first(operator: Client, project: Project) -> None:
    run = a_run(residual="3")
    a_line(run, Cause.LATE, day="2026-11-22")
    a_line(run, Cause.UNEXPLAINED, billed="3", day="2026-11-01")
    shown = operator.get(f"{PAGE}?practice=on").text
    assert "$3.00 is not explained." in shown
    assert shown.index("Not explained") < shown.index("Late")


def test_booking_needs_a_reason_and_is_then_shown(operator: Client, job: Job) -> None:
    attempt = job.attempt_set.get()
    line = a_line(a_run(), billed="12", booked=attempt.cost, jobs=1)
    ReconciliationPart.objects.create(line=line, attempt=attempt, was=attempt.cost, should_be="12")
    path = f"{PAGE}{line.pk}/book/"
    assert "Say why" in operator.post(path, {"practice": "on"}, follow=True).text
    shown = operator.post(path, {"practice": "on", "reason": "a new price"}, follow=True).text
    assert "is booked, with your name and reason in the ledger." in shown
    assert "Booked by Operator: a new price" in shown
    assert "Book it" not in shown


def test_an_unknown_difference_is_nowhere(operator: Client) -> None:
    assert operator.post(f"{PAGE}1/book/", {"reason": "no"}).status_code == 404


def test_the_page_takes_as_many_queries_for_many_lines(
    operator: Client, job: Job, django_assert_max_num_queries: Any
) -> None:
    run = a_run()
    for number in range(30):
        line = a_line(run, billed=str(number), jobs=1)
        ReconciliationPart.objects.create(line=line, attempt=job.attempt_set.get(), should_be="1")
    with django_assert_max_num_queries(16):
        operator.get(f"{PAGE}?practice=on")
