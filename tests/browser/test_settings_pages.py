"""Settings, members, sign-in and error pages: all of them fit every width, and everyone can read them."""

from decimal import Decimal

import pytest
from django.utils import timezone
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.models import (
    Alert,
    Attempt,
    Cause,
    Chat,
    Connection,
    Invitation,
    Project,
    Reconciliation,
    Secret,
    Workspace,
)
from jobs.models.connections import make_webhook_secret
from tests.browser.conftest import Browse
from tests.browser.looks import complaints
from tests.factories import a_person, a_project, a_spec

pytestmark = [pytest.mark.looks, pytest.mark.thorough]


def look(page: Page, paths: dict[str, str]) -> list[str]:
    found: list[str] = []
    for name, path in paths.items():
        page.goto(path)
        found += complaints({name: page})
    return found


@pytest.mark.usefixtures("transactional_db")
def test_settings_are_readable_by_everyone_at_every_width(live_server: LiveServer, browse: Browse) -> None:
    mira, vera = a_person(name="Mira Okafor"), a_person("vera@example.com")
    long = a_person(f"{'a_long_name_' * 3}@a-very-long-host.example", name="")
    ana = a_person("ana@example.com", is_superuser=True, is_staff=True)
    project = a_project(members={mira: Role.MANAGER, vera: Role.VIEWER, long: Role.VIEWER})
    other = Connection.objects.create(
        name="Azure, Sweden Central",
        kind="azure",
        base_url="https://northvale-sc.openai.azure.com/openai/v1",
        key=Secret.of("sk-x"),
        last_test_result="Key accepted in 212 ms, 14 models seen.",
    )
    capped = spend.set_cap(Decimal(40), user=long)
    day = Workspace.objects.the().today()
    lifecycle.ask_for_budget(capped, Decimal(5), until=day, why="A deadline, " * 40, by=long)
    Project.objects.create(name="Paid", slug="paid", connection=other)
    lifecycle.submit(a_spec(project, mira))
    lifecycle.pause(project.connection_id, "insufficient_quota: You exceeded your current quota.")
    Invitation.objects.make("eve@example.com", project=project, role=Role.VIEWER, by=mira)
    alert = {"budget": capped, "month": day.replace(day=1), "amount": 40, "room": 40, "chat_error": "x" * 60}
    Alert.objects.create(threshold=100, measure="committed", **alert)
    Chat.objects.create(address=Secret.of("https://chat.example.com/x"), set_by=long)
    project.change_role(long, Role.APPROVER, by=mira)
    hooked = Connection.objects.create(name="OpenAI", base_url="https://api.openai.com/v1")
    for _ in range(2):
        lifecycle.set_webhook_secret(hooked.pk, make_webhook_secret(), by=ana)
    for kind in ("response.completed", "response.a_word_that_nobody_has_ever_heard_before"):
        news = lifecycle.Announcement(f"wh_{kind}", kind, f"resp_{'0' * 48}", timezone.now())
        lifecycle.receive(hooked.pk, news)
        lifecycle.receive(hooked.pk, news)
    lifecycle.refuse(hooked.pk, "No matching signature found")
    run = Reconciliation.objects.create(
        is_practice=True, since="2026-10-20", until="2026-11-23", ended_at=timezone.now(), residual="1.5"
    )
    attempt = Attempt.objects.get()
    for cause in Cause:
        line = run.lines.create(
            cause=cause,
            day="2026-11-20",
            connection=project.connection,
            model="gpt-6-sol",
            billed="1234.5",
            booked="12",
            jobs=4,
            api_key="key_1234567890abcdef1234567890abcdef",
            note="1,234 input and 5,678 output tokens were billed that no response here has told of.",
        )
        line.parts.create(attempt=attempt, was="12", should_be="1234.5")

    found = look(browse(), {"forgot": "/login/forgot/", "join": "/join/"})
    manager = browse(mira)
    found += look(
        manager,
        {
            "profile": "/settings/profile/",
            "models": "/settings/models/",
            "members": "/projects/proofs/members/",
            "project settings": "/projects/proofs/settings/",
        },
    )
    manager.goto("/projects/proofs/members/")
    manager.get_by_label("Email").fill("new@example.com")
    manager.get_by_role("button", name="Make a link").click()
    found += complaints({"a link": manager})
    link = manager.locator("#link").inner_text()
    operator = browse(ana)
    found += look(
        operator,
        {
            "rules": "/budget/rules/",
            "caps of members": "/budget/rules/members/",
            "more budget": "/budget/more/",
            "connections": "/settings/connections/",
            "connection": f"/settings/connections/{other.pk}/",
            "webhook": f"/settings/connections/{hooked.pk}/",
            "deliveries": "/settings/webhooks/",
            "people": "/settings/people/",
            "status": "/settings/status/",
            "reconciliation": "/settings/reconciliation/?practice=on",
            "guide": "/help/operations/",
            "new project": "/projects/new/",
        },
    )
    operator.goto("/settings/connections/new/")
    operator.get_by_label("Name").fill("x")
    operator.get_by_label("Address").fill("http://10.0.0.1/v1")
    operator.get_by_label("Key", exact=True).fill("x y")
    operator.get_by_role("button", name="Add and test").click()
    found += complaints({"new connection with errors": operator})
    operator.goto("/settings/reconciliation/?practice=on")
    operator.get_by_role("button", name="Book").first.click()
    found += complaints({"booking": operator})
    operator.goto("/settings/connections/")
    operator.get_by_role("button", name="Pause Azure").click()
    found += complaints({"pause": operator})
    found += look(browse(vera), {"not allowed": "/projects/proofs/settings/"})
    invited = browse()
    invited.goto(link)
    invited.get_by_role("button", name="Go on").click()
    found += complaints({"join as someone new": invited})
    assert not found, "\n".join(found)
