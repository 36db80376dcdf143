"""The ledger behind the budget: every figure is the sum of rows one may see, page by page and as a file."""

import csv
import datetime as dt
import html
import io
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import transaction
from django.http import StreamingHttpResponse
from django.test import Client

from jobs import spend
from jobs.access import Role
from jobs.models import ApiToken, Attempt, Basis, Budget, Job, LedgerEntry, Project, Status, User
from jobs.views import ledger as page_of_ledger
from jobs.views.downloads import spreadsheet_cell
from jobs.views.ledger import Ledger
from tests.factories import a_person, a_project
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def real(mira: User) -> Project:
    return a_project("bugs", is_practice=False, members={mira: Role.SUBMITTER})


def shown(client: Client, query: str = "") -> Ledger:
    found = client.get(f"/budget/ledger/?{query}").context["ledger"]
    assert isinstance(found, Ledger)
    return found


def rows_of(client: Client, query: str = "") -> list[dict[str, str]]:
    answer = client.get(f"/budget/ledger/?{query}&format=csv")
    assert isinstance(answer, StreamingHttpResponse)
    return list(csv.DictReader(io.StringIO(answer.getvalue().decode())))


def usd(rows: list[dict[str, str]]) -> Decimal:
    return sum((Decimal(row["usd"]) for row in rows), Decimal(0))


def jobs_in(rows: list[dict[str, str]]) -> int:
    """Count the charges that rest on something: what a correction makes rest on something counts once."""
    spent = (row for row in rows if row["kind"] in ("charge", "adjust"))
    return len({row["attempt"] for row in spent if row["basis"] != "none"})


@pytest.fixture
def busy(real: Project, mira: User) -> Project:
    """Two projects, two people, two models, tags, and something in flight."""
    other = a_project("contracts", is_practice=False, members={mira: Role.SUBMITTER})
    jo = a_person("jo@example.com")
    other.members.add(jo, through_defaults={"role": Role.SUBMITTER})
    luna = {"model": "gpt-6-luna", "mode": "standard"}
    a_job(real, mira, Status.COMPLETED, cost=Decimal("1.25"), spec={"tags": ("a", "b")})
    a_job(real, mira, Status.COMPLETED, cost=Decimal("0.50"), spec={**luna, "tags": ("a",)})
    a_job(other, jo, Status.COMPLETED, cost=Decimal("2.0000000003"), spec=luna)
    a_job(other, mira, Status.FAILED, cost=Decimal(0))
    a_job(real, mira, Status.IN_PROGRESS)
    a_job(other, jo, Status.UNCONFIRMED)
    return real


@pytest.fixture
def uneven(real: Project, mira: User, settings: Any, request: pytest.FixtureRequest) -> Project:
    """October and November, with all that makes jobs, charges and rows of the ledger differ in number."""
    token = ApiToken.objects.create(name="night", project=real, user=mira, prefix="p", digest="d")
    settings.PONDER_TODAY = dt.date(2026, 10, 20)
    a_job(real, mira, Status.COMPLETED, cost=Decimal("3.75"), spec={"tags": ("a",)})
    a_job(real, mira, Status.COMPLETED, cost=Decimal("4.50"), spec={"token": token})
    a_job(real, mira, Status.IN_PROGRESS)
    settings.PONDER_TODAY = dt.date(2026, 11, 20)
    request.getfixturevalue("busy")
    by_token = a_job(
        real, mira, Status.COMPLETED, cost=Decimal("0.70"), spec={"token": token, "tags": ("b",)}
    )
    # Submitted in a month that is over, and admitted in this one.
    Job.objects.filter(pk=by_token.pk).update(created_at=by_token.created_at - dt.timedelta(days=40))
    corrected = a_job(real, mira, Status.COMPLETED, cost=Decimal("0.90"), spec={"tags": ("a",)})
    uncharged = a_job(real, mira, Status.FAILED, cost=Decimal(0), basis=Basis.NONE, spec={"tags": ("a",)})
    found = a_job(real, mira, Status.FAILED, cost=Decimal(0), basis=Basis.NONE)
    assert uncharged.cost == 0
    with transaction.atomic():
        attempt = Attempt.objects.get(job=corrected)
        spend.adjust(attempt, was=attempt.cost, to=Decimal("0.60"), reason="bill", actor=mira, key="a")
        attempt = Attempt.objects.get(job=found)
        spend.adjust(attempt, was=attempt.cost, to=Decimal("0.05"), reason="bill", actor=mira, key="b")
        budget = Budget.objects.get(project=real)
        spend.grant(budget, Decimal(5), key="grant:1", actor=mira, reason="a deadline")
    return real


@pytest.mark.parametrize("query", ["", "?project=bugs", "?month=2026-10"])
def test_every_figure_of_the_budget_leads_to_the_rows_it_sums_and_counts(
    uneven: Project, mira: User, query: str
) -> None:
    client = Client()
    client.force_login(mira)
    page = client.get(f"/budget/{query}").content.decode()
    links = re.findall(r'<a class="fig" href="/budget/ledger/\?([^"]+)">(.*?)</a>', page)
    assert len(links) > 20
    assert '<a class="fig" href="/jobs/' not in page  # a list of jobs is by the day they were submitted
    counts = 0
    for query, words in {(html.unescape(query), words) for query, words in links}:
        found, rows = shown(client, query), rows_of(client, query)
        told = Decimal(re.sub(r"<.*?>|[$, held]", "", words))
        if "$" not in words:
            counts += 1
            assert told == found.jobs == jobs_in(rows), query
            continue
        figure = found.held if found.kind == "held" else found.spent
        assert figure is not None
        assert usd(rows) == figure, query
        # Whole dollars in narrow places, cents elsewhere; what is held is rounded up.
        assert abs(told - figure) < (Decimal("0.01") if "." in words else 1), (query, words)
    assert counts >= 4


def test_no_sum_of_a_table_leads_nowhere(uneven: Project, mira: User) -> None:
    client = Client()
    client.force_login(mira)
    page = client.get("/budget/").content.decode()
    tables = {
        title: table
        for section in re.findall(r"<section.*?</section>", page, re.DOTALL)
        for title, table in [(re.findall(r"<h2>(.*?)</h2>", section)[0], section)]
    }
    for title in ("Top spenders", "By model", "Costliest jobs", "Projects and caps"):
        bare = set(re.findall(r">([^<>]*\$[^<>]*)</td>", tables[title]))
        assert bare <= {"$0", "$0.00"}, title
    assert '<span class="nb">October: <a class="fig"' in tables["Projects and caps"]
    assert page.count("month=2026-10&amp;kind=spent&amp;person=") == 2  # mira's own and her token's
    assert "month=2026-10&amp;kind=spent&amp;tag=a" in page
    assert "month=2026-10&amp;kind=spent&amp;model=o3-pro" in page
    assert (
        '<td class="r"><a class="fig" href="/budget/ledger/?month=2026-10&amp;kind=spent">$8.25</a>' in page
    )


def test_the_ledger_says_how_many_jobs_its_rows_are(uneven: Project, mira: User) -> None:
    client = Client()
    client.force_login(mira)

    def html_of(query: str) -> str:
        return client.get(f"/budget/ledger/?month=2026-11&{query}").content.decode()

    page = html_of(f"kind=spent&person={mira.pk}&token=none")
    assert "$2.40</b> spent on <b>5</b> jobs: the sum of these 8 rows." in page
    assert "A correction is a row of its own and no other job" in page
    page = html_of("kind=spent&tag=b")
    assert "$1.95</b> spent on <b>2</b> jobs: the sum of these 2 rows." in page
    assert "A correction is a row" not in page
    assert "spent: the sum of these 2 rows." in html_of("kind=adjust")
    assert "spent on <b>1</b> job, <b>$0.00</b> held now: the sum of the charges" in html_of(
        f"job={Job.objects.get(cost=Decimal('0.70')).short_id}"
    )


def test_a_page_that_has_not_all_rows_says_so(
    uneven: Project, mira: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_of_ledger, "PAGE", 3)
    client = Client()
    client.force_login(mira)
    query, said = (
        "month=2026-11&kind=spent&project=bugs",
        "the sum of all these rows, more than this page has.",
    )
    for _ in range(3):
        assert said in client.get(f"/budget/ledger/?{query}").content.decode()
        query = shown(client, query).older


@pytest.mark.parametrize(
    "query",
    ["", "project=bugs", "person={mira}", "model=gpt-6-luna", "effort=low", "tag=a", "day={today}",
     "tag=a&person={mira}", "model=gpt-6-luna&person={mira}", "project=contracts&day={today}&effort=low",
     "tag=a&person={mira}&token=none", "person={mira}&token=none", "month=2026-10&tag=a"],
)  # fmt: skip
def test_what_a_page_says_is_spent_is_the_sum_of_all_its_rows(
    uneven: Project, mira: User, query: str
) -> None:
    client = Client()
    client.force_login(mira)
    asked = query.format(mira=mira.pk, today="2026-11-20")
    spent, held = rows_of(client, f"{asked}&kind=spent"), rows_of(client, f"{asked}&kind=held")
    found = shown(client, asked)
    assert (found.spent, found.jobs) == (usd(spent), jobs_in(spent))
    assert found.held == usd(held)
    assert spent


def test_what_is_held_is_what_the_periods_hold(busy: Project, mira: User) -> None:
    client = Client()
    client.force_login(mira)
    assert shown(client, "kind=held").held == client.get("/budget/").context["month"].held > 0


def test_only_rows_one_may_see_are_there(real: Project, mira: User) -> None:
    hidden = a_project("secret", is_practice=False)
    operator = a_person("ops@example.com", is_superuser=True)
    job = a_job(hidden, operator, Status.COMPLETED)
    client = Client()
    client.force_login(mira)
    for query in ("", f"person={operator.pk}", f"job={job.short_id}", "kind=spent&model=o3-pro", "tag=a"):
        found = shown(client, query)
        assert (found.entries, found.spent, found.held or 0) == ([], 0, 0)
        assert rows_of(client, query) == []
    assert "Secret" not in client.get(f"/budget/ledger/?job={job.short_id}").content.decode()
    assert client.get("/budget/ledger/?project=secret").status_code == 404
    assert client.get("/budget/ledger/?project=secret&format=csv").status_code == 404
    client.force_login(operator)
    assert shown(client).spent == job.cost > 0


def test_practice_stands_apart(real: Project, mira: User) -> None:
    practice = a_project(members={mira: Role.SUBMITTER})
    a_job(practice, mira, Status.COMPLETED)
    client = Client()
    client.force_login(mira)
    assert shown(client).entries == []
    assert shown(client, "side=practice").spent
    page = client.get("/budget/ledger/?side=practice").content.decode()
    assert "Made-up money" in page
    assert "format=csv" not in page
    assert rows_of(client, "side=practice") == []
    assert rows_of(client, "project=proofs") == []


def test_pages_follow_each_other_without_a_gap(
    busy: Project, mira: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_of_ledger, "PAGE", 3)
    monkeypatch.setattr(page_of_ledger, "BATCH", 2)
    client = Client()
    client.force_login(mira)
    seen, query = [], "month="
    while query:
        found = shown(client, query)
        seen += [entry.pk for entry in found.entries]
        query = found.older
    assert seen == list(LedgerEntry.objects.order_by("-spent_on", "-pk").values_list("pk", flat=True))
    assert [int(row["entry"]) for row in rows_of(client)] == seen
    assert found.first
    assert "First page</a>" in client.get(f"/budget/ledger/?after=2026-01-01-{seen[0]}").content.decode()


@pytest.mark.parametrize(
    "query",
    ["kind=nothing", "day=tomorrow", "after=x", "after=2026-99-99-1", "model=%00", "person=me", "tag="],
)
def test_what_is_no_filter_counts_as_not_asked(busy: Project, mira: User, query: str) -> None:
    client = Client()
    client.force_login(mira)
    assert len(shown(client, query).entries) == LedgerEntry.objects.count()


def test_a_token_is_told_from_its_person(real: Project, mira: User) -> None:
    token = ApiToken.objects.create(name="night", project=real, user=mira, prefix="p", digest="d")
    a_job(real, mira, Status.COMPLETED, cost=Decimal(1))
    a_job(real, mira, Status.COMPLETED, cost=Decimal(3), spec={"token": token})
    client = Client()
    client.force_login(mira)
    assert shown(client, f"kind=spent&person={mira.pk}").spent == 4
    assert shown(client, f"kind=spent&token={token.pk}").spent == 3
    assert shown(client, f"kind=spent&person={mira.pk}&token=none").spent == 1
    assert shown(client, "kind=spent&token=999").spent == 0
    page = client.get(f"/budget/ledger/?token={token.pk}").content.decode()
    assert "token: night" in page


def test_one_job_is_shown_with_all_its_rows_and_every_digit(real: Project, mira: User) -> None:
    job = a_job(real, mira, Status.COMPLETED, cost=Decimal("0.0312000001"))
    client = Client()
    client.force_login(mira)
    found = shown(client, f"job={job.short_id}")
    assert [entry.kind for entry in found.entries] == ["charge", "release", "hold"]
    assert (found.spent, found.held) == (Decimal("0.0312000001"), 0)
    page = client.get(f"/budget/ledger/?job={job.short_id}").content.decode()
    assert "$0.0312000001" in page
    assert "−$" in page


def test_grants_stand_with_the_workspaces_own_for_operators_only(real: Project, mira: User) -> None:
    month = dt.date(2026, 11, 1)
    for budget, key in ((Budget.objects.get(project=real), "a"), (spend.set_cap(Decimal(900)), "b")):
        LedgerEntry.objects.create(
            kind="grant",
            budget=budget,
            project=budget.project,
            month=month,
            spent_on=month,
            amount=5,
            idempotency_key=key,
        )
    client = Client()
    client.force_login(mira)
    assert shown(client, "month=2026-11&kind=grant").granted == 5
    client.force_login(a_person("ops@example.com", is_superuser=True))
    found = shown(client, "month=2026-11&kind=grant")
    assert (found.granted, found.spent, found.held) == (10, None, None)
    assert "$10.00</b> granted" in client.get("/budget/ledger/?month=2026-11&kind=grant").content.decode()


@pytest.mark.parametrize(
    ("query", "spent"), [("person=1.5", 1), ("person=1e3", 0), ("day=1/2/2020", 0), ("token=x", 0)]
)
def test_a_sum_is_there_however_a_filter_is_written(
    signed_in: Client, real: Project, mira: User, query: str, spent: int
) -> None:
    a_job(real, mira, Status.COMPLETED, cost=Decimal(1))
    assert shown(signed_in, query).spent == spent


def test_fewer_tokens_are_a_number_in_the_file() -> None:
    assert spreadsheet_cell(-12) == "-12"


def test_no_cell_of_the_file_is_a_formula(real: Project, mira: User) -> None:
    mira.name = "=1+1"
    mira.save()
    a_job(real, mira, Status.COMPLETED)
    client = Client()
    client.force_login(mira)
    assert {row["person"] for row in rows_of(client)} == {"'=1+1"}


def test_a_page_of_the_ledger_needs_few_queries(
    busy: Project, mira: User, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    client = Client()
    client.force_login(mira)
    for query in ("", "kind=held", "kind=spent&tag=a", f"person={mira.pk}&model=o3-pro"):
        with django_assert_max_num_queries(8):
            client.get(f"/budget/ledger/?{query}")


def test_who_sees_no_project_finds_no_rows(busy: Project) -> None:
    client = Client()
    client.force_login(a_person("new@example.com"))
    for query in ("", "kind=held", "tag=a", "side=practice"):
        assert shown(client, query).entries == []
        assert rows_of(client, query) == []


@pytest.mark.parametrize("tag", ["a/b%s", "ü" * 60, "/" * 60, "{},'\\"])
def test_a_tag_finds_its_rows_however_it_is_written(real: Project, mira: User, tag: str) -> None:
    a_job(real, mira, Status.COMPLETED, cost=Decimal("1.25"), spec={"tags": (tag,)})
    a_job(real, mira, Status.COMPLETED, cost=Decimal("0.50"), spec={"tags": ("a",)})
    client = Client()
    client.force_login(mira)
    query = urlencode({"kind": "spent", "tag": tag})
    found = shown(client, query)
    assert [entry.amount for entry in found.entries] == [found.spent] == [Decimal("1.25")]
    assert usd(rows_of(client, query)) == Decimal("1.25")
    assert shown(client, urlencode({"tag": f"{'/' * 60}{real.pk}"})).entries == []


def test_rows_show_whatever_people_wrote_as_text(real: Project, mira: User) -> None:
    mira.name = "<img src=x onerror=alert(1)>"
    mira.save()
    Project.objects.filter(pk=real.pk).update(name='"><script>alert(2)</script>')
    a_job(real, mira, Status.COMPLETED, spec={"title": "<b>bold</b>"})
    client = Client()
    client.force_login(mira)
    page = client.get("/budget/ledger/?kind=spent").content.decode()
    assert "<img src=x" not in page
    assert "<script>alert(2)" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
