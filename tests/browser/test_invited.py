"""Someone is invited by a link, makes an account with it, and has an answer a minute later."""

from playwright.sync_api import expect

from jobs.access import Role
from jobs.models import Job, Status, User
from tests.browser.conftest import Browse
from tests.browser.installation import Installation
from tests.factories import a_person

PASSWORD = "nine wooden otters"


def test_invited_person_joins_and_sends_a_job(ponder: Installation, browse: Browse, mira: User) -> None:
    project = ponder.project(members={mira: Role.MANAGER})
    manager = browse(mira)
    manager.goto(project.get_absolute_url())
    manager.get_by_role("link", name="Members").click()
    manager.get_by_label("Email").fill("eve@example.com")
    manager.get_by_role("button", name="Make a link").click()
    expect(manager.get_by_role("heading", name="Copy the link for eve@example.com now")).to_be_visible()
    link = manager.locator("#link").inner_text()
    manager.get_by_role("link", name="I have copied it").click()
    expect(manager.locator("#link")).to_have_count(0)
    expect(manager.get_by_role("table", name="Invitations not used yet")).to_contain_text("eve@example.com")

    page = browse()
    page.goto(link)
    expect(page).to_have_url(f"{ponder.url}/join/")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading", name="Join Proofs")).to_be_visible()
    page.get_by_label("Your name").fill("Eve Falk")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Make my account and join").click()
    expect(page.get_by_role("main")).to_contain_text("You are in Proofs now, as submitter.")

    page.get_by_role("link", name="New job here").click()
    page.get_by_label("Prompt", exact=True).fill("Is lemma 4.7 true? [[sandbox: seconds=0.2 reasoning=640]]")
    page.get_by_role("button", name="Send job").click()
    expect(page.locator(".d-head .badge")).to_have_text("Completed")
    job = ponder.wait_for(Job.objects.get(), Status.COMPLETED)
    assert job.submitted_by == User.objects.get(email="eve@example.com")

    # The link is used up, and Mira can give her another role at once.
    again = browse()
    again.goto(link)
    again.get_by_role("button", name="Go on").click()
    expect(again.get_by_role("heading")).to_have_text("This invitation does not work any more")
    manager.reload()
    manager.get_by_label("Role of Eve Falk", exact=True).select_option("Viewer")
    manager.get_by_role("button", name="Set the role of Eve Falk").click()
    expect(manager.get_by_role("main")).to_contain_text("Eve Falk is viewer now.")
    page.goto("/jobs/new/")
    expect(page.get_by_role("main")).to_contain_text("No project takes jobs from you yet.")


def test_whoever_has_an_account_joins_by_signing_in(ponder: Installation, browse: Browse, mira: User) -> None:
    ponder.project(members={mira: Role.MANAGER})
    jonas = a_person("jonas@example.com")
    manager = browse(mira)
    manager.goto("/projects/proofs/members/")
    manager.get_by_label("Email").fill("jonas@example.com")
    manager.get_by_role("button", name="Make a link").click()
    link = manager.locator("#link").inner_text()
    page = browse(jonas)
    page.goto(link)
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Join").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Proofs")
    page.get_by_role("button", name="Leave this project").click()
    expect(page.get_by_role("main")).to_contain_text("You left Proofs.")
