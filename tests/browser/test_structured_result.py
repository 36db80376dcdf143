"""A strict schema from the first wrong try to an answer that does not keep to it."""

import json

from playwright.sync_api import Page, expect

from jobs.access import Role
from jobs.models import Answer, Job, Status, User
from tests.browser.conftest import Browse
from tests.browser.installation import Installation

PROMPT = "Is lemma 4.7 true? [[sandbox: seconds=0.2 reasoning=640]]"
SCHEMA = {
    "type": "object",
    "properties": {"holds": {"type": "boolean"}, "steps": {"type": "array", "items": {"type": "string"}}},
    "required": ["holds", "steps"],
    "additionalProperties": False,
}
LOOSE = {name: value for name, value in SCHEMA.items() if name != "additionalProperties"}


def write_schema(page: Page, text: str) -> None:
    page.get_by_label("JSON Schema").fill(text)
    page.get_by_role("button", name="Send job").click()


def test_wrong_schema_is_shown_with_its_place_and_the_right_one_is_kept_to(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    ponder.project(members={mira: Role.SUBMITTER})
    page = browse(mira)
    page.goto("/jobs/new/")
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    page.get_by_text("Structured result").click()
    page.get_by_label("Name", exact=True).fill("lemma_check")

    write_schema(page, '{"type": "object",\n  "properties" {}}')
    problems = page.locator("#schema-check")
    expect(problems).to_contain_text("Not JSON")
    expect(problems).to_contain_text("line 2")

    write_schema(page, json.dumps(LOOSE))
    expect(problems).to_contain_text("OpenAI would refuse this schema.")
    expect(problems.get_by_role("listitem")).to_contain_text("additionalProperties")
    # Nothing that was typed is lost on the way.
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(PROMPT)
    expect(page.get_by_label("Name", exact=True)).to_have_value("lemma_check")
    assert not Job.objects.exists()

    write_schema(page, json.dumps(SCHEMA))
    badge = page.locator(".d-head .badge")
    expect(badge).to_be_visible()
    ponder.wait_for(Job.objects.get(), Status.COMPLETED)
    expect(badge).to_have_text("Completed")
    answer = Answer.objects.get()
    assert answer.validation_errors == []
    page.get_by_role("link", name="JSON", exact=True).click()
    assert json.loads(page.get_by_label("Answer as JSON").inner_text()) == answer.parsed
    assert set(answer.parsed) == {"holds", "steps"}
    expect(page.get_by_text("does not fit the schema")).to_have_count(0)


def test_answer_that_breaks_its_schema_is_kept_with_the_place_that_breaks_it(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    answer = json.dumps(json.dumps({"holds": True, "steps": ["first", 2]}))
    asked = f"Is it true? [[sandbox: seconds=0.2 reasoning=640 answer={answer}]]"
    job = ponder.submit(project, mira, asked, schema=SCHEMA, schema_name="lemma_check")
    ponder.wait_for(job, Status.COMPLETED)

    page = browse(mira)
    page.goto(job.get_absolute_url())
    note = page.locator(".note", has_text="The answer does not fit the schema.")
    expect(note.get_by_role("listitem")).to_have_count(1)
    expect(note.locator("code").first).to_have_text("/steps/1")
    expect(page.locator('.tree [id="/steps/1"]')).to_contain_text("2 is not text.")
    page.get_by_role("link", name="JSON", exact=True).click()
    kept = json.loads(page.get_by_label("Answer as JSON").inner_text())
    assert kept == {"holds": True, "steps": ["first", 2]}
