"""An operator connects an API, tests it, makes a project on it, pauses it and lets it go on."""

import pytest
from django.conf import settings as django_settings
from playwright.sync_api import expect
from pytest_django.fixtures import Settings

from jobs.models import Connection, Job, Status
from tests.browser.conftest import Browse
from tests.browser.installation import Installation
from tests.factories import a_person, a_project

KEY = "sk-canary-0123456789"


@pytest.mark.skipif(
    django_settings.PONDER_TODAY is not None, reason="real money is refused while the date is shifted"
)
def test_operator_connects_tests_pauses_and_resumes(
    ponder: Installation, browse: Browse, settings: Settings
) -> None:
    # The sandbox is on this machine, which only whoever runs Ponder can allow; the cluster's tests do too.
    settings.PONDER_ALLOW_PRIVATE_ADDRESSES = True
    a_project("play", base_url=ponder.sandbox.base_url)
    page = browse(a_person("ana@example.com", name="Ana", is_superuser=True, is_staff=True))
    page.goto("/")
    page.get_by_role("link", name="Connect OpenAI", exact=True).click()
    page.get_by_label("Name").fill("Our OpenAI")
    page.get_by_label("Address").fill(ponder.sandbox.base_url)
    page.get_by_label("Key", exact=True).fill(KEY)
    page.get_by_role("button", name="Add and test").click()

    card = page.get_by_role("region", name="Our OpenAI")
    expect(card.get_by_role("status")).to_contain_text("Key accepted in")
    expect(card.get_by_role("status")).to_contain_text("models seen.")
    page.reload()
    expect(card.locator(".badge")).to_have_text("Working")
    assert KEY not in page.content()

    # Without an API at the other end the test says what came of it.
    ponder.sandbox.kill()
    card.get_by_role("button", name="Test").click()
    expect(card.get_by_role("status").locator("code")).to_contain_text("connect_error")
    ponder.sandbox.restart()
    card.get_by_role("button", name="Test").click()
    expect(card.get_by_role("status")).to_contain_text("Key accepted in")

    card.get_by_role("link", name="Make one").click()
    page.get_by_label("Name", exact=True).fill("Proof checking")
    page.get_by_label("Cap a month, USD").fill("100")
    page.get_by_role("button", name="Make the project").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Proof checking")

    page.goto("/settings/connections/")
    card.get_by_role("button", name="Pause").click()
    card.get_by_label("Why?").fill("Moving to another account")
    card.get_by_role("button", name="Pause it").click()
    expect(card).to_contain_text("Moving to another account. Nothing is lost and nothing more is sent.")
    page.goto("/jobs/new/?project=proof-checking")
    page.get_by_label("Prompt", exact=True).fill("Is lemma 4.7 true? [[sandbox: seconds=0.2 reasoning=640]]")
    page.get_by_role("button", name="Send job").click()
    expect(page.locator(".d-head .badge")).to_have_text("Waiting")
    page.get_by_role("link", name="See the connection").click()
    expect(card).to_contain_text("Paused by Ana")
    expect(card).to_contain_text("1 job waits; nothing is lost and nothing more is sent.")
    card.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("main")).to_contain_text("Our OpenAI goes on. What waited is being sent.")
    job = ponder.wait_for(Job.objects.get(), Status.COMPLETED)
    assert job.project.connection == Connection.objects.get(name="Our OpenAI")
