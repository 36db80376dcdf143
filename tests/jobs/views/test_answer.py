"""An answer on its page: long ones part by part, structured ones as table, tree and JSON; and as files."""

import csv
import io
import json
import re
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.test import Client

from jobs import spend
from jobs.access import Role
from jobs.models import Answer, Job, Membership, ModelSpec, Project, Prompt, Status, User
from jobs.rendering import RENDERER_VERSION, parts, render, results
from jobs.templatetags import ui
from jobs.views import downloads
from jobs.views.downloads import spreadsheet_cell
from tests.factories import a_person
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db

RENDERED = {"renderer_version": RENDERER_VERSION}
SCHEMA = {
    "type": "object",
    "properties": {
        "rows": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"on": {"type": "string", "format": "date"}},
                "required": ["on"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["rows"],
    "additionalProperties": False,
}
ROWS = [
    {"party": f"Party {n}", "on": "2024-01-08", "cap": n * 10_000, "renews": bool(n % 2)} for n in range(12)
]
VALUE = {"rows": ROWS, "currency": "SEK"}
WRONG = {"path": "/rows/6/on", "message": "2024-02-30 is not a date.", "rule": "format"}


def prose(project: Project, by: User, text: str, **answer: Any) -> Job:
    kept = {"text": text, "html": render(text), **RENDERED, **answer}
    return a_job(project, by, Status.COMPLETED, answer=kept)


def structured(
    project: Project, by: User, value: Any = VALUE, *errors: dict[str, str], text: str = "", **spec: Any
) -> Job:
    kept = {"text": text or json.dumps(value), "parsed": value, "validation_errors": list(errors), **RENDERED}
    job = a_job(project, by, Status.COMPLETED, answer=kept, spec=spec)
    Prompt.objects.filter(job=job).update(schema_name="terms", schema=SCHEMA)
    return job


def page(client: Client, job: Job, **query: str) -> str:
    return client.get(job.get_absolute_url(), query).content.decode()


# ---- prose ----


def test_a_long_answer_shows_its_first_part_and_fetches_the_rest(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = prose(project, mira, "\n\n".join(f"## Section {n}\n\n" + "words " * 300 for n in range(160)))
    first = page(signed_in, job)
    assert "Show the rest" in first
    assert "KB more" in first
    assert "Section 10<" in first
    assert "Section 150<" not in first
    url = f"{job.get_absolute_url()}answer/rest/"
    rest = signed_in.get(url, {"version": RENDERER_VERSION}).content.decode()
    assert "Section 150<" in rest
    assert rest.startswith(parts.OPEN)
    shown = first.partition('id="answer">')[2].partition('<p class="more"')[0]
    assert shown + rest == Answer.objects.get(job=job).html
    whole = page(signed_in, job, whole="")
    assert "Section 150<" in whole
    assert "Show the rest" not in whole


def test_the_rest_of_an_answer_that_was_rendered_meanwhile_reloads_the_page(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = prose(project, mira, "short")
    for version in ("0", "", "x"):
        answer = signed_in.get(f"{job.get_absolute_url()}answer/rest/", {"version": version})
        assert (answer.status_code, answer["HX-Refresh"]) == (204, "true")
    empty = a_job(project, mira, Status.FAILED)
    assert signed_in.get(f"{empty.get_absolute_url()}answer/rest/").status_code == 404


@pytest.mark.parametrize("version", [0, Answer.PLAIN, RENDERER_VERSION - 1])
def test_an_answer_without_current_html_is_shown_as_it_was_written(
    signed_in: Client, project: Project, mira: User, version: int
) -> None:
    job = prose(project, mira, "# Not <b>yet</b>", html="<i>old</i>", renderer_version=version)
    html = page(signed_in, job)
    assert '<pre class="plain"># Not &lt;b&gt;yet&lt;/b&gt;</pre>' in html
    assert "<i>old" not in html


def test_only_a_page_of_a_job_loads_what_answers_need(
    signed_in: Client, project: Project, mira: User
) -> None:
    html = page(signed_in, prose(project, mira, "$x$"))
    assert "answer.js" in html
    assert "page-result.css" not in html
    assert "katex" not in signed_in.get("/jobs/").content.decode()
    assert "page-result.css" in page(signed_in, structured(project, mira))


# ---- structured results ----


def test_a_list_of_flat_objects_is_a_table(signed_in: Client, project: Project, mira: User) -> None:
    html = page(signed_in, structured(project, mira))
    assert html.count('<th scope="row"') == 12
    assert '<th scope="col" class="r">' in html
    assert '<td class="r">110,000</td>' in html
    assert '<span class="vh">true</span>' in html
    assert '<span class="path mono hide-s" id="path">/rows</span>' in html
    assert "12 rows" in html
    assert 'Result<span class="n">12</span>' in html
    assert "does not fit" not in html


def test_a_row_that_does_not_fit_is_flagged_where_it_stands(
    signed_in: Client, project: Project, mira: User
) -> None:
    html = page(signed_in, structured(project, mira, VALUE, WRONG))
    assert "<b>1 of 12 rows does not fit the schema.</b> The answer is kept as it came." in html
    assert '<a class="ul" href="#/rows/6">Go to row 7</a>' in html
    assert '<tr id="/rows/6" class="bad"><th scope="row" class="n">7</th>' in html
    said = html.partition('class="wy"')[2].partition("</tr>")[0]
    assert (
        "<b>2024-02-30 is not a date.</b> <code>/rows/6/on</code> must match <code>format: date</code>."
        in said
    )
    assert "Strict mode checks the shape, not the calendar." in said
    assert 'data-copy="/rows/6/on"' in said


def test_several_rows_that_do_not_fit_are_counted(signed_in: Client, project: Project, mira: User) -> None:
    errors = [{**WRONG, "path": f"/rows/{n}/on"} for n in (9, 6, 6)]
    html = page(signed_in, structured(project, mira, VALUE, *errors))
    assert "<b>2 of 12 rows do not fit the schema.</b>" in html
    assert "Go to row 7" in html


def ask_again(client: Client, html: str) -> Any:
    """Press the button that asks again: its form, as the page has it."""
    form = html.partition("Fix the row")[2].partition("</form>")[0]
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
    (action,) = re.findall(r'action="([^"]+)"', form)
    data = {name: unescape(value) for name, value in fields.items() if name != "csrfmiddlewaretoken"}
    # As a browser sends it.
    data["prompt"] = data["prompt"].replace("\n", "\r\n")
    return client.post(action, data)


def test_a_row_that_does_not_fit_is_asked_for_again_by_one_click_for_what_the_button_says(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = structured(project, mira, VALUE, WRONG)
    html = page(signed_in, job)
    assert "Ask again for row 7 only, with the error in the prompt." in html
    places = {ask_again(signed_in, html)["Location"] for _ in range(2)}
    new = Job.objects.get(previous=job)
    assert places == {new.get_absolute_url()}
    assert f"Ask again, up to {ui.ceiling(new.worst_case)}</button>" in html
    assert spend.held_for(new.attempt_set.get()) == new.worst_case
    assert new.prompt.text == (
        "Answer again with row 7 only, corrected, in the same form.\n"
        "These values of your answer do not fit the schema:\n"
        "- /rows/6/on: 2024-02-30 is not a date. It must match format: date."
    )
    assert new.prompt.schema == SCHEMA
    thread = page(signed_in, job).partition("<h2>Thread</h2>")[2]
    assert "Answer again with row 7 only, corrected, in the same form." in thread


def test_several_rows_are_asked_for_at_once(signed_in: Client, project: Project, mira: User) -> None:
    errors = [{**WRONG, "path": f"/rows/{n}/on"} for n in (9, 6)]
    html = page(signed_in, structured(project, mira, VALUE, *errors))
    assert "Ask again for these 2 rows only, with the errors in the prompt." in html
    ask_again(signed_in, html)
    assert Job.objects.latest("pk").prompt.title == (
        "Answer again with rows 7, 10 only, corrected, in the same form."
    )


def test_of_many_rows_the_first_are_asked_for_each_with_what_is_wrong_in_it(
    signed_in: Client, project: Project, mira: User
) -> None:
    rows = [{"party": f"P {n}", "on": "x", "cap": n, "renews": True} for n in range(30)]
    errors = [{**WRONG, "path": f"/rows/0/{n}"} for n in range(20)]
    errors += [{**WRONG, "path": f"/rows/{n}/on"} for n in range(1, 30)]
    html = page(signed_in, structured(project, mira, {"rows": rows}, *errors))
    assert "Ask again for the first 20 of these 30 rows only, with the errors in the prompt." in html
    ask_again(signed_in, html)
    asked = Job.objects.latest("pk").prompt.text
    assert asked.startswith(f"Answer again with rows {', '.join(map(str, range(1, 21)))} only")
    named = [int(number) for number in re.findall(r"- /rows/(\d+)/", asked)]
    assert named == [0] * 5 + list(range(1, 20))


def test_without_room_under_the_cap_the_question_waits_in_the_follow_up(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = structured(project, mira, VALUE, WRONG)
    spend.set_cap(job.cost + Decimal("0.10"), project=project)
    answer = ask_again(signed_in, page(signed_in, job))
    assert answer.status_code == 422
    html = answer.content.decode()
    assert "$0.10 is left this month in Proofs" in html
    assert "corrected, in the same form." in html.partition('id="fu"')[2].partition("</textarea>")[0]
    assert not Job.objects.filter(previous=job).exists()


def test_the_price_of_asking_again_is_that_of_the_model_it_goes_to(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = structured(project, mira, VALUE, WRONG, model="gpt-6-astra", mode="standard", effort="xhigh")
    spec = ModelSpec.objects.filter(pk="gpt-6-astra")
    spec.update(shutdown_date="2020-01-01", successor="gpt-6-luna")
    html = page(signed_in, job)
    ask_again(signed_in, html)
    new = Job.objects.get(previous=job)
    assert new.model_id == "gpt-6-luna"
    assert f"Ask again, up to {ui.ceiling(new.worst_case)}</button>" in html
    # Without any model there is no price, and the click says why.
    ModelSpec.objects.update(shutdown_date="2020-01-01", successor=None)
    html = page(signed_in, job)
    assert "Ask again</button>" in html
    assert ask_again(signed_in, html).status_code == 422


def test_whoever_may_not_ask_on_is_offered_nothing_to_mend(
    signed_in: Client, project: Project, mira: User
) -> None:
    assert "Fix the row" not in page(signed_in, structured(project, mira))
    viewer = a_person("viewer@example.com")
    Membership.objects.create(user=viewer, project=project, role=Role.VIEWER)
    signed_in.force_login(viewer)
    assert "Fix the row" not in page(signed_in, structured(project, mira, VALUE, WRONG))


def test_what_does_not_fit_outside_the_rows_is_listed_with_its_path(
    signed_in: Client, project: Project, mira: User
) -> None:
    other = {"path": "/currency", "message": "SEK is not a number.", "rule": "type"}
    html = page(signed_in, structured(project, mira, VALUE, WRONG, other), view="tree")
    assert "The answer does not fit the schema." in html
    assert '<a class="ul" href="#/currency"><code>/currency</code></a> SEK is not a number.' in html
    assert 'class="lf bad" id="/currency"' in html
    # In the table there is no place to go to.
    table = page(signed_in, structured(project, mira, VALUE, other))
    assert "<li><code>/currency</code> SEK is not a number." in table


def test_a_text_that_is_no_json_is_shown_as_text_with_what_is_wrong(
    signed_in: Client, project: Project, mira: User
) -> None:
    error = {"path": "", "message": "Not JSON: a value is missing.", "rule": "json"}
    html = page(signed_in, prose(project, mira, "I *cannot*.", validation_errors=[error]))
    assert "<code>/</code> Not JSON" in html
    assert "<em>cannot</em>" in html


def test_the_table_is_sorted_by_the_address(signed_in: Client, project: Project, mira: User) -> None:
    job = structured(project, mira)
    html = page(signed_in, job, sort="cap", order="down")
    assert html.index("Party 11<") < html.index("Party 2<") < html.index("Party 0<")
    assert '<th scope="col" class="r" aria-sort="descending">' in html
    assert "12 rows · sorted by cap" in html
    # The next click sorts the other way; a column of words begins with A.
    assert "?sort=cap&amp;order=up" not in html
    assert "?sort=cap" in html
    assert "?sort=party" in html


def test_a_result_can_be_seen_as_tree_and_as_json(signed_in: Client, project: Project, mira: User) -> None:
    job = structured(project, mira, VALUE, WRONG)
    tree = page(signed_in, job, view="tree")
    assert '<details id="/rows" open>' in tree
    assert '<details id="/rows/6" open>' in tree
    assert '<details id="/rows/5">' in tree
    assert "1 of 12 rows does not fit" in tree
    shown = page(signed_in, job, view="json")
    assert "&quot;currency&quot;: &quot;SEK&quot;" in shown
    assert page(signed_in, job, view="nonsense").count('class="rt"') == 1


def test_an_answer_without_a_list_starts_as_a_tree(signed_in: Client, project: Project, mira: User) -> None:
    html = page(signed_in, structured(project, mira, {"holds": True, "steps": ["a"]}))
    assert 'class="tree"' in html
    assert ">Table</a>" not in html


def test_fields_and_digits_stay_as_they_were_written(signed_in: Client, project: Project, mira: User) -> None:
    text = '{"z": 1.10, "a": 12345678901234567890.5, "m": "\\ud800"}'
    job = structured(project, mira, {"z": 1.1}, text=text)
    html = page(signed_in, job, view="json")
    assert html.index("&quot;z&quot;: 1.10") < html.index("&quot;a&quot;: 12345678901234567890.5")
    assert "\ufffd" in html


def test_a_second_list_has_a_table_too(signed_in: Client, project: Project, mira: User) -> None:
    job = structured(project, mira, {"few": [{"only": 1}], "rows": ROWS})
    html = page(signed_in, job)
    assert f'href="/jobs/{job.short_id}/?at=%2Ffew"' in html
    assert ">only</a>" in page(signed_in, job, at="/few")
    assert ">party</a>" in page(signed_in, job, at="/nowhere")


def test_many_rows_and_much_json_are_cut_on_the_page(signed_in: Client, project: Project, mira: User) -> None:
    job = structured(project, mira, [{"n": n, "text": "x" * 30} for n in range(2_300)])
    html = page(signed_in, job)
    assert html.count('<th scope="row"') == 200
    assert "2,100 not shown" in html
    more = page(signed_in, job, rows="all")
    assert more.count('<th scope="row"') == 2_000
    assert "The CSV has all of them." in more
    assert "Open raw" in page(signed_in, job, view="json")
    assert "more values not shown" in page(signed_in, job, view="tree")


def test_a_refusal_to_a_schema_is_prose(signed_in: Client, project: Project, mira: User) -> None:
    html = page(signed_in, prose(project, mira, "I will not.", parsed={"a": 1}, is_refusal=True))
    assert "The model refused." in html
    assert 'id="result"' not in html


def test_a_result_page_needs_at_most_twelve_queries(
    signed_in: Client, project: Project, mira: User, django_assert_max_num_queries: Any
) -> None:
    job = structured(project, mira)
    with django_assert_max_num_queries(12):
        page(signed_in, job)
    # The price of asking again for a row is worked out with it.
    job = structured(project, mira, VALUE, WRONG)
    with django_assert_max_num_queries(18):
        page(signed_in, job)


# ---- files ----


def download(client: Client, job: Job, kind: str) -> tuple[str, str, str]:
    answer = client.get(f"{job.get_absolute_url()}answer.{kind}")
    assert answer.status_code == 200
    return answer.content.decode(), answer["Content-Type"], answer["Content-Disposition"]


def test_an_answer_is_saved_as_it_was_written_and_as_text(
    signed_in: Client, project: Project, mira: User
) -> None:
    text = "# Yes\n\n- **a** $x$\n\n<script>alert(1)</script>"
    job = prose(project, mira, text)
    body, kind, name = download(signed_in, job, "md")
    assert (body, kind) == (text, "text/markdown; charset=utf-8")
    assert name == f'attachment; filename="{job.short_id}-is-lemma-47-true-without-compactness.md"'
    body, kind, _ = download(signed_in, job, "txt")
    assert (body, kind) == ("Yes\n\n• a x\n\n<script>alert(1)</script>\n", "text/plain; charset=utf-8")
    unrendered = prose(project, mira, text, renderer_version=0)
    assert download(signed_in, unrendered, "txt")[0] == text


def test_a_job_is_saved_as_json_with_where_it_comes_from(
    signed_in: Client, project: Project, mira: User
) -> None:
    found = json.loads(download(signed_in, prose(project, mira, "Yes."), "json")[0])
    assert found["answer"] == "Yes."
    assert found["project"] == "proofs"
    assert found["submitted_by"] == "Mira"
    assert found["usage"]["output_tokens"] == 9_000
    text = '{"b": 1.10, "a": [1]}'
    body = download(signed_in, structured(project, mira, {"b": 1.1, "a": [1]}, WRONG, text=text), "json")[0]
    assert '"b": 1.10,' in body
    assert json.loads(body)["answer"] == {"b": 1.1, "a": [1]}
    assert json.loads(body)["validation_errors"] == [WRONG]


def test_a_result_is_saved_as_a_table_of_its_rows(signed_in: Client, project: Project, mira: User) -> None:
    body, kind, _ = download(signed_in, structured(project, mira), "csv")
    rows = list(csv.reader(io.StringIO(body)))
    assert kind == "text/csv; charset=utf-8"
    assert rows[0] == ["party", "on", "cap", "renews"]
    assert rows[-1] == ["Party 11", "2024-01-08", "110000", "true"]
    flat = download(signed_in, structured(project, mira, {"a": {"b": 1}, "c": None}), "csv")[0]
    assert list(csv.reader(io.StringIO(flat))) == [["a.b", "c"], ["1", ""]]
    said = list(csv.DictReader(io.StringIO(download(signed_in, prose(project, mira, "=1+1"), "csv")[0])))
    assert said[0]["answer"] == "'=1+1"
    assert said[0]["model"] == "o3-pro"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_no_cell_is_run_as_a_formula(signed_in: Client, project: Project, mira: User, text: str) -> None:
    body = download(signed_in, structured(project, mira, [{text: text}]), "csv")[0]
    assert [cell for row in csv.reader(io.StringIO(body, newline="")) for cell in row] == [f"'{text}"] * 2


def test_a_negative_number_stays_a_number() -> None:
    assert spreadsheet_cell(results.cell_of(results.Number("-1.50"))) == "-1.50"
    assert spreadsheet_cell(results.cell_of(results.Number("-Infinity"))) == "'-Infinity"


@pytest.mark.parametrize("title", ['x"\r\nSet-Cookie: a=b', "../../etc/passwd", "%00", "日本語", "a" * 300])
def test_a_file_has_a_safe_name(signed_in: Client, project: Project, mira: User, title: str) -> None:
    job = structured(project, mira, title=title)
    name = download(signed_in, job, "csv")[2].removeprefix('attachment; filename="').removesuffix('"')
    assert name.startswith(job.short_id)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert len(name) <= 10 + 1 + downloads.LONGEST_NAME + 4


@pytest.mark.parametrize("kind", ["md", "txt", "json", "csv"])
def test_without_an_answer_there_is_no_file(
    signed_in: Client, project: Project, mira: User, kind: str
) -> None:
    job = a_job(project, mira, Status.FAILED)
    assert signed_in.get(f"{job.get_absolute_url()}answer.{kind}").status_code == 404
    assert f"answer.{kind}" not in page(signed_in, job)
