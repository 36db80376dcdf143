"""The new-job page: what it offers, what it says it costs, and the one POST that sends it."""

import json
import re
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.lifecycle import JobSpec
from jobs.models import Job, LedgerEntry, ModelSpec, Price, Project, Prompt, Refusal, User
from jobs.templatetags import ui
from jobs.views.starts import STARTS
from tests.factories import a_person, a_project, a_spec
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def before_the_shutdown(settings: Any) -> None:
    settings.PONDER_TODAY = timezone.datetime(2026, 11, 22).date()


@pytest.fixture
def signed_in(client: Client, mira: User, project: Project) -> Client:
    client.force_login(mira)
    return client


def typed(**changed: Any) -> dict[str, Any]:
    """What the browser sends for a job that can be sent."""
    return {
        "prompt": "Is lemma 4.7 true?",
        "instructions": "",
        "schema_name": "",
        "schema": "",
        "title": "",
        "tags": "",
        "project": "proofs",
        "model": "o3-pro",
        "effort": "high",
        "max_output_tokens": "20,000",
        "submission_key": str(uuid.uuid4()),
        **changed,
    }


def send(client: Client, **changed: Any) -> Any:
    return client.post("/jobs/new/", typed(**changed))


def price(client: Client, **changed: Any) -> str:
    found = client.post("/jobs/estimate/", typed(**changed))
    assert found.status_code == 200
    return str(found.content.decode())


def html(client: Client, query: str = "") -> str:
    return client.get(f"/jobs/new/{query}").content.decode()


def chosen(text: str, name: str) -> list[str]:
    return re.findall(rf'name="{name}" id="[^"]*" value="([^"]*)" checked', text)


def offered(text: str, name: str) -> list[str]:
    return re.findall(rf'name="{name}" id="[^"]*" value="([^"]*)"', text)


def test_the_page_starts_from_the_projects_default(signed_in: Client) -> None:
    text = html(signed_in)
    assert chosen(text, "model") == ["o3-pro"]
    assert chosen(text, "effort") == ["high"]
    assert 'value="40,000"' in text
    assert "off on 11 Dec" in text


@pytest.mark.parametrize("day", ["2026-12-11", "2027-03-01"])
def test_after_the_shutdown_it_starts_from_the_living_successor(
    signed_in: Client, settings: Any, day: str
) -> None:
    settings.PONDER_TODAY = timezone.datetime.fromisoformat(day).date()
    text = html(signed_in)
    assert chosen(text, "model") == ["gpt-5.6-sol"]
    assert chosen(text, "mode") == ["pro"]
    assert "o3-pro" not in offered(text, "model")
    assert send(signed_in, model="gpt-5.6-sol", mode="pro").status_code == 302


def test_every_model_with_a_price_can_be_chosen_and_none_that_is_off(signed_in: Client) -> None:
    names = offered(html(signed_in), "model")
    assert sorted(names) == sorted(set(names))
    assert "o4-mini" not in names
    assert set(names) == set(
        ModelSpec.objects.choosable(timezone.datetime(2026, 11, 22).date()).values_list("pk", flat=True)
    )


def test_a_project_offers_only_the_models_and_efforts_it_uses(signed_in: Client, project: Project) -> None:
    project.allowed_models.set(["o3", "o3-pro"])
    Project.objects.update(allowed_efforts=["low", "high"])
    text = html(signed_in)
    assert offered(text, "model") == ["o3", "o3-pro"]
    assert offered(text, "effort") == ["low", "high"]


def test_only_projects_one_may_submit_to_are_offered(signed_in: Client, mira: User) -> None:
    a_project("watched", members={mira: Role.VIEWER})
    a_project("foreign")
    text = html(signed_in)
    assert 'value="proofs"' in text
    assert 'option value="watched"' not in text
    assert "foreign" not in text.lower()
    for slug in ("watched", "foreign", "nothing"):
        found = send(signed_in, project=slug)
        assert found.status_code == 422
        assert "Choose a project." in found.content.decode()
    assert not Job.objects.exists()


def test_whoever_may_submit_nowhere_is_told_so(client: Client, mira: User) -> None:
    a_project(members={mira: Role.VIEWER})
    client.force_login(mira)
    assert "No project takes jobs from you yet" in html(client)
    assert client.post("/jobs/new/", typed()).status_code == 200
    assert client.post("/jobs/estimate/", typed()).status_code == 204
    assert not Job.objects.exists()


def test_without_a_model_that_has_a_price_nothing_can_be_written(signed_in: Client) -> None:
    Price.objects.all().delete()
    assert "No model can be chosen" in html(signed_in)


def test_sending_makes_a_job_as_typed_and_goes_to_its_page(signed_in: Client, mira: User) -> None:
    found = send(
        signed_in,
        prompt="Line one\r\nline two",
        instructions="Be brief",
        title="A title",
        tags="night, lemma ,night,",
        effort="low",
        model="o3",
    )
    job = Job.objects.get()
    assert (found.status_code, found["Location"]) == (302, f"/jobs/{job.short_id}/")
    assert (job.prompt.text, job.prompt.instructions) == ("Line one\nline two", "Be brief")
    assert (job.prompt.title, job.tags) == ("A title", ["lemma", "night"])
    assert (job.model_id, job.effort, job.mode, job.max_output_tokens) == ("o3", "low", "standard", 20_000)
    assert job.submitted_by == mira


def test_a_double_click_makes_one_job(signed_in: Client) -> None:
    key = str(uuid.uuid4())
    first, second = (send(signed_in, submission_key=key) for _ in range(2))
    assert first["Location"] == second["Location"]
    assert Job.objects.count() == 1
    assert LedgerEntry.objects.count() == 1


def test_every_page_has_a_submission_key_of_its_own(signed_in: Client) -> None:
    keys = [re.findall(r'name="submission_key" value="([^"]+)"', html(signed_in))[0] for _ in range(2)]
    assert keys[0] != keys[1]


def test_what_is_wrong_is_said_by_field_and_nothing_typed_is_lost(signed_in: Client) -> None:
    found = send(signed_in, prompt="  ", title="Kept <title>", tags="x" * 61, model="o4-mini")
    text = found.content.decode()
    assert found.status_code == 422
    assert "Write what it should think about." in text
    assert "A tag has 1 to 60 characters." in text
    assert "o4-mini was shut down on 23 October 2026." in text
    assert "Kept &lt;title&gt;" in text
    assert not Job.objects.exists()


def test_one_round_says_all_that_is_wrong_also_beside_what_cannot_be_read(signed_in: Client) -> None:
    loose = '{"type":"object","properties":{"a":{"type":"string"}}}'
    found = send(
        signed_in, prompt=" ", max_output_tokens="many", schema=loose, schema_name="no name", tags="x" * 61
    )
    text = found.content.decode()
    assert found.status_code == 422
    for said in (
        "Write a whole number of tokens",
        "Write what it should think about.",
        "OpenAI would refuse this schema.",
        "Use 1 to 64 letters, digits, - or _.",
        "A tag has 1 to 60 characters.",
    ):
        assert said in text
    assert "16 to 100,000 tokens" not in text
    # No JSON at all is a schema all the same: its name is looked at in the same round.
    text = send(signed_in, schema="{", schema_name="no name").content.decode()
    assert "Not JSON" in text
    assert "Use 1 to 64 letters, digits, - or _." in text


@pytest.mark.parametrize("limit", ["", "many", "-5", "1.5", "9" * 12])
def test_an_output_limit_that_is_no_number_is_said_and_costs_nothing(signed_in: Client, limit: str) -> None:
    found = send(signed_in, max_output_tokens=limit)
    assert found.status_code == 422
    assert "Write a whole number of tokens" in found.content.decode()
    assert "Never more than" in price(signed_in, max_output_tokens=limit)


def test_an_output_limit_beyond_the_model_is_refused_with_what_it_takes(signed_in: Client) -> None:
    assert "16 to 100,000 tokens for o3-pro" in send(signed_in, max_output_tokens="100001").content.decode()
    text = price(signed_in, max_output_tokens="100001")
    assert "16 to 100,000 tokens for o3-pro" in text
    assert "Use 100,000 tokens" in text
    assert "disabled" in text


def test_a_hostile_prompt_and_title_stay_text(signed_in: Client, project: Project, mira: User) -> None:
    evil = "</textarea><script>alert(1)</script>"
    text = send(signed_in, prompt=evil, max_output_tokens="no", title='"><script>alert(2)').content.decode()
    assert "<script>alert" not in text
    job = a_job(project, mira, "completed", spec={"prompt": evil, "title": evil})
    text = html(signed_in, f"?from={job.short_id}")
    assert "<script>alert" not in text
    assert "&lt;/textarea&gt;&lt;script&gt;" in text


def test_likely_and_never_more_than_are_what_the_job_then_holds(signed_in: Client) -> None:
    text = price(signed_in)
    send(signed_in)
    hold = LedgerEntry.objects.get().amount
    assert ui.ceiling(hold) in text
    assert "Few jobs like this yet" in text
    left = ui.money(Decimal(100) - hold)
    assert f"<b>$100.00</b> of $100 left; <b>{left}</b> if it costs the most" in text


def test_a_change_of_model_brings_its_efforts_and_modes(signed_in: Client) -> None:
    text = price(signed_in, model="gpt-6-luna", efforts_of="o3-pro")
    assert offered(text, "effort") == ["none", "low", "medium", "high", "xhigh", "max"]
    assert offered(text, "mode") == ["standard", "pro"]
    assert chosen(text, "effort") == ["high"]
    assert 'hx-target="#settings"' not in price(signed_in, efforts_of="o3-pro")


def test_an_effort_the_new_model_lacks_becomes_its_default(signed_in: Client) -> None:
    text = price(signed_in, model="o3", effort="max", mode="pro", efforts_of="gpt-6-luna")
    assert chosen(text, "effort") == [ModelSpec.objects.get(pk="o3").default_effort]
    assert offered(text, "mode") == []


def test_an_undocumented_effort_needs_a_tick(signed_in: Client) -> None:
    assert "OpenAI documents no xhigh for this model. Send it anyway." in price(signed_in, effort="xhigh")
    refused = send(signed_in, effort="xhigh")
    assert refused.status_code == 422
    text = refused.content.decode()
    assert "Confirm it to send it all the same" in text
    assert chosen(text, "effort") == ["xhigh"]
    assert "Send it anyway." in text
    assert send(signed_in, effort="xhigh", accepts_undocumented="1").status_code == 302


def test_the_likely_cost_rests_on_history_once_there_is_enough(
    signed_in: Client, project: Project, mira: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.forecast.likely.ENOUGH", 2)
    for _ in range(2):
        a_job(project, mira, "completed", spec={"effort": "high"})
    assert "8 in 10 of 2 similar jobs cost this." in price(signed_in)


def test_over_the_cap_it_says_what_is_missing_and_what_would_fit(
    signed_in: Client, project: Project, mira: User
) -> None:
    spend.set_cap(Decimal("1.90"), project=project)
    text = price(signed_in, max_output_tokens="40000")
    ceiling = lifecycle.ceiling_of(a_spec(project, mira, prompt=typed()["prompt"], max_output_tokens=40_000))
    assert ceiling is not None
    missing = ui.ceiling(ceiling.worst_case - Decimal("1.90"))
    assert (
        f"This could cost {ui.ceiling(ceiling.worst_case)} and $1.90 is left this month in Proofs: " in text
    )
    assert f"{missing} too little." in text
    fitting = re.search(r'name="use_tokens" value="(\d+)"', text)
    assert fitting
    assert "disabled" in text
    found = signed_in.post("/jobs/new/", typed(max_output_tokens="40000", use_tokens=fitting[1]))
    assert found.status_code == 200
    assert f'value="{fitting[1]}"' in found.content.decode()
    assert not Job.objects.exists()
    assert send(signed_in, max_output_tokens=fitting[1]).status_code == 302


def test_a_refusal_by_a_budget_is_recorded_and_loses_nothing(signed_in: Client, project: Project) -> None:
    spend.set_cap(Decimal("0.05"), project=project)
    found = send(signed_in, title="Keep me")
    text = found.content.decode()
    assert found.status_code == 422
    assert "$0.05 is left this month in Proofs" in text
    assert "Keep me" in text
    assert "Is lemma 4.7 true?" in text
    assert Refusal.objects.count() == 1
    assert not Job.objects.exists()


def test_a_workspace_cap_is_named_when_it_is_the_one_in_the_way(signed_in: Client, mira: User) -> None:
    a_project("real", is_practice=False, members={mira: Role.SUBMITTER})
    spend.set_cap(Decimal(0))
    assert "nothing is left this month in the whole workspace" in price(signed_in, project="real")
    spend.set_cap(Decimal(1000))
    spend.set_cap(Decimal(0), user=mira)
    assert "nothing is left this month of your own cap" in price(signed_in, project="real")


def test_a_project_without_a_cap_takes_nothing_and_says_why(signed_in: Client, mira: User) -> None:
    a_project("open", cap=None, members={mira: Role.SUBMITTER})
    assert "has no monthly cap yet" in price(signed_in, project="open")
    found = send(signed_in, project="open")
    assert found.status_code == 422
    assert "has no monthly cap yet" in found.content.decode()
    assert not Job.objects.exists()


def test_over_the_limit_per_job_it_offers_what_fits(signed_in: Client) -> None:
    Project.objects.update(job_limit=Decimal(1))
    text = price(signed_in)
    assert "Over the $1.00 limit per job of this project." in text
    assert "Use 11,000 tokens" in text or "Use 12,000 tokens" in text
    assert send(signed_in).status_code == 422


def test_the_same_question_of_today_is_pointed_out(signed_in: Client, project: Project, mira: User) -> None:
    asked = {"prompt": "Is lemma 4.7 true?", "effort": "high", "model": "o3-pro"}
    job = a_job(project, mira, "completed", spec=asked)
    text = price(signed_in)
    assert "You asked this at" in text
    assert f'href="/jobs/{job.short_id}/"' in text
    assert "asked this" not in price(signed_in, prompt="Another question")
    assert "asked this" not in price(signed_in, prompt=" ")


def test_a_question_asked_where_one_may_not_look_stays_unknown(
    signed_in: Client, project: Project, mira: User
) -> None:
    jonas = a_person("jonas@example.com")
    project.membership_set.create(user=jonas, role=Role.SUBMITTER)
    a_job(project, jonas, "in_progress", spec={"prompt": "Is lemma 4.7 true?", "effort": "high"})
    assert "Jonas asked this just now and it is still running." in price(signed_in).replace("</b>", "")
    project.membership_set.filter(user=mira).delete()
    a_project("mine", members={mira: Role.SUBMITTER})
    assert "asked this" not in price(signed_in)


def test_a_structured_result_is_read_and_sent(signed_in: Client) -> None:
    start = STARTS["contract"]
    text = html(signed_in, "?start=contract")
    assert "effective_on" in text
    schema = (
        '{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}'
    )
    assert send(signed_in, schema=schema, schema_name="facts").status_code == 302
    job = Job.objects.get()
    assert (job.prompt.schema_name, job.prompt.schema["required"]) == ("facts", ["a"])
    assert start.schema is not None


def test_a_schema_that_is_no_json_is_told_where(signed_in: Client) -> None:
    found = send(signed_in, schema='{"type": "object",\n  "properties": {"a": 1,}\n}', schema_name="facts")
    text = found.content.decode()
    assert found.status_code == 422
    assert "line 2" in text
    assert not Job.objects.exists()


def test_a_schema_openai_would_refuse_shows_its_problems(signed_in: Client) -> None:
    schema = '{"type":"object","properties":{"a":{"type":"string"}}}'
    found = send(signed_in, schema=schema, schema_name="facts")
    assert found.status_code == 422
    assert "OpenAI would refuse this schema." in found.content.decode()


def test_every_start_is_a_job_that_can_be_sent(project: Project, mira: User) -> None:
    for start in STARTS.values():
        wanted = a_spec(
            project, mira, prompt=start.prompt, schema_name=start.schema_name, schema=start.schema
        )
        assert lifecycle.problems_of(wanted) == {}


def test_a_job_can_be_asked_again_from_its_page(signed_in: Client, project: Project, mira: User) -> None:
    job = a_job(
        project,
        mira,
        "completed",
        spec={"prompt": "Old prompt\nmore", "instructions": "Old way", "model": "o3", "tags": ("a", "b")},
    )
    text = html(signed_in, f"?from={job.short_id}")
    assert "Old prompt\nmore" in text
    assert "Old way" in text
    assert chosen(text, "model") == ["o3"]
    assert chosen(text, "effort") == ["low"]
    assert 'value="a, b"' in text
    assert 'name="title" maxlength="200" value=""' in text
    send(signed_in, **{"from": job.short_id})
    assert Job.objects.order_by("-pk")[0].rerun_of == job


def test_a_job_asked_again_keeps_its_tools(signed_in: Client, project: Project, mira: User) -> None:
    function = {"type": "function", "name": "run_sage", "strict": False, "parameters": {"type": "object"}}
    tools = (function, {"type": "web_search"})
    job = a_job(project, mira, "completed", spec={"model": "o3", "tools": tools, "max_tool_calls": 4})
    text = html(signed_in, f"?from={job.short_id}")
    assert "run_sage, web search" in text
    assert 'name="tool" value="web_search" checked' in text
    assert 'name="max_tool_calls" inputmode="numeric" autocomplete="off" value="4"' in text
    again = {"tool": ["web_search"], "max_tool_calls": "4", "tools": json.dumps(job.prompt.tools[:1])}
    assert send(signed_in, **again, **{"from": job.short_id}, model="o3").status_code == 302
    made = Job.objects.order_by("-pk")[0]
    assert (made.prompt.tools, made.max_tool_calls) == (job.prompt.tools, 4)


def test_a_job_of_a_thread_asked_again_keeps_its_place_in_its_project(
    signed_in: Client, project: Project, mira: User
) -> None:
    first = a_job(project, mira, "completed")
    second = a_job(project, mira, "completed", spec={"previous": first})
    a_project("other", members={mira: Role.SUBMITTER})
    for slug, previous in (("proofs", first), ("other", None)):
        assert send(signed_in, project=slug, **{"from": second.short_id}).status_code == 302
        assert Job.objects.order_by("-pk")[0].previous == previous


def test_tools_show_their_ceiling_before_they_are_sent(signed_in: Client) -> None:
    chosen_tools = {"model": "gpt-6-sol", "tool": ["web_search"], "max_tool_calls": "2"}
    text = price(signed_in, **chosen_tools)
    send(signed_in, **chosen_tools)
    assert f">{ui.ceiling(LedgerEntry.objects.get().amount)}</b>" in text


def test_tools_that_cannot_be_sent_are_said_and_stay(signed_in: Client) -> None:
    found = send(signed_in, tool=["file_search", "mcp"], max_tool_calls="500", mcp_label="arxiv")
    text = found.content.decode()
    assert found.status_code == 422
    assert "lists the vector stores to search" in text
    assert "1 to 100 calls" in text
    assert 'value="mcp" checked' in text
    assert 'value="arxiv"' in text
    assert 'value="500"' in text


def test_a_tool_the_model_lacks_cannot_be_ticked_and_says_why(signed_in: Client) -> None:
    ModelSpec.objects.filter(pk="o3").update(capabilities=["background"])
    text = price(signed_in, model="o3", tools_of="o3-pro 1")
    assert text.count(" disabled>") >= 3
    assert "o3 has no web search." in text


def test_a_job_on_a_model_that_is_off_starts_on_its_living_successor(
    signed_in: Client, project: Project, mira: User, settings: Any
) -> None:
    job = a_job(project, mira, "completed", spec={"model": "o3-pro", "effort": "high"})
    settings.PONDER_TODAY = timezone.datetime(2026, 12, 11).date()
    text = html(signed_in, f"?from={job.short_id}")
    assert chosen(text, "model") == ["gpt-5.6-sol"]
    assert chosen(text, "mode") == ["pro"]
    assert "this starts on gpt-5.6-sol" in text


def test_a_job_one_may_not_see_is_no_start(signed_in: Client) -> None:
    jonas = a_person("jonas@example.com")
    secret = a_job(a_project("theirs", members={jonas: Role.SUBMITTER}), jonas, "completed")
    for short_id in (secret.short_id, "j_nothing0"):
        assert signed_in.get(f"/jobs/new/?from={short_id}").status_code == 404
        assert send(signed_in, **{"from": short_id}).status_code == 404
    assert Job.objects.count() == 1


def test_looking_at_the_price_without_script_sends_nothing_and_keeps_all(signed_in: Client) -> None:
    found = signed_in.post("/jobs/new/", typed(price="1", model="o3", title="Mine", prompt="Half a thought"))
    text = found.content.decode()
    assert found.status_code == 200
    assert chosen(text, "model") == ["o3"]
    assert 'value="Mine"' in text
    assert "Half a thought" in text
    assert not Job.objects.exists()


def test_enter_in_a_field_looks_at_the_price_and_never_spends(signed_in: Client) -> None:
    """A browser presses the first submit button of a form."""
    form = re.search(r'<form class="ask".*', html(signed_in), re.DOTALL)
    assert form
    first = re.search(r'<button type="submit"[^>]*>', form[0])
    assert first
    assert 'name="price"' in first[0]


@pytest.mark.parametrize("day", ["2026-11-22", "2026-12-11", "2027-03-01"])
def test_the_page_takes_at_most_12_queries_and_the_estimate_10(
    signed_in: Client, project: Project, mira: User, settings: Any, day: str
) -> None:
    for number in range(3):
        a_project(f"p{number}", members={mira: Role.SUBMITTER})
    job = a_job(project, mira, "completed")
    settings.PONDER_TODAY = timezone.datetime.fromisoformat(day).date()
    for query in ("", f"?from={job.short_id}", "?start=contract"):
        with CaptureQueriesContext(connection) as asked:
            assert signed_in.get(f"/jobs/new/{query}").status_code == 200
        # One more for the attachments of the job it starts from.
        assert len(asked) <= 12 + query.startswith("?from"), query
    for changed in ({}, {"model": "gpt-6-luna"}, {"max_output_tokens": "x"}):
        with CaptureQueriesContext(connection) as asked:
            price(signed_in, **changed)
        assert len(asked) <= 10, changed


def test_the_estimate_writes_nothing(signed_in: Client) -> None:
    with CaptureQueriesContext(connection) as asked:
        price(signed_in)
    assert all(re.match(r"(SET LOCAL [^;]*; )*(SELECT|WITH) ", query["sql"]) for query in asked)


def test_the_panels_ceiling_is_the_one_that_is_held_for_every_model(
    signed_in: Client, project: Project, mira: User
) -> None:
    spend.set_cap(Decimal(10_000), project=project)
    for spec in ModelSpec.objects.choosable(timezone.datetime(2026, 11, 22).date()):
        for mode in spec.modes:
            wanted = JobSpec(
                project=project,
                by=mira,
                prompt="Is lemma 4.7 true?",
                model=spec.pk,
                mode=mode,
                effort=spec.default_effort,
                max_output_tokens=20_000,
            )
            ceiling = lifecycle.ceiling_of(wanted)
            assert ceiling is not None
            text = price(signed_in, model=spec.pk, mode=mode, effort=spec.default_effort)
            assert f">{ui.ceiling(ceiling.worst_case)}</b>" in text


def test_a_job_whose_prompt_is_no_longer_kept_is_no_start(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = a_job(project, mira, "failed")
    Prompt.objects.filter(job=job).delete()
    assert signed_in.get(f"/jobs/new/?from={job.short_id}").status_code == 404


def test_an_answer_may_wait_where_the_model_allows_it(signed_in: Client) -> None:
    text = html(signed_in)
    assert offered(text, "window") == ["soonest", "2h", "8h"]
    assert chosen(text, "window") == ["soonest"]
    assert "Within 2 hours" in text
    assert text.count("no discount") == 1
    ModelSpec.objects.update(completion_windows=["soonest"])
    assert "Answer needed" not in html(signed_in)


def test_what_waiting_saves_is_a_part_of_what_it_likely_costs(signed_in: Client) -> None:
    def likely(text: str) -> list[Decimal]:
        (found,) = re.findall(r"<span>Likely</span> <b class=\"num\">([^<]*)", text)
        return [Decimal(part[1:]) for part in found.split("–")]

    now, later = price(signed_in), price(signed_in, window="8h")
    assert chosen(later, "window") == ["8h"]
    assert [round(one * Decimal("0.6"), 1) for one in likely(now)] == [round(one, 1) for one in likely(later)]
    # What it saves is said against an answer as soon as possible, whatever is chosen.
    saved = [re.findall(r"saves ([^<]*)<", text) for text in (now, later)]
    assert saved[0] == saved[1]
    assert len(saved[0]) == 2


def test_a_job_that_can_wait_is_sent_with_its_window(signed_in: Client) -> None:
    assert send(signed_in, window="8h").status_code == 302
    job = Job.objects.get()
    assert job.window == "8h"
    again = html(signed_in, f"?from={job.short_id}")
    assert chosen(again, "window") == ["8h"]


def test_a_window_that_the_model_lacks_is_one_click_from_being_sent(signed_in: Client) -> None:
    ModelSpec.objects.filter(pk="o3-pro").update(completion_windows=["soonest"])
    refused = send(signed_in, window="8h")
    assert refused.status_code == 422
    text = refused.content.decode()
    assert "This model has no waiting discount. Run it as soon as possible?" in text
    assert '<button type="submit" class="lk" name="window" value="soonest">' in text
    assert send(signed_in, window="soonest").status_code == 302
