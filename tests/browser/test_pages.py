"""A page that is open: its updates leave alone what a person does there, and end when nothing can change."""

import pytest
from django.db.models import F
from playwright.sync_api import expect

from jobs.access import Role
from jobs.models import Job, Status, User
from jobs.views import news
from tests.browser.conftest import Browse
from tests.browser.installation import Installation
from tests.browser.watch import Watch
from tests.jobs.views.states import a_job


def test_update_leaves_focus_folds_and_dialogs_alone(
    ponder: Installation, browse: Browse, mira: User, watches: list[Watch]
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    page = browse(mira)
    # New job: figures are replaced while someone types.
    page.goto("/jobs/new/")
    page.get_by_text("Instructions").first.click()
    more = page.locator("details.morem summary")
    more.click()
    typed = page.get_by_label("Prompt", exact=True)
    typed.press_sequentially("Is lemma 4.7 true")
    with page.expect_response("**/jobs/estimate/"):
        typed.press("?")
    expect(page.locator("#count")).to_contain_text("input tokens")
    expect(typed).to_be_focused()
    expect(typed).to_have_value("Is lemma 4.7 true?")
    expect(page.get_by_placeholder("How it should work")).to_be_visible()
    expect(page.locator("details.morem .mcard").first).to_be_visible()

    # What the browser brings back is priced like what is typed.
    priced = page.locator("#count").inner_text()
    page.goto("/budget/")
    page.go_back()
    expect(typed).to_have_value("Is lemma 4.7 true?")
    expect(page.locator("#count")).to_have_text(priced)

    # A running job: the page is replaced around an open dialog.
    with ponder.asleep():
        job = a_job(project, mira, Status.QUEUED)
        page.goto(job.get_absolute_url())
        page.get_by_role("button", name="Cancel", exact=True).click()
        keep = page.get_by_role("button", name="Keep it")
        keep.focus()
        node = keep.element_handle()
        Job.objects.filter(pk=job.pk).update(status=Status.IN_PROGRESS, version=F("version") + 1)
        expect(page.locator(".d-head .badge")).to_have_text("Running")
        expect(keep).to_be_focused()
        assert page.evaluate("node => node.isConnected", node)

        # The jobs list as well.
        page.goto("/jobs/")
        link = page.locator(".flight .fl a")
        link.focus()
        Job.objects.filter(pk=job.pk).update(status=Status.QUEUED, version=F("version") + 1)
        expect(page.locator(".flight .badge")).to_have_text("Queued")
        expect(link).to_be_focused()


def test_page_asks_for_nothing_more_once_all_is_final(
    ponder: Installation,
    browse: Browse,
    mira: User,
    watches: list[Watch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(news, "SLOWEST", 3)
    project = ponder.project(members={mira: Role.SUBMITTER})
    with ponder.asleep():
        job = a_job(project, mira, Status.IN_PROGRESS)
        for path, name in ((job.get_absolute_url(), "job"), ("/jobs/", "list")):
            page = browse(mira)
            watch = watches[-1]
            # The page's clock is ours: an hour passes in a moment.
            page.clock.install()
            page.goto(path)
            with page.expect_response("**/live/*") as asked:
                page.clock.run_for(4_000)
            assert asked.value.status == 304, name
            Job.objects.filter(pk=job.pk).update(status=Status.FAILED, version=F("version") + 1)
            with page.expect_response("**/live/*") as asked:
                page.clock.run_for(6_000)
            assert asked.value.status == 200, name
            expect(page.locator(".badge", has_text="Failed").first).to_be_visible()
            expect(page.locator(".htmx-request")).to_have_count(0)
            polls = watch.polls()
            page.clock.run_for(3_600_000)
            page.evaluate("() => document.body.click()")
            page.locator("#job, #flight").first.dispatch_event("click")
            page.wait_for_load_state("networkidle")
            assert watch.polls() == polls, name
            Job.objects.filter(pk=job.pk).update(status=Status.IN_PROGRESS, version=F("version") + 1)
