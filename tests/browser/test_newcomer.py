"""A newcomer's first quarter of an hour, from the printed link to what is left of the cap."""

import dataclasses
import json
import re
from decimal import Decimal

from playwright.sync_api import Page, expect

from jobs import forecast, lifecycle
from jobs.lifecycle import JobSpec
from jobs.management import first_start
from jobs.models import Attempt, Job, Project, Status, User, Workspace
from jobs.templatetags import ui
from tests.browser.conftest import Browse
from tests.browser.installation import Installation, charged, held, period_of

# Whole cents at every price per million tokens that is a multiple of 4, as the defaults' are: so the parts
# shown add up to the total shown.
USED = {"input": 2_500, "reasoning": 20_000, "answer_tokens": 10_000}
ASKED = "How many primes are there below a million?\n" + "Show every step of your working. " * 60
PROMPT = f"{ASKED}\n\n[[sandbox: seconds=3 {' '.join(f'{name}={count}' for name, count in USED.items())}]]"
PASSWORD = "a fine day for lemmas"


def expect_price(page: Page, wanted: JobSpec) -> None:
    """Expect the likely cost and the ceiling that the catalogue gives for a job."""
    ceiling = lifecycle.ceiling_of(wanted)
    assert ceiling is not None
    likely = forecast.likely_cost(
        wanted.project,
        ceiling.spec,
        ceiling.price,
        effort=wanted.effort,
        input_tokens=forecast.guess_input_tokens(wanted.prompt),
        max_output_tokens=wanted.max_output_tokens,
        mode=wanted.mode,
    )
    price = page.locator("#price")
    expect(price.locator(".e1 b")).to_have_text(ui.money_range(likely.low, likely.high))
    expect(price.locator(".e2 b")).to_have_text(ui.ceiling(ceiling.worst_case))


def test_newcomer_gets_an_answer_and_sees_what_it_cost(ponder: Installation, browse: Browse) -> None:
    token = first_start.prepare(sandbox_base_url=ponder.sandbox.base_url)
    page = browse()

    # The printed link: its secret leaves the address bar, and a password is set.
    page.goto(f"/enter/#{token}")
    expect(page).to_have_url(f"{ponder.url}/enter/")
    page.get_by_role("button", name="Go on").click()
    page.get_by_label("Your email").fill("ana@example.com")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Set password and sign in").click()
    expect(page.get_by_role("heading", name="Ask something hard")).to_be_visible()
    expect(page.get_by_role("region", name="Practice API")).to_contain_text("no money is spent")
    ana = User.objects.get(email="ana@example.com")
    assert ana.check_password(PASSWORD)

    # New job: both figures follow what is typed and chosen.
    page.get_by_role("main").get_by_role("link", name="New job").click()
    project = Project.objects.get()
    choice = project.default_choice(Workspace.objects.the().today())
    assert choice is not None
    wanted = JobSpec(
        project=project,
        by=ana,
        prompt=PROMPT,
        model=choice.spec.pk,
        mode=choice.mode,
        effort=choice.effort,
        max_output_tokens=choice.max_output_tokens,
    )
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    expect_price(page, wanted)
    page.get_by_role("radio", name="low", exact=True).check()
    wanted = dataclasses.replace(wanted, effort="low")
    expect_price(page, wanted)
    page.get_by_label("Output limit").fill("35,000")
    wanted = dataclasses.replace(wanted, max_output_tokens=35_000)
    expect_price(page, wanted)
    expect(page.locator("#left")).to_contain_text("$200.00 of $200 left")

    # Sent: the page goes from waiting to the answer without being loaded again.
    with ponder.asleep():
        page.get_by_role("button", name="Send job").click()
        badge = page.locator(".d-head .badge")
        expect(badge).to_have_text("Waiting")
        page.evaluate("() => { window.isStillTheSamePage = true }")
        job = Job.objects.get()
        expect(page).to_have_url(f"{ponder.url}/jobs/{job.short_id}/")
        assert held(job) == job.worst_case
        expect(page.locator("aside .big").first).to_have_text(f"{ui.ceiling(job.worst_case)} held")
    ponder.wait_for(job, Status.IN_PROGRESS)
    expect(badge).to_have_text("Running")
    ponder.wait_for(job, Status.COMPLETED)
    expect(badge).to_have_text("Completed")
    answer = page.locator("article.prose")
    expect(answer.locator("h1, h2").first).to_be_visible()
    expect(answer.locator("table").first).to_be_visible()
    expect(answer.locator("pre code").first).to_be_visible()
    answer.locator(".math").first.scroll_into_view_if_needed()
    expect(answer.locator(".math .katex").first).to_be_visible()
    assert page.evaluate("() => window.isStillTheSamePage") is True

    # The cost card: parts that add up, and the price they rest on.
    job.refresh_from_db()
    attempt = Attempt.objects.select_related("price").get(job=job)
    total = charged(job)
    assert total == job.cost > 0
    assert held(job) == 0
    card = page.locator("aside section", has=page.get_by_role("heading", name="Cost"))
    expect(card.locator(".big")).to_have_text(f"{ui.money(total)} charged")
    parts = [Decimal(text.removeprefix("$")) for text in card.locator(".leg .v").all_inner_texts()]
    assert len(parts) == 3
    assert sum(parts) == total
    rate = attempt.price.rates.output * USED["reasoning"] / 1_000_000
    expect(card.locator(".leg li", has_text="Reasoning")).to_contain_text(ui.money(rate))
    row = attempt.price
    cached = f"{ui.money(row.cached_input)} cached, " if row.cached_input is not None else ""
    expect(card).to_contain_text(
        f"Price of {row.model_id} from {row.valid_from:%-d %b %Y}: "
        f"{ui.money(row.input)} in, {cached}{ui.money(row.output)} out per million tokens."
    )

    # The project: what is spent, nothing held, what is left.
    page.get_by_label("Details").get_by_role("link", name=project.name).click()
    month = period_of(project)
    assert month.spent == total
    assert month.held == 0
    figures = page.locator(".kpis > div")
    expect(figures.filter(has_text="Spent in")).to_contain_text(f"{ui.money(total)} of $200.00")
    expect(figures.filter(has_text="Held for")).to_contain_text("$0.00")
    expect(figures.filter(has_text="Left")).to_contain_text(ui.money(Decimal(200) - total))

    # What came, as it came, and all that happened.
    page.get_by_role("link", name="How many primes").click()
    page.get_by_role("link", name="Raw JSON").click()
    raw = json.loads(page.locator("pre code").inner_text())
    assert raw["id"] == attempt.response_id
    assert raw["usage"] == attempt.usage
    assert raw["status"] == "completed"
    page.get_by_role("link", name="Activity").click()
    happened = page.locator(".steps li > span:first-child").all_inner_texts()
    # Without the seconds it took.
    assert [re.sub(r",? \d+\w+$", "", line) for line in happened] == [
        f"Submitted by {ana}",
        "Accepted by the practice API",
        "Started thinking",
        "Thought for",
    ]
    expect(page.locator("table.grid tbody tr")).to_contain_text(attempt.response_id)
