"""The list of jobs: found by words and filters, live under them; jobs heard of in a tab nobody looks at."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db.models import F
from playwright.sync_api import Page, expect

from jobs import lifecycle
from jobs.access import Role
from jobs.models import Job, Status, User
from tests.browser.conftest import Browse
from tests.browser.installation import Installation
from tests.jobs.views.states import a_job

# A tab that can be left, and a browser that says yes; what it was told is kept.
AWAY = """
    window.told = [];
    Object.defineProperty(Document.prototype, "hidden", { get: () => window.isAway === true });
    Document.prototype.hasFocus = () => window.isAway !== true;
    window.Notification = class {
        static permission = "default";
        static requestPermission() { this.asked = (this.asked ?? 0) + 1; this.permission = "granted";
            return Promise.resolve("granted"); }
        constructor(title, options) { window.told.push([title, options.tag]); }
    };
"""
LEAVE = "away => { window.isAway = away; document.dispatchEvent(new Event('visibilitychange')); }"


def icons(page: Page) -> str:
    return str(page.evaluate("() => document.querySelector('link[rel=icon]').href.split('/').pop()"))


@pytest.fixture
def listed(ponder: Installation, browse: Browse, mira: User) -> Iterator[tuple[Page, Job]]:
    project = ponder.project(members={mira: Role.SUBMITTER})
    with ponder.asleep():
        a_job(project, mira, Status.COMPLETED, answer={"text": "A **walrus** is not a seal."})
        lifecycle.render_due()
        a_job(project, mira, Status.FAILED)
        job = a_job(project, mira, Status.IN_PROGRESS, spec={"title": "Is a walrus a seal?"})
        page = browse(mira)
        page.add_init_script(AWAY)
        page.clock.install()
        yield page, job


def end(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(status=Status.COMPLETED, version=F("version") + 1)


def test_a_job_is_found_by_words_and_filters_and_the_address_keeps_them(listed: tuple[Page, Job]) -> None:
    page, job = listed
    page.goto("/jobs/")
    page.keyboard.press("/")
    page.keyboard.type("walrus")
    page.keyboard.press("Enter")
    expect(page.locator("tr.j")).to_have_count(2)
    expect(page.locator(".hit mark")).to_have_text("walrus")
    assert "q=walrus" in page.url
    page.get_by_role("link", name="Completed 1").click()
    expect(page.locator("tr.j")).to_have_count(1)
    assert "q=walrus" in page.url
    page.get_by_text("More", exact=True).click()
    assert not Axe().run(page).response["violations"]
    page.get_by_label("Tag").fill("none has it")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page.get_by_text("Nothing has these words.")).to_be_visible()
    page.get_by_role("link", name="Clear search and filters").click()
    expect(page.locator(f"#card-{job.short_id}")).to_be_visible()


def test_an_update_under_a_filter_keeps_what_is_open_and_typed(listed: tuple[Page, Job]) -> None:
    page, job = listed
    page.goto("/jobs/?by=me")
    page.get_by_text("More", exact=True).click()
    tag = page.get_by_label("Tag")
    tag.fill("half a wo")
    end(job)
    with page.expect_response("**/jobs/live/?by=me"):
        page.clock.run_for(6_000)
    expect(page.locator(f"#row-{job.short_id}")).to_be_visible()
    expect(page.get_by_role("link", name="All 3")).to_be_visible()
    expect(tag).to_be_focused()
    expect(tag).to_have_value("half a wo")


def test_someone_elsewhere_is_told_that_their_job_has_ended(listed: tuple[Page, Job]) -> None:
    page, job = listed
    page.goto("/jobs/")
    assert page.evaluate("() => Notification.asked") is None  # never before a click
    page.get_by_role("button", name="Notify me").click()
    expect(page.get_by_role("button", name="Notifying you")).to_be_visible()
    page.evaluate(LEAVE, True)
    assert icons(page) == "favicon-busy.svg"
    end(job)
    with page.expect_response("**/jobs/live/*"):
        page.clock.run_for(61_000)
    expect(page).to_have_title("✓ 1 finished · Jobs · Ponder")
    assert icons(page) == "favicon-done.svg"
    assert page.evaluate("() => window.told") == [["Completed: Is a walrus a seal?", f"row-{job.short_id}"]]
    page.evaluate(LEAVE, False)
    expect(page).to_have_title("Jobs · Ponder")
    assert icons(page) == "favicon.svg"


def test_the_page_of_a_job_tells_that_it_has_ended_once_notifications_are_allowed(
    listed: tuple[Page, Job],
) -> None:
    page, job = listed
    page.goto(job.get_absolute_url())
    assert page.evaluate("() => Notification.asked") is None  # nor does it ask by itself
    page.evaluate("() => { Notification.permission = 'granted'; localStorage.setItem('notify', 'yes'); }")
    page.evaluate(LEAVE, True)
    assert icons(page) == "favicon-busy.svg"
    end(job)
    with page.expect_response("**/live/"):
        page.clock.run_for(61_000)
    expect(page).to_have_title("✓ Is a walrus a seal? · Ponder")
    assert icons(page) == "favicon-done.svg"
    assert page.evaluate("() => window.told") == [["Completed: Is a walrus a seal?", f"row-{job.short_id}"]]
    page.evaluate(LEAVE, False)
    expect(page).to_have_title("Is a walrus a seal? · Ponder")
    assert icons(page) == "favicon.svg"
