"""Filters, orders, search and export of the list: each finds what it says, and only what one may see."""

import asyncio
import csv
import datetime as dt
import io
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import AsyncRequestFactory, Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs import lifecycle
from jobs.access import Role
from jobs.forms.job_filter import Wanted
from jobs.models import ApiToken, Job, Project, Status, User
from jobs.views import export, job_list, job_tally
from jobs.views.frame import Frame
from jobs.views.job_list import JobList
from tests.factories import a_person, a_project, a_spec
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def jonas() -> User:
    return a_person("jonas@example.com")


@pytest.fixture
def project(mira: User, jonas: User) -> Project:
    return a_project(members={mira: Role.SUBMITTER, jonas: Role.SUBMITTER})


def ended(project: Project, by: User, answer: str = "", **wanted: Any) -> Job:
    """Make a completed job, with its words kept."""
    job = a_job(project, by, Status.COMPLETED, answer={"text": answer} if answer else None, **wanted)
    lifecycle.render_due()
    return job


def html(client: Client, query: str = "") -> str:
    answer = client.get(f"/jobs/?{query}")
    assert answer.status_code == 200
    return str(answer.content.decode())


def shown(client: Client, query: str = "") -> list[str]:
    return re.findall(r'id="row-(j_\w+)"', html(client, query))


def tabs(text: str) -> dict[str, str]:
    found = re.findall(
        r'<a id="tab-\d" [^>]*>([A-Z][a-z ]+[a-z])(?: <span class="n">([^<]*)</span>)?</a>', text
    )
    return dict(found)


def sum_of(text: str) -> str:
    return unescape(re.findall(r'id="sum">([^<]*)<', text)[0])


def test_every_filter_finds_its_own(signed_in: Client, project: Project, mira: User, jonas: User) -> None:
    other = a_project("other", members={mira: Role.SUBMITTER})
    old = timezone.now() - dt.timedelta(days=40)
    token = ApiToken.objects.create(name="night", project=project, user=mira, prefix="p", digest="d")
    found = {
        f"token={token.pk}": ended(project, mira, spec={"model": "o3", "token": token}),
        "project=other": ended(other, mira, spec={"model": "o3"}),
        f"by={jonas.pk}": ended(project, jonas, spec={"model": "o3"}),
        "model=o3-pro": ended(project, mira, spec={"model": "o3-pro"}),
        "effort=high": ended(project, mira, spec={"model": "o3", "effort": "high"}),
        "tag=urgent": ended(project, mira, spec={"model": "o3", "tags": ("urgent", "x")}),
        f"until={old.date()}": ended(project, mira, spec={"model": "o3"}, created_at=old),
    }
    for query, job in found.items():
        assert shown(signed_in, query) == [job.short_id], query
    assert set(shown(signed_in, "by=me")) == {
        job.short_id for job in found.values() if job.submitted_by_id == mira.pk
    }
    assert len(shown(signed_in, f"since={timezone.localdate()}")) == 6
    assert len(shown(signed_in, "model=o3&project=proofs&tag=urgent")) == 1
    assert shown(signed_in, "model=o3-pro&tag=urgent") == []


@pytest.mark.parametrize(
    "query", ["project=nowhere", "by=x", "by=99999999999999999999", "by=-1", "model=gone"]
)
def test_a_filter_for_what_is_not_there_finds_nothing(
    signed_in: Client, project: Project, mira: User, query: str
) -> None:
    ended(project, mira)
    assert shown(signed_in, query) == []
    assert "Nothing matches" in html(signed_in, query)


def test_an_archived_project_can_be_asked_for(signed_in: Client, project: Project, mira: User) -> None:
    job = ended(project, mira)
    project.archive(by=mira)
    assert shown(signed_in, "project=proofs") == [job.short_id]
    assert '<option value="proofs" selected>' in html(signed_in, "project=proofs")


def test_the_costliest_and_the_longest_come_first_page_by_page(
    signed_in: Client, project: Project, mira: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_list, "PAGE", 2)
    now, made = timezone.now(), []
    for cost, seconds in ((3, 10), (1, 40), (2, 10), (3, 0), (1, 20)):
        job = ended(project, mira, sent_at=now, finished_at=now + dt.timedelta(seconds=seconds))
        Job.objects.filter(pk=job.pk).update(cost=Decimal(cost) / 7)
        made.append((cost, seconds, job))
    never_sent = a_job(project, mira, Status.CANCELLED, sent_at=None, cost=Decimal(0))
    made.append((0, 0, never_sent))
    for order, part in (("costliest", 0), ("longest", 1)):
        path, seen = f"sort={order}", []
        while path:
            text = html(signed_in, path)
            seen += re.findall(r'id="row-(j_\w+)"', text)
            more = re.search(r'href="\?([^"]*after=[^"]+)">Next', text)
            path = unescape(more[1]) if more else ""
        expected = sorted(made, key=lambda one: (one[part], one[2].pk), reverse=True)
        assert seen == [job.short_id for *_, job in expected], order


def test_what_is_in_flight_has_no_order_but_its_age(signed_in: Client, project: Project, mira: User) -> None:
    jobs = [lifecycle.submit(a_spec(project, mira, max_output_tokens=n * 1_000)) for n in (9, 3)]
    assert shown(signed_in, "status=in_flight&sort=costliest") == [job.short_id for job in jobs[::-1]]


def test_tabs_and_total_count_what_stands_under_them(
    signed_in: Client, project: Project, mira: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for status in (Status.COMPLETED, Status.COMPLETED, Status.FAILED, Status.IN_PROGRESS):
        a_job(project, mira, status, cost=None if status == Status.IN_PROGRESS else Decimal("1.25"))
    a_job(a_project("other", members={mira: Role.SUBMITTER}), mira, Status.FAILED, cost=Decimal(9))
    text = html(signed_in, "project=proofs")
    assert tabs(text) == {
        "All": "3", "In flight": "1", "Completed": "2", "Incomplete": "0", "Failed": "1", "Cancelled": "0",
    }  # fmt: skip
    assert sum_of(text) == "3 jobs · $3.75"
    assert sum_of(html(signed_in, "project=proofs&status=failed")) == "1 job · $1.25"
    monkeypatch.setattr(job_tally, "MOST_COUNTED", 2)
    text = html(signed_in, "project=proofs")
    assert (tabs(text)["All"], tabs(text)["Completed"]) == ("2+", "2")
    assert sum_of(text) == "2+ jobs"


def test_jobs_with_a_tag_are_counted_like_all_others_however_many_they_are(
    signed_in: Client, project: Project, mira: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for status in (Status.COMPLETED, Status.COMPLETED, Status.FAILED):
        a_job(project, mira, status, cost=Decimal(1), spec={"tags": ("x",)})
    a_job(project, mira, Status.COMPLETED, cost=Decimal(5))
    text = html(signed_in, "tag=x")
    assert (tabs(text)["All"], tabs(text)["Completed"], tabs(text)["Failed"]) == ("3", "2", "1")
    assert sum_of(text) == "3 jobs · $3.00"
    monkeypatch.setattr(job_tally, "MOST_COUNTED", 1)
    monkeypatch.setattr(job_tally, "MOST_LOOKED_AT", 2)
    text = html(signed_in, "tag=x")
    assert (tabs(text)["All"], tabs(text)["Completed"], tabs(text)["Failed"]) == ("1+", "1+", "1")
    assert sum_of(text) == "1+ jobs"


def test_practice_never_adds_to_what_is_real(signed_in: Client, project: Project, mira: User) -> None:
    real = a_project("real", is_practice=False, members={mira: Role.SUBMITTER})
    a_job(project, mira, Status.COMPLETED, cost=Decimal(5))
    a_job(real, mira, Status.COMPLETED, cost=Decimal(2))
    text = html(signed_in)
    assert sum_of(text) == "2 jobs · $2.00"
    assert "1 charged · $2.00" in text
    assert sum_of(html(signed_in, "project=proofs")) == "1 job · $5.00"
    assert "1 charged · $5.00" in html(signed_in, "project=proofs")


def test_a_day_says_what_it_cost_only_where_the_rollups_know(
    signed_in: Client, project: Project, mira: User, jonas: User
) -> None:
    a_job(project, mira, Status.COMPLETED, cost=Decimal("1.50"), spec={"tags": ("x",)})
    a_job(project, jonas, Status.COMPLETED, cost=Decimal("2.50"))
    assert "2 charged · $4.00" in html(signed_in)
    assert "1 charged · $1.50" in html(signed_in, "by=me")
    assert "1 charged · $2.50" in html(signed_in, f"by={jonas.pk}&model=o3-pro&effort=low&project=proofs")
    for query in ("status=completed", "tag=x", "q=lemma", "sort=costliest"):
        assert "charged" not in html(signed_in, query), query


def test_search_finds_titles_prompts_and_answers_and_marks_them(
    signed_in: Client, project: Project, mira: User
) -> None:
    evil = "<script>alert(1)</script> \x02 the walrus \x03 <b>walrus</b>"
    answered = ended(project, mira, evil, spec={"title": "First"})
    titled = ended(project, mira, spec={"title": "Walruses <i>of</i> the north"})
    running = a_job(project, mira, Status.IN_PROGRESS, spec={"prompt": "Is a walrus in flight?"})
    ended(project, mira, "A seal.")
    text = html(signed_in, "q=walrus")
    assert shown(signed_in, "q=walrus") == [job.short_id for job in (running, titled, answered)]
    assert "<mark>Walruses</mark> &lt;i&gt;of&lt;/i&gt; the north" in text
    assert "the <mark>walrus</mark>" in text
    assert "<script>alert" not in text
    assert "\x02" not in text
    assert "\x03" not in text
    assert sum_of(text).startswith("3 jobs · ")
    assert (tabs(text)["All"], tabs(text)["In flight"]) == ("3", "1")
    assert shown(signed_in, "q=walrus&status=in_flight") == [running.short_id]
    assert shown(signed_in, "q=walrus&by=me&status=completed&model=o3") == []
    assert "Nothing has these words" in html(signed_in, "q=unheard")
    assert "hx-get" not in text.partition('id="flight"')[2].partition(">")[0]


def test_search_finds_nothing_of_projects_one_is_not_in(
    signed_in: Client, project: Project, jonas: User
) -> None:
    theirs = a_project("theirs", members={jonas: Role.SUBMITTER})
    ended(theirs, jonas, "The walrus is theirs")
    text = html(signed_in, "q=walrus")
    assert "Nothing has these words" in text
    assert set(tabs(text).values()) == {"0"}


def test_words_that_most_jobs_have_are_found_without_a_count(
    signed_in: Client, project: Project, mira: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [ended(project, mira, f"walrus {n}") for n in range(3)]
    monkeypatch.setattr(job_list, "MOST_FOUND", 2)
    text = html(signed_in, "q=walrus")
    assert shown(signed_in, "q=walrus") == [job.short_id for job in jobs[::-1]]
    assert set(tabs(text).values()) == {""}
    assert sum_of(text) == ""


@pytest.mark.parametrize(
    "query", ["", "q=lemma", "sort=longest&project=proofs", "q=lemma&by=me&status=failed"]
)
def test_no_filter_takes_more_than_twelve_queries(
    signed_in: Client, project: Project, mira: User, query: str
) -> None:
    for _ in range(3):
        ended(project, mira, "the lemma")
    with CaptureQueriesContext(connection) as asked:
        html(signed_in, query)
    assert len(asked) <= 12


def exported(client: Client, query: str = "", kind: str = "csv") -> str:
    answer = client.get(f"/jobs/export.{kind}?{query}")
    assert f'.{kind}"' in answer["Content-Disposition"]
    return b"".join(answer).decode()


def test_an_export_has_every_row_of_the_list_in_its_order(
    signed_in: Client, project: Project, mira: User, jonas: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "BATCH", 2)
    mine = [ended(project, mira, spec={"tags": ("a", "b")}) for _ in range(5)]
    ended(project, jonas)
    ended(a_project("theirs", members={jonas: Role.SUBMITTER}), jonas)
    rows = list(csv.DictReader(io.StringIO(exported(signed_in, "by=me"))))
    assert [row["job"] for row in rows] == [job.short_id for job in mine[::-1]]
    records = [json.loads(line) for line in exported(signed_in, "by=me", "jsonl").splitlines()]
    assert [record["job"] for record in records] == [job.short_id for job in mine[::-1]]
    assert (rows[0]["project"], rows[0]["tags"], rows[0]["output_tokens"]) == ("proofs", "a, b", "9000")
    assert (records[0]["tags"], records[0]["reasoning_tokens"]) == (["a", "b"], 8_000)
    assert Decimal(rows[0]["cost_usd"]) == Decimal(records[0]["cost_usd"]) == mine[0].cost
    assert rows[0].keys() == records[0].keys()
    running = lifecycle.submit(a_spec(project, mira))
    (row,) = csv.DictReader(io.StringIO(exported(signed_in, "status=in_flight")))
    assert (row["job"], row["cost_usd"], row["finished_at"]) == (running.short_id, "", "")


def test_practice_is_in_an_export_only_where_nothing_else_is(
    signed_in: Client, project: Project, mira: User
) -> None:
    real = a_project("real", is_practice=False, members={mira: Role.MANAGER})
    practised, earnest = ended(project, mira), ended(real, mira)

    def found(query: str = "") -> set[str]:
        return {row["job"] for row in csv.DictReader(io.StringIO(exported(signed_in, query)))}

    assert found() == {earnest.short_id}
    assert found(f"project={project.slug}") == {practised.short_id}
    real.membership_set.all().delete()
    assert found() == {practised.short_id}


def test_an_export_of_nothing_is_a_head_alone(signed_in: Client, project: Project) -> None:
    assert exported(signed_in).startswith("job,title,project,")
    assert len(exported(signed_in).splitlines()) == 1
    assert exported(signed_in, kind="jsonl") == ""


def test_no_cell_of_an_export_is_a_formula(signed_in: Client, project: Project, mira: User) -> None:
    for begin in "=+-@":
        ended(project, mira, spec={"title": f"{begin}HYPERLINK(1)", "tags": (f"{begin}tag",)})
    for row in csv.DictReader(io.StringIO(exported(signed_in))):
        assert row["title"].startswith("'")
        assert row["tags"].startswith("'")


def test_the_server_reads_an_export_batch_by_batch_as_it_sends(
    project: Project, mira: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        ended(project, mira)
    request = AsyncRequestFactory().get("/jobs/export.csv")
    request.user = mira
    read: list[int] = []
    batches = list(JobList(Frame(mira), Wanted.of(request.GET, mira)).batches(1))

    def one_by_one(_list: JobList, _most: int) -> Iterator[list[Job]]:
        # Another thread asks for them, which does not see what this test has not committed.
        for number, batch in enumerate(batches):
            read.append(number)
            yield batch

    monkeypatch.setattr(JobList, "batches", one_by_one)
    answer = export.export(request, "csv")
    assert answer.is_async
    seen: list[tuple[int, int]] = []

    async def receive() -> None:
        async for part in answer:
            seen.append((part.count(b"\n"), len(read)))

    asyncio.run(receive())
    assert seen == [(2, 1), (1, 2), (1, 3)]
