"""A job above the limit: it is asked for, an approver lets it go, and it runs."""

from decimal import Decimal

from playwright.sync_api import expect

from jobs.access import Role
from jobs.models import Job, Project, Status, User
from tests.browser.conftest import Browse
from tests.browser.installation import Installation, charged, period_of
from tests.browser.test_action import SUM
from tests.factories import a_person

PROMPT = "Is lemma 4.7 true? [[sandbox: seconds=0.2 reasoning=64 answer_tokens=200]]"


def test_job_above_the_limit_is_asked_for_approved_and_sent(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    ana = a_person("ana@example.com")
    project = ponder.project(members={mira: Role.SUBMITTER, ana: Role.APPROVER})
    Project.objects.update(job_limit=Decimal("0.25"))
    page = browse(mira)
    page.goto("/jobs/new/")
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    expect(page.locator("#price .tipline")).to_contain_text("Ana must approve; nothing is sent until then.")
    why = page.get_by_label("Why is it worth it?")
    with page.expect_response("**/jobs/estimate/"):
        why.press_sequentially("It settles the lemma.")
    expect(why).to_have_value("It settles the lemma.")
    page.get_by_role("button", name="Ask for approval").click()
    badge = page.locator(".d-head .badge")
    expect(badge).to_have_text("Needs approval")
    assert period_of(project).held == 0

    other = browse(ana)
    other.goto(page.url)
    expect(other.get_by_text("It settles the lemma.")).to_be_visible()
    other.locator("#decision-note").fill("Go.")
    other.get_by_role("button", name="Approve, up to $").click()
    expect(other.get_by_text("Approved, up to $")).to_be_visible()
    job = ponder.wait_for(Job.objects.get(), Status.COMPLETED)
    expect(badge).to_have_text("Completed")
    assert period_of(project).spent == charged(job) > 0


def test_follow_up_above_the_limit_is_asked_for_and_found_on_its_card(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    ana = a_person("ana@example.com")
    project = ponder.project(members={mira: Role.SUBMITTER, ana: Role.APPROVER})
    first = ponder.wait_for(ponder.submit(project, mira, PROMPT), Status.COMPLETED)
    Project.objects.update(job_limit=Decimal("0.25"))
    page = browse(mira)
    page.goto(first.get_absolute_url())
    box = page.get_by_role("textbox", name="Follow up")
    box.fill("And in dual spaces? [[sandbox: seconds=0.2]]")
    expect(page.locator("#follow .note")).to_contain_text("Ana must approve; nothing is sent until then.")
    why = page.get_by_label("Why is it worth it?")
    with page.expect_response("**/follow-up/price/"):
        why.press_sequentially("The dual is next.")
    expect(why).to_have_value("The dual is next.")
    expect(why).to_be_focused()
    page.get_by_role("form", name="Follow up").get_by_role("button", name="Ask for approval").click()
    expect(page.locator(".d-head .badge")).to_have_text("Needs approval")
    second = Job.objects.get(previous=first)

    mine, other = browse(mira), browse(ana)
    mine.goto("/jobs/")
    expect(mine.locator(f"#card-{second.short_id}")).to_contain_text("And in dual spaces?")
    expect(mine.get_by_role("link", name="Approve…")).to_have_count(0)
    other.goto("/jobs/")
    other.get_by_role("link", name="Approve…").click()
    expect(other.get_by_text("The dual is next.")).to_be_visible()
    expect(other.get_by_role("button", name="Approve, up to $")).to_be_in_viewport()
    other.get_by_role("button", name="Approve, up to $").click()
    assert charged(ponder.wait_for(second, Status.COMPLETED)) > 0


def test_answers_above_the_limit_are_asked_for_refused_and_asked_for_again(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    ana = a_person("ana@example.com")
    project = ponder.project(members={mira: Role.SUBMITTER, ana: Role.APPROVER})
    spec = {"model": "gpt-6-sol", "mode": "standard", "tools": (SUM,)}
    first = ponder.submit(project, mira, "Add. [[sandbox: seconds=0.2 outcome=function_call]]", **spec)
    first = ponder.wait_for(first, Status.REQUIRES_ACTION)
    Project.objects.update(job_limit=Decimal("0.01"))
    page, watching = browse(mira), browse(mira)
    for one in (page, watching):
        one.goto(first.get_absolute_url())
    page.get_by_label("Output").fill("42")
    bar = page.locator(".gobar")
    expect(bar).to_contain_text("Ana must approve; nothing is sent until then.")
    why = page.get_by_label("Why is it worth it?")
    with page.expect_response("**/replies/price/"):
        why.press_sequentially("It is the last sum.")
    expect(why).to_have_value("It is the last sum.")
    expect(why).to_be_focused()
    # Enter looks at the price, and keeps all.
    why.press("Enter")
    expect(page.get_by_label("Output")).to_have_value("42")
    expect(why).to_have_value("It is the last sum.")
    page.get_by_role("button", name="Ask for approval").click()
    badge = page.locator(".d-head .badge")
    expect(badge).to_have_text("Needs approval")
    second = Job.objects.get(previous=first)
    # Whoever has the calls before them sees that they are answered, as far as that goes.
    said = watching.get_by_role("main")
    expect(said).to_contain_text("It was answered, and that waits for approval.", timeout=30_000)
    expect(watching.get_by_label("Output")).to_have_count(0)

    other = browse(ana)
    other.goto(second.get_absolute_url())
    expect(other.get_by_text("It is the last sum.")).to_be_visible()
    other.locator("#decision-note").fill("Not today.")
    other.get_by_role("button", name="Reject").click()
    expect(badge).to_have_text("Cancelled", timeout=30_000)
    expect(watching.get_by_label("Output")).to_have_value("42", timeout=30_000)
    page.get_by_role("link", name="Answer again").click()
    expect(page.get_by_label("Output")).to_have_value("42")
    page.get_by_label("Output").fill("43")
    page.get_by_role("button", name="Ask for approval").click()
    expect(badge).to_have_text("Needs approval")
    other.goto(page.url)
    other.get_by_role("button", name="Approve, up to $").click()
    third = Job.objects.filter(previous=first).latest("pk")
    assert charged(ponder.wait_for(third, Status.COMPLETED)) > 0
    expect(said).to_contain_text("It stopped to ask, and was answered.", timeout=30_000)
