"""Cancelling what runs and running it again, as a person does it."""

import re

from playwright.sync_api import expect

from jobs.access import Role
from jobs.models import Basis, EntryKind, Job, LedgerEntry, Status, User
from jobs.templatetags import ui
from tests.browser.conftest import Browse
from tests.browser.installation import Installation, charged

PROMPT = "Find every tiling of the board.\n\n[[sandbox: seconds=600]]"


def test_cancelled_job_shows_its_cost_and_starts_a_new_one_from_its_settings(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    job = ponder.submit(project, mira, PROMPT, title="Tilings", tags=("boards",), max_output_tokens=12_345)
    ponder.wait_for(job, Status.IN_PROGRESS)
    page = browse(mira)
    page.goto(job.get_absolute_url())
    badge = page.locator(".d-head .badge")
    expect(badge).to_have_text("Running")

    with ponder.asleep():
        page.get_by_role("button", name="Cancel", exact=True).click()
        dialog = page.get_by_role("dialog", name="Cancel this job?")
        # A moment's work may be less than a cent.
        charge = re.compile(r"What it used until then is charged\. At its usual speed that is about <?\$")
        expect(dialog).to_contain_text(charge)
        dialog.get_by_role("button", name="Cancel the job").click()
        expect(page.get_by_role("main")).to_contain_text(f"Asked to stop by {mira}")
        expect(page.get_by_role("button", name="Cancel", exact=True)).to_have_count(0)
    ponder.wait_for(job, Status.CANCELLED)
    expect(badge).to_have_text("Cancelled")

    cost = charged(job)
    assert cost > 0
    assert LedgerEntry.objects.get(job=job, kind=EntryKind.CHARGE).basis == Basis.ESTIMATE
    state = page.locator("section", has_text=f"Cancelled by {mira}")
    expect(state).to_contain_text(f"{ui.money(cost)} was charged. An estimate:")
    expect(page.locator("aside .big").first).to_have_text(f"{ui.money(cost)} charged")

    page.get_by_role("main").get_by_role("link", name="Run again").click()
    expect(page.get_by_text("A new job from Tilings.")).to_be_visible()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(PROMPT)
    expect(page.get_by_label("Output limit")).to_have_value("12,345")
    expect(page.locator(f"[id='model-{job.model_id}']")).to_be_checked()
    expect(page.get_by_role("radio", name=job.effort, exact=True)).to_be_checked()
    expect(page.get_by_label("Title")).to_have_value("Tilings")
    expect(page.get_by_label("Tags")).to_have_value("boards")
    page.get_by_label("Prompt", exact=True).fill(
        "Find one tiling of the board. [[sandbox: seconds=0.2 reasoning=640]]"
    )
    page.get_by_role("button", name="Send job").click()
    expect(badge).to_be_visible()
    again = ponder.wait_for(Job.objects.get(rerun_of=job), Status.COMPLETED)
    expect(badge).to_have_text("Completed")
    assert again.prompt.title == "Tilings"


def test_job_that_was_not_sent_yet_is_cancelled_at_no_cost(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    with ponder.asleep():
        job = ponder.submit(project, mira, PROMPT)
        page = browse(mira)
        page.goto(job.get_absolute_url())
        page.get_by_role("button", name="Cancel", exact=True).click()
        page.get_by_role("button", name="Cancel the job").click()
        expect(page.get_by_role("main")).to_contain_text("Cancelled. It cost nothing.")
        expect(page.get_by_role("main")).to_contain_text("It was never sent. Nothing was charged.")
    assert charged(job) == 0
    assert ponder.sandbox.log()["posts"] == []
