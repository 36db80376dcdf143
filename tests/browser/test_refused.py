"""A ceiling that does not fit the cap: the exact shortfall, and the way to make it fit."""

from decimal import Decimal

from playwright.sync_api import expect

from jobs import lifecycle
from jobs.access import Role
from jobs.lifecycle import JobSpec
from jobs.models import Job, Refusal, Status, User, Workspace
from jobs.templatetags import ui
from tests.browser.conftest import Browse
from tests.browser.installation import Installation, charged, period_of

CAP = Decimal("1.25")
PROMPT = "Is lemma 4.7 true? [[sandbox: seconds=0.2 reasoning=64 answer_tokens=200]]"


def test_job_over_the_cap_says_what_is_missing_and_is_sent_once_it_fits(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(cap=str(CAP), members={mira: Role.SUBMITTER})
    choice = project.default_choice(Workspace.objects.the().today())
    assert choice is not None
    wanted = JobSpec(
        project=project,
        by=mira,
        prompt=PROMPT,
        model=choice.spec.pk,
        mode=choice.mode,
        effort=choice.effort,
        max_output_tokens=choice.max_output_tokens,
    )
    ceiling = lifecycle.ceiling_of(wanted)
    assert ceiling is not None
    page = browse(mira)
    page.goto("/jobs/new/")
    page.get_by_label("Prompt", exact=True).fill(PROMPT)

    obstacle = page.locator("#price .tipline")
    send = page.get_by_role("button", name="Send job")
    expect(obstacle).to_contain_text(
        f"This could cost {ui.ceiling(ceiling.worst_case)} and $1.25 is left this month in Proofs: "
        f"{ui.ceiling(ceiling.worst_case - CAP)} too little."
    )
    expect(send).to_be_disabled()

    fit = obstacle.get_by_role("button", name="Use ")
    tokens = int(fit.get_attribute("value") or 0)
    expect(fit).to_have_text(f"Use {tokens:,} tokens")
    fit.click()
    expect(page.get_by_label("Output limit")).to_have_value(f"{tokens:,}")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(PROMPT)
    expect(obstacle).to_have_count(0)
    send.click()
    badge = page.locator(".d-head .badge")
    expect(badge).to_be_visible()
    job = ponder.wait_for(Job.objects.get(), Status.COMPLETED)
    expect(badge).to_have_text("Completed")
    assert job.max_output_tokens == tokens
    assert job.worst_case <= CAP
    assert period_of(project).spent == charged(job) > 0
    assert not Refusal.objects.exists()


def test_money_that_went_while_the_page_was_open_refuses_the_job_and_notes_the_shortfall(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(cap="20", members={mira: Role.SUBMITTER})
    page = browse(mira)
    page.goto("/jobs/new/")
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    expect(page.locator("#count")).to_contain_text("input tokens")
    # Priced while there is room: the next price would close the button.
    with page.expect_response("**/jobs/estimate/"):
        page.get_by_label("Output limit").fill("100,000")
    with ponder.asleep():
        other = ponder.submit(
            project, mira, "[[sandbox: seconds=0.2 reasoning=640]]", max_output_tokens=100_000
        )
        while (left := Decimal(20) - period_of(project).held) >= other.worst_case:
            ponder.submit(project, mira, "[[sandbox: seconds=0.2 reasoning=640]]", max_output_tokens=100_000)
        page.get_by_role("button", name="Send job").click()
        expect(page.get_by_role("alert")).to_contain_text("too little.")
        refusal = Refusal.objects.get()
        assert refusal.shortfall == refusal.ceiling - left > 0
        expect(page.get_by_role("alert")).to_contain_text(f"{ui.ceiling(refusal.shortfall)} too little.")
        expect(page.get_by_label("Prompt", exact=True)).to_have_value(PROMPT)
        page.goto(project.get_absolute_url())
        row = page.locator("section", has_text="Refused this month").locator("tbody tr").last
        expect(row.locator("td").last).to_have_text(ui.ceiling(refusal.shortfall))
    for job in Job.objects.all():
        ponder.wait_for(job, Status.COMPLETED)
