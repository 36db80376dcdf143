"""Writing a job in a browser: files, a schema that is mended, a draft that outlives the session, one send."""

import base64
import datetime as dt
import json
import re
from decimal import Decimal

from playwright.sync_api import Page, expect
from pytest_django.fixtures import Settings

from jobs.access import Role
from jobs.models import Job, JobAttachment, Status, User, Verdict, VerdictValue
from tests.browser.conftest import Browse
from tests.browser.installation import Installation, held
from tests.factories import PASSWORD
from tests.jobs.attachments.files import pdf, picture
from tests.jobs.views.states import a_job

QUICK = " [[sandbox: seconds=0.2 reasoning=640]]"
PROMPT = f"Is lemma 4.7 of the attached draft true without compactness?{QUICK}"
LOOSE = """{
  "type": "object",
  "properties": {
    "holds": { "type": "boolean" },
    "steps": {
      "type": "array",
      "items": {
        "type": "object",
        "properties": { "text": { "type": "string" } },
        "required": ["text"]
      }
    }
  },
  "required": ["holds"],
  "additionalProperties": false
}"""
# Files as a browser brings them with a drop or a paste.
BRING = """([on, kind, files]) => {
    const data = new DataTransfer();
    for (const [name, type, body, size] of files) {
        const bytes = size ? new Uint8Array(size) : Uint8Array.from(atob(body), one => one.charCodeAt(0));
        data.items.add(new File([bytes], name, { type }));
    }
    const more = { bubbles: true, cancelable: true };
    const event = kind === "drop"
        ? new DragEvent("drop", { dataTransfer: data, ...more })
        : new ClipboardEvent("paste", { clipboardData: data, ...more });
    document.querySelector(on).dispatchEvent(event);
}"""


def bring(page: Page, kind: str, *files: tuple[str, str, bytes, int], on: str = "#id_prompt") -> None:
    """Drop or paste files (name, type, bytes; or a size) on the prompt, or elsewhere."""
    page.evaluate(
        BRING,
        [
            on,
            kind,
            [[name, media, base64.b64encode(body).decode(), size] for name, media, body, size in files],
        ],
    )


def chips(page: Page) -> list[str]:
    return page.locator("#files b").all_inner_texts()


def test_job_is_written_with_files_and_schema_and_its_draft_outlives_the_session(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    ponder.project(members={mira: Role.SUBMITTER})
    page = browse(mira)
    page.goto("/jobs/new/")
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill(PROMPT)

    # Chosen, dropped and pasted; what cannot be sent says why, before or after it was looked at.
    files = page.locator("#files li")
    page.get_by_label("Attach", exact=True).set_input_files(
        {"name": "lemma-4-7.pdf", "mimeType": "application/pdf", "buffer": pdf("Lemma 4.7")}
    )
    expect(files).to_have_count(1)
    png = ("figure-2.png", "image/png", picture(width=620, height=440), 0)
    word = ("notes.docx", "application/msword", b"PK\x03\x04word/document.xml", 0)
    bring(page, "drop", png, word, ("scan.pdf", "application/pdf", b"", 60_000_001))
    expect(page.get_by_text("Too large: 61 MB, the limit is 50.")).to_be_visible()
    expect(files).to_have_count(4)
    expect(page.get_by_text(re.compile("can.t be read"))).to_be_visible()
    bring(page, "paste", ("image.png", "image/png", picture(), 0))
    expect(files).to_have_count(5)
    for name in ("notes.docx", "scan.pdf", "image.png"):
        page.get_by_role("button", name=f"Remove {name}").click()
    assert chips(page) == ["lemma-4-7.pdf", "figure-2.png"]
    expect(page.locator("#count")).to_contain_text("input tokens")

    # The schema: each mistake has its line, sending goes to the first one, and a click mends them.
    page.get_by_text("Structured result").click()
    page.get_by_label("Name", exact=True).fill("lemma_check")
    schema = page.get_by_label("JSON Schema")
    schema.fill('{"type": "object",\n "properties": {,}}')
    problems = page.locator("#schema-check")
    expect(problems).to_contain_text("Not JSON: a name in double quotes is missing on line 2, column 17.")
    schema.fill(LOOSE)
    expect(problems).to_contain_text("2 problems. OpenAI would refuse this schema.")
    expect(problems.get_by_role("link")).to_have_text(["Line 7", "Line 14"])
    expect(page.locator(".code li.err")).to_have_count(2)
    expect(page.locator("#schema-said")).to_have_text("2 problems")
    prompt.press("Control+Enter")
    expect(schema).to_be_focused()
    assert not Job.objects.exists()
    problems.get_by_role("button", name="Fix both").click()
    expect(problems).to_contain_text("Fits the strict rules.")
    expect(page.locator("#schema-said")).to_have_text("")
    mended = json.loads(schema.input_value())
    assert mended["required"] == ["holds", "steps"]
    assert mended["properties"]["steps"]["items"]["additionalProperties"] is False
    schema.press("Control+z")
    expect(problems).to_contain_text("2 problems")
    problems.get_by_role("button", name="Fix both").click()
    expect(problems).to_contain_text("Fits the strict rules.")

    # Tab indents; after Escape it leaves.
    schema.press("Control+End")
    schema.press("Tab")
    assert schema.input_value().endswith("}  ")
    schema.press("Escape")
    schema.press("Tab")
    expect(schema).not_to_be_focused()

    # The session ends while someone types: signed in again, all of it is there.
    page.get_by_role("radio", name="low", exact=True).check()
    expect(page.locator("#saved")).to_have_text(re.compile(r"Draft saved \d\d:\d\d"))
    page.wait_for_load_state("networkidle")
    page.context.clear_cookies(name="sessionid")
    prompt.press("End")
    # At once: the page leaves at the first pause.
    page.keyboard.insert_text(" Show every step.")
    expect(page.get_by_label("Password")).to_be_visible()
    page.get_by_label("Email").fill(mira.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(prompt).to_have_value(f"{PROMPT} Show every step.")
    assert chips(page) == ["lemma-4-7.pdf", "figure-2.png"]
    assert json.loads(schema.input_value()) == mended
    expect(page.get_by_role("radio", name="low", exact=True)).to_be_checked()
    expect(problems).to_contain_text("Fits the strict rules.")
    expect(page.locator("#price .e2 b")).to_have_text(re.compile(r"\$\d"))

    # Two clicks make one job, and the draft has done its work.
    page.wait_for_load_state("networkidle")
    page.get_by_role("button", name="Send job").dblclick()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Is lemma 4.7 of the attached draft true")
    job = Job.objects.get()
    assert (job.effort, job.prompt.schema) == ("low", mended)
    assert JobAttachment.objects.filter(job=job).count() == 2
    ponder.wait_for(job, Status.COMPLETED)
    page.goto("/jobs/new/")
    expect(prompt).to_have_value("")
    expect(files).to_have_count(0)
    expect(page.locator("#saved")).to_have_text("")

    # Whoever signs out leaves nothing behind.
    prompt.fill("Is it a secret?")
    expect(page.locator("#saved")).to_have_text(re.compile("Draft saved"))
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    assert page.evaluate("() => Object.keys(localStorage)") == []


def test_page_advises_less_and_a_click_takes_the_advice(
    ponder: Installation, browse: Browse, mira: User, settings: Settings
) -> None:
    settings.PONDER_TODAY = dt.date(2026, 11, 22)  # while both models can be asked
    project = ponder.project(members={mira: Role.SUBMITTER}, cap="1000")
    with ponder.asleep():
        for number in range(20):
            job = a_job(project, mira, Status.COMPLETED, spec={"model": "o3", "mode": "standard"})
            verdict = VerdictValue.WRONG if number < 5 else VerdictValue.RIGHT
            Verdict.objects.create(job=job, value=verdict, by=mira)
        page = browse(mira)
        page.goto("/jobs/new/?project=proofs")
        page.get_by_label("Prompt", exact=True).fill("Is lemma 4.7 true?")
        page.locator("#model-o3-pro").check()
        page.get_by_role("radio", name="high", exact=True).check()
        advice = page.locator("#advice")
        expect(advice).to_contain_text("o3 was enough in 75% of 20 jobs like this.")
        advice.get_by_role("button", name=re.compile("Try o3 first, about")).click()
        expect(page.locator("#model-o3")).to_be_checked()
        expect(advice).to_be_empty()
        ceiling = page.locator("#price .e2 b")
        expect(page.locator("#price")).not_to_have_class(re.compile("htmx-request"))
        before = Decimal(ceiling.inner_text().removeprefix("$"))

        # A tool that the API runs may read the whole context again: the ceiling says so.
        page.get_by_text("Tools", exact=True).click()
        page.get_by_role("checkbox", name=re.compile("^Web search")).check()
        page.get_by_label("Most calls").fill("2")
        expect(page.locator("#tools-named")).to_have_text("web search")
        expect(ceiling).not_to_have_text(f"${before}")
        functions = page.get_by_label("Functions as JSON")
        functions.fill('[{"type": "function", "name": "run_sage",\n "parameters": {"type": "object"}}]')
        check = page.locator("#tools-check")
        expect(check).to_contain_text("Line 2")
        check.get_by_role("button", name="Fix").click()
        expect(check).to_contain_text("Fit the rules.")
        expect(page.locator("#tools-named")).to_have_text("run_sage, web search")
        page.wait_for_load_state("networkidle")
        shown = Decimal(ceiling.inner_text().removeprefix("$"))
        page.get_by_role("button", name="Send job").click()
        expect(page.locator(".d-head .badge")).to_have_text("Waiting")
        job = Job.objects.latest("pk")
        assert (job.model_id, job.max_tool_calls) == ("o3", 2)
        assert [tool["type"] for tool in job.prompt.tools] == ["function", "web_search"]
        assert shown - Decimal("0.01") < held(job) <= shown > before
