"""All results of one schema in a project: one table over many jobs, page by page, and as a spreadsheet."""

import csv
import io
import json
import re
from typing import Any

import pytest
from django.test import Client

from jobs.access import Role
from jobs.models import Job, Project, Prompt, Status, User
from jobs.views import results
from tests.factories import a_person, a_project
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def project(mira: User) -> Project:
    return a_project(members={mira: Role.VIEWER})


@pytest.fixture
def tomas() -> User:
    return a_person("tomas@example.com", is_superuser=True)


def a_result(project: Project, by: User, value: Any, *, schema: str = "terms", **answer: Any) -> Job:
    kept = {"text": json.dumps(value), "parsed": value, **answer}
    job = a_job(project, by, Status.COMPLETED, answer=kept, spec={"title": f"Job of {by}"})
    Prompt.objects.filter(job=job).update(schema_name=schema)
    return job


def page(client: Client, path: str = "/results/proofs/terms/") -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def rows(html: str) -> int:
    return html.count('<td class="n">')


def test_rows_of_all_jobs_stand_in_one_table_newest_first(
    signed_in: Client, project: Project, tomas: User
) -> None:
    first = a_result(project, tomas, {"rows": [{"party": "A<b>", "cap": 5_000_000}, {"party": "B"}]})
    second = a_result(project, tomas, {"rows": [{"party": "C", "law": "SE"}]})
    a_result(project, tomas, {"rows": [{"party": "other schema"}]}, schema="others")
    html = page(signed_in)
    assert rows(html) == 3
    assert re.findall('class="(mono[ r]*)">([a-z]+)</th>', html) == [
        ("mono", "party"),
        ("mono", "law"),
        ("mono r", "cap"),
    ]
    assert html.index(second.short_id) < html.index(first.short_id)
    assert f'href="{first.get_absolute_url()}#/rows/1"' in html
    assert "A&lt;b&gt;" in html
    assert '<td class="r">5,000,000</td>' in html
    assert "2 jobs in Proofs used this schema" in html
    assert "other schema" not in html


def test_an_answer_without_a_list_is_one_row(signed_in: Client, project: Project, tomas: User) -> None:
    job = a_result(project, tomas, {"holds": True, "proof": {"steps": 3}})
    html = page(signed_in)
    assert rows(html) == 1
    assert 'class="mono r">proof.steps</th>' in html
    assert f'href="{job.get_absolute_url()}"' in html


def test_a_row_that_does_not_fit_is_marked(signed_in: Client, project: Project, tomas: User) -> None:
    error = {"path": "/rows/1/a", "message": "2 is wrong.", "rule": "enum"}
    a_result(project, tomas, {"rows": [{"a": 1}, {"a": 2}]}, validation_errors=[error])
    html = page(signed_in)
    assert html.count('<tr class="bad">') == 1
    assert '#/rows/1" title="Does not fit the schema">2</a>' in html


def test_pages_go_on_after_a_job_and_none_is_lost_between(
    signed_in: Client, project: Project, tomas: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "PAGE", 2)
    jobs = [a_result(project, tomas, {"n": n}) for n in range(5)]
    seen, path = [], "/results/proofs/terms/"
    while path:
        html = page(signed_in, path)
        seen += [
            job
            for job in reversed(jobs)
            if job.short_id in html.partition("<tbody>")[2].partition("</table>")[0]
        ]
        _, _, more = html.partition('href="?after=')
        path = f"/results/proofs/terms/?after={more[: more.index(chr(34))]}" if more else ""
    assert seen == jobs[::-1]
    assert ">Newest</a>" in html


@pytest.mark.parametrize("after", ["j_00000000", "%00", "x"])
def test_a_page_after_nothing_is_the_first(
    signed_in: Client, project: Project, tomas: User, after: str
) -> None:
    a_result(project, tomas, {"n": 1})
    assert rows(page(signed_in, f"/results/proofs/terms/?after={after}")) == 1


def test_one_job_fills_no_page_alone(
    signed_in: Client, project: Project, tomas: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "MOST_ROWS", 3)
    a_result(project, tomas, [{"n": n} for n in range(9)])
    a_result(project, tomas, {"n": 1})
    assert rows(page(signed_in)) == 4


def test_a_page_ends_when_it_has_enough_rows(
    signed_in: Client, project: Project, tomas: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "ENOUGH", 3)
    jobs = [a_result(project, tomas, [{"n": n} for n in range(2)]) for _ in range(3)]
    html = page(signed_in)
    assert rows(html) == 4
    assert f'href="?after={jobs[1].short_id}"' in html
    last = page(signed_in, f"/results/proofs/terms/?after={jobs[1].short_id}")
    assert rows(last) == 2
    assert "?after=" not in last


def test_jobs_without_a_result_are_counted_and_not_listed(
    signed_in: Client, project: Project, tomas: User
) -> None:
    running = a_job(project, tomas, Status.IN_PROGRESS)
    refused = a_job(project, tomas, Status.COMPLETED, answer={"text": "No.", "is_refusal": True})
    Prompt.objects.filter(job__in=[running, refused]).update(schema_name="terms")
    html = page(signed_in)
    assert "2 jobs in Proofs" in html
    assert "None of them has a result here." in html


def test_all_results_are_a_spreadsheet_without_formulas(
    signed_in: Client, project: Project, tomas: User
) -> None:
    job = a_result(project, tomas, {"rows": [{"party": "=A", "cap": -1.50}, {"party": "B", "+law": None}]})
    a_result(project, tomas, {"holds": False})
    answer = signed_in.get("/results/proofs/terms/?format=csv")
    assert answer["Content-Disposition"] == 'attachment; filename="proofs-terms.csv"'
    found = list(csv.reader(io.StringIO(answer.content.decode())))
    assert found[0] == ["job", "title", "created_at", "model", "row", "holds", "party", "cap", "'+law"]
    assert found[1][4:] == ["", "false", "", "", ""]
    assert [row[4:] for row in found[2:]] == [["1", "", "'=A", "-1.5", ""], ["2", "", "B", "", ""]]
    assert found[2][0] == job.short_id


def test_a_foreign_project_and_an_unused_schema_are_not_there(
    signed_in: Client, project: Project, tomas: User
) -> None:
    other = a_project("secret")
    a_result(other, tomas, {"n": 1})
    a_result(project, tomas, {"n": 1})
    for path in ("/results/secret/terms/", "/results/nowhere/terms/", "/results/proofs/unused/"):
        assert signed_in.get(path).status_code == 404
        assert signed_in.get(f"{path}?format=csv").status_code == 404


def test_a_job_says_how_many_used_its_schema_and_leads_there(
    signed_in: Client, project: Project, tomas: User, django_assert_max_num_queries: Any
) -> None:
    job = a_result(project, tomas, {"n": 1})
    html = page(signed_in, job.get_absolute_url())
    assert "1 job used <b>terms</b>" in html
    a_result(project, tomas, {"n": 2})
    html = page(signed_in, job.get_absolute_url())
    assert '2 jobs used <b>terms</b>. <a class="lk" href="/results/proofs/terms/">' in html
    with django_assert_max_num_queries(12):
        page(signed_in)
