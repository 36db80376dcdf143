"""A password is lost: a link comes by mail, sets another, and ends what the old one could do."""

import re

from playwright.sync_api import expect

from jobs.models import User
from tests.browser.conftest import Browse
from tests.browser.installation import Installation, until
from tests.factories import PASSWORD

NEW = "nine wooden otters"
MAILED = re.compile(r"^To: mira@example\.com$.*?^\S*(/enter/#\S+)$", re.MULTILINE | re.DOTALL)


def test_lost_password_is_replaced_by_mail(ponder: Installation, browse: Browse, mira: User) -> None:
    elsewhere = browse(mira)
    elsewhere.goto("/settings/profile/")
    page = browse()
    page.goto("/jobs/")
    page.get_by_role("link", name="Forgot it?").click()
    page.get_by_label("Email").fill("Mira@example.com")
    page.get_by_role("button", name="Mail me a link").click()
    expect(page.get_by_role("status").first).to_contain_text("If there is an account with that address")

    # No mail server is set, so the worker prints the mail where Ponder runs.
    found = until(lambda: MAILED.search(ponder.cluster.output), what="no mail was printed")
    page.goto(found[1])
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("main")).to_contain_text("Mira")
    page.get_by_label("Password", exact=True).fill(NEW)
    page.get_by_label("Password again").fill(NEW)
    page.get_by_role("button", name="Set password and sign in").click()
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()

    elsewhere.goto("/settings/profile/")
    expect(elsewhere.get_by_role("heading", name="Sign in")).to_be_visible()
    elsewhere.get_by_label("Email").fill("mira@example.com")
    elsewhere.get_by_label("Password").fill(PASSWORD)
    elsewhere.get_by_role("button", name="Sign in").click()
    expect(elsewhere.get_by_role("main")).to_contain_text("Email or password is wrong.")
    elsewhere.get_by_label("Password").fill(NEW)
    elsewhere.get_by_role("button", name="Sign in").click()
    expect(elsewhere.get_by_role("heading", name="Profile")).to_be_visible()
