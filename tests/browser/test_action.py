"""Answering what a job stopped for in a browser: counted, priced, saved, and carried on by one click."""

import re
from decimal import Decimal

import pytest
from django.db.models import F
from playwright.sync_api import Page, expect

from jobs.access import Role
from jobs.models import Job, JobAttachment, Project, Prompt, Status, User
from jobs.templatetags import ui
from tests.browser.conftest import Browse
from tests.browser.installation import Installation, charged
from tests.browser.looks import complaints
from tests.browser.watch import Watch
from tests.jobs.attachments.files import picture
from tests.jobs.views.states import ARXIV, DOWNLOAD, SAGE, a_job

SUM = {
    "type": "function",
    "name": "add",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "number"}},
        "required": ["a"],
        "additionalProperties": False,
    },
}
LONG = "a_name_without_any_blank_" * 8


def bar(page: Page) -> str:
    return page.locator(".gobar").inner_text()


def test_answers_go_on_as_a_new_job_that_ends(ponder: Installation, browse: Browse, mira: User) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    spec = {"model": "gpt-6-sol", "mode": "standard", "tools": (SUM, {**ARXIV}), "max_tool_calls": 1}
    ask = "Add them up. [[sandbox: seconds=0.2 outcome=function_call calls=2 approvals=1]]"
    job = ponder.submit(project, mira, ask, **spec)
    job = ponder.wait_for(job, Status.REQUIRES_ACTION)
    page = browse(mira)
    page.goto(job.get_absolute_url())
    main = page.get_by_role("main")
    expect(main).to_contain_text("The model stopped to ask you for three things")
    go = page.get_by_role("button", name="Continue job")
    expect(page.locator(".gobar")).to_contain_text(re.compile(r"0 of 3 answered\s*Likely .* never more than"))
    expect(page.locator("#going-on")).to_contain_text("a new ceiling of $")
    expect(go).to_be_disabled()

    cards = page.locator(".call")
    expect(cards.locator("input:checked")).to_have_count(0)
    cards.nth(0).get_by_label("Output").fill("42")
    expect(cards.nth(0).locator(".st")).to_have_text("Answered")
    cards.nth(1).get_by_text("Send an error instead").click()
    cards.nth(1).get_by_role("textbox", name="Error").fill("No such number")
    expect(page.locator(".gobar b")).to_have_text("2 of 3 answered")
    expect(cards.nth(2).locator(".st")).to_have_text("Needs a decision")
    expect(go).to_be_disabled()

    # For later, and by somebody else's browser as well.
    page.get_by_role("button", name="Save for later").click()
    expect(main).to_contain_text("Saved.")
    again = browse(mira)
    again.goto(job.get_absolute_url())
    again.get_by_label("Output").first.wait_for()
    expect(again.get_by_label("Output").first).to_have_value("42")
    cards = again.locator(".call")
    expect(cards.nth(1).get_by_role("textbox", name="Error")).to_have_value("No such number")
    cards.nth(2).get_by_label("Refuse").check()
    go = again.get_by_role("button", name="Continue job")
    expect(go).to_be_enabled()
    shown = re.search(r"never more than (\$[\d.]+)", bar(again))
    go.dblclick()
    expect(again.get_by_role("heading", level=1)).to_contain_text("Add them up.")
    expect(again.locator(".d-head .badge")).to_have_text("Completed")
    (after,) = Job.objects.filter(previous=job)
    assert shown
    assert shown[1] == ui.ceiling(after.worst_case)
    assert charged(after) > 0
    # The other browser sees by itself that it was answered.
    expect(page.locator(".d-head .badge")).to_have_text("Completed", timeout=30_000)
    expect(main).to_contain_text("It stopped to ask, and was answered.")
    job.refresh_from_db()
    assert job.status == Status.COMPLETED


def test_what_is_half_answered_survives_a_poll_and_the_price_is_asked_for_once(
    ponder: Installation, browse: Browse, mira: User, watches: list[Watch]
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    with ponder.asleep():
        job = a_job(project, mira, Status.REQUIRES_ACTION, answer={"calls": [SAGE, DOWNLOAD]})
        page = browse(mira)
        page.goto(job.get_absolute_url())
        expect(page.locator(".gobar")).to_contain_text("never more than")
        asked = [one for one in watches[-1].requests if one.url.endswith("/replies/price/")]
        assert len(asked) == 1
        output = page.get_by_label("Output")
        output.press_sequentially("[1, ")
        page.get_by_label("Approve this call").check()
        output.focus()
        Prompt.objects.filter(job=job).update(title="Renamed")
        Job.objects.filter(pk=job.pk).update(version=F("version") + 1)
        expect(page.get_by_role("heading", level=1)).to_have_text("Renamed")
        expect(output).to_be_focused()
        output.press_sequentially("2]")
        expect(output).to_have_value("[1, 2]")
        expect(page.get_by_label("Approve this call")).to_be_checked()
        expect(page.locator(".gobar b")).to_have_text("2 of 2 answered")
        expect(page.get_by_role("button", name="Continue job")).to_be_enabled()


def test_a_file_answers_a_call(ponder: Installation, browse: Browse, mira: User) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    with ponder.asleep():
        second = {**SAGE, "call_id": "call_2"}
        job = a_job(project, mira, Status.REQUIRES_ACTION, answer={"calls": [SAGE, second]})
        page = browse(mira)
        page.goto(job.get_absolute_url())
        expect(page.locator(".gobar")).to_contain_text("never more than")
        cards = page.locator(".call")
        plot = {"name": "plot.png", "mimeType": "image/png", "buffer": picture()}
        cards.nth(1).get_by_label("Attach a file").set_input_files(plot)
        expect(cards.nth(1).get_by_role("listitem")).to_contain_text("plot.png")
        expect(cards.nth(1).locator(".st")).to_have_text("Answered")
        expect(cards.nth(0).get_by_role("listitem")).to_have_count(0)
        cards.nth(0).get_by_label("Output").fill("[1, 2]")
        go = page.get_by_role("button", name="Continue job")
        expect(go).to_be_enabled()
        go.click()
        expect(page.locator(".d-head .badge")).to_have_text("Waiting")
        row = JobAttachment.objects.get(job=Job.objects.get(previous=job))
        assert (row.name, row.call_key) == ("plot.png", "call_2")


@pytest.mark.looks
def test_calls_of_any_shape_fit_every_width_and_are_readable(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(cap="1000", members={mira: Role.SUBMITTER})
    with ponder.asleep():
        odd = {**SAGE, "call_id": "call_2", "name": LONG[:64], "arguments": f'{{"{LONG}": "{LONG[:79]}"}}'}
        raw = {**SAGE, "call_id": "call_3", "arguments": LONG * 3}
        job = a_job(
            project,
            mira,
            Status.REQUIRES_ACTION,
            spec={
                "tools": ({**ARXIV, "server_url": f"https://{'a' * 60}.{'b' * 60}.example/"},),
                "max_tool_calls": 1,
            },
            answer={"text": "Before I go on:", "calls": [SAGE, odd, raw, DOWNLOAD]},
        )
        page = browse(mira)
        page.goto(job.get_absolute_url())
        expect(page.locator(".gobar")).to_contain_text("never more than")
        over = browse(mira)
        Project.objects.update(job_limit=Decimal("0.01"))
        over.goto(job.get_absolute_url())
        over.get_by_label("Why is it worth it?").fill(LONG)
        assert list(complaints({"calls": page, "over the limit": over})) == []
