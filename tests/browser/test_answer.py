"""Reading: long answers with formulas, results as table and tree, and what one says of them."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from jobs.access import Role
from jobs.models import Answer, Job, JobNote, Project, Prompt, Status, User, Verdict
from jobs.rendering import RENDERER_VERSION, reading, render
from tests.browser.conftest import Browse
from tests.browser.installation import Installation
from tests.browser.looks import complaints, look_at
from tests.browser.watch import Watch
from tests.jobs.views.states import a_job

pytestmark = [pytest.mark.looks, pytest.mark.thorough]
ESSAY = (Path(__file__).parents[2] / "jobs/sandbox/answers/2-primes.md").read_text()
RENDERED = {"renderer_version": RENDERER_VERSION}
ROWS = [{"party": f"Party {n}", "on": "2024-01-08", "cap": n * 10_000, "renews": n < 5} for n in range(12)]
VALUE = {"rows": ROWS, "law": {"of": {"state": "SE"}}, "a b": ["x", "y"]}
WRONG = {"path": "/rows/6/on", "message": "2024-02-30 is not a date.", "rule": "format"}
CLIPBOARD = ["clipboard-read", "clipboard-write"]


def prose(project: Project, by: User, text: str) -> Job:
    return a_job(project, by, Status.COMPLETED, answer={"text": text, "html": render(text), **RENDERED})


def structured(project: Project, by: User) -> Job:
    answer = {"text": json.dumps(VALUE), "parsed": VALUE, "validation_errors": [WRONG], **RENDERED}
    job = a_job(project, by, Status.COMPLETED, answer=answer, spec={"title": "Extract the terms"})
    Prompt.objects.filter(job=job).update(schema_name="terms", schema={})
    return job


def is_in_sight(page: Page, place: str) -> bool:
    found: bool = page.evaluate(
        """id => { const {top} = document.getElementById(id).getBoundingClientRect();
                   return top >= 0 && top < innerHeight; }""",
        place,
    )
    return found


def clipboard(page: Page) -> str:
    return str(page.evaluate("() => navigator.clipboard.readText()"))


@pytest.fixture
def project(ponder: Installation, mira: User) -> Project:
    return ponder.project(members={mira: Role.SUBMITTER})


def test_a_long_answer_is_read_copied_and_linked_to(
    ponder: Installation, browse: Browse, mira: User, project: Project, watches: list[Watch]
) -> None:
    with ponder.asleep():
        text = "\n\n".join([ESSAY] * 60)
        job = prose(project, mira, text)
        page = browse(mira, permissions=CLIPBOARD)
        page.goto(job.get_absolute_url())
        expect(page.locator(".math .katex").first).to_be_visible()
        first = page.locator(".part").count()
        page.locator("#h-2").hover()
        page.locator("#h-2 .anchor").click()
        assert page.url.endswith("#h-2")
        page.get_by_role("link", name="Show the rest").click()
        expect(page.locator("#rest")).to_have_count(0)
        assert page.locator(".part").count() > first
        # Only what is near is drawn, until the page is printed.
        assert 0 < page.locator(".katex").count() < 100
        page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
        assert page.locator(".katex").count() > 500
        page.get_by_role("button", name="Copy Markdown").click()
        expect(page.locator("#said")).to_have_text("Copied")
        assert clipboard(page) == text
        page.get_by_role("button", name="Copy text").click()
        read = reading.text_of(Answer.objects.get(job=job).html)
        page.wait_for_function("async wanted => (await navigator.clipboard.readText()) === wanted", arg=read)
        page.locator(".codebox").first.get_by_role("button").click()
        expect(page.locator(".codebox").first.get_by_role("button")).to_have_text("Copied")
        assert clipboard(page).startswith("def count_primes")

        # A link into the part that is not shown yet fetches it and goes there.
        page.goto(f"{job.get_absolute_url()}activity/")
        page.goto(f"{job.get_absolute_url()}#h-200")
        expect(page.locator("#rest")).to_have_count(0)
        page.wait_for_function("() => scrollY > 10_000")
        assert is_in_sight(page, "h-200")


def test_without_script_a_long_answer_is_whole_behind_its_link(
    ponder: Installation, browse: Browse, mira: User, project: Project
) -> None:
    with ponder.asleep():
        job = prose(project, mira, "\n\n".join([ESSAY] * 60))
        page = browse(mira, java_script_enabled=False)
        page.goto(job.get_absolute_url())
        expect(page.locator(".math").first).to_contain_text("p_1")
        # By key: under a pointer so long a page still moves as it is laid out.
        page.get_by_role("link", name="Show the rest").press("Enter")
        expect(page.locator("#h-200")).to_have_count(1)


def test_a_result_is_sorted_unfolded_and_linked_to(
    ponder: Installation, browse: Browse, mira: User, project: Project
) -> None:
    with ponder.asleep():
        job = structured(project, mira)
        page = browse(mira, permissions=CLIPBOARD)
        page.goto(job.get_absolute_url())
        first = page.locator(".rt tbody th").first
        page.locator(".rt thead").get_by_role("link", name="cap").click()
        expect(first).to_have_text("12")
        assert page.url.endswith("?sort=cap&order=down")
        page.locator(".rt thead").get_by_role("link", name="cap").click()
        expect(first).to_have_text("1")
        page.go_back()
        expect(first).to_have_text("12")
        page.get_by_role("link", name="Go to row 7").click()
        assert is_in_sight(page, "/rows/6")
        page.locator(".unfit").get_by_role("button", name="Copy path").click()
        expect(page.locator(".unfit button")).to_have_text("Copied")
        assert clipboard(page) == "/rows/6/on"

        page.get_by_role("link", name="Tree").click()
        expect(page.locator('.tree [id="/rows/6"]')).to_have_attribute("open", "")
        page.locator('.tree [id="/a%20b/1"]').hover()
        expect(page.locator("#path")).to_have_text("/a b/1")
        page.locator("#at button").click()
        expect(page.locator("#at button")).to_have_text("Copied")
        assert clipboard(page) == "/a b/1"
        page.locator(".res-bar button").click()
        expect(page.locator(".res-bar button")).to_have_text("Copied")
        assert json.loads(clipboard(page)) == VALUE

        # A link to a value that is folded away unfolds it.
        page.goto(f"{job.get_absolute_url()}activity/")
        page.goto(f"{job.get_absolute_url()}?view=tree#/rows/11/cap")
        expect(page.locator('.tree [id="/rows/11/cap"]')).to_be_visible()
        assert is_in_sight(page, "/rows/11/cap")


def test_a_reader_judges_notes_and_tags_without_leaving_the_page(
    ponder: Installation, browse: Browse, mira: User, project: Project
) -> None:
    with ponder.asleep():
        job = prose(project, mira, ESSAY)
        page = browse(mira)
        page.goto(job.get_absolute_url())
        page.evaluate("() => { window.stayed = true }")
        expect(page.get_by_text("No verdict yet")).to_be_visible()
        right = page.get_by_role("button", name="Right")
        right.click()
        expect(right).to_have_attribute("aria-pressed", "true")
        expect(page.locator("form:has(.verdict) + .small2")).to_contain_text("Mira, ")
        assert Verdict.objects.get().value == "right"
        right.click()
        expect(page.get_by_text("No verdict yet")).to_be_visible()

        page.get_by_label("Note").fill("Step 3 is a guess.")
        page.get_by_role("button", name="Add note").click()
        expect(page.locator(".said")).to_contain_text("Step 3 is a guess.")
        expect(page.get_by_label("Note")).to_have_value("")
        # What is being typed survives a verdict.
        page.get_by_label("Note").fill("And step 4")
        page.get_by_role("button", name="Unsure").click()
        expect(page.get_by_role("button", name="Unsure")).to_have_attribute("aria-pressed", "true")
        expect(page.get_by_label("Note")).to_have_value("And step 4")
        page.get_by_role("button", name="Remove").click()
        expect(page.locator(".said")).to_have_count(0)
        assert not JobNote.objects.exists()

        page.get_by_text("Add tags").click()
        page.get_by_label("Tags").fill("proofs, checked")
        page.get_by_role("button", name="Save tags").click()
        expect(page.locator(".tags")).to_have_text("checked proofs")
        assert page.evaluate("() => window.stayed")


def test_everyone_can_read_results_at_every_width(
    ponder: Installation, browse: Browse, mira: User, project: Project
) -> None:
    with ponder.asleep():
        job = structured(project, mira)
        url, pages = job.get_absolute_url(), [browse(mira), browse(mira)]
        paths = {
            "table": f"{url}?sort=cap",
            "json": f"{url}?view=json",
            "results": f"/results/{project.slug}/terms/",
        }
        found = [*look_at(pages, paths)]
        pages[0].goto(f"{url}?view=tree")
        pages[0].locator('.tree [id="/rows/0/on"]').hover()
        found += complaints({"tree": pages[0]})
    assert not found, "\n".join(found)
