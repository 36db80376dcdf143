"""Every page in light and dark on a desk and on a phone: all of it fits and everyone can read it."""

from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import expect

from jobs import clock, lifecycle, rendering
from jobs.access import Role
from jobs.models import (
    Attempt,
    Job,
    Project,
    RawResponse,
    Refusal,
    Status,
    User,
    Verdict,
    VerdictValue,
    Workspace,
)
from tests.browser.conftest import Browse
from tests.browser.installation import Installation
from tests.browser.looks import complaints, look_at
from tests.factories import a_person, a_spec
from tests.jobs.views.states import a_job

pytestmark = [pytest.mark.looks, pytest.mark.thorough]
ESSAY = (Path(__file__).parents[2] / "jobs/sandbox/answers/2-primes.md").read_text()
LONG = "A_title_that_never_breaks_because_it_is_one_word_of_a_formula_" * 2


def asked_for(project: Project, by: User) -> Job:
    """Ask for a job over the limit per job."""
    Project.objects.filter(pk=project.pk).update(job_limit=Decimal("0.01"))
    project.refresh_from_db()
    job = lifecycle.ask(a_spec(project, by), why="It settles the lemma, " * 30)
    Project.objects.filter(pk=project.pk).update(job_limit=None)
    project.refresh_from_db()
    return job


def furnish(project: Project, by: User) -> dict[str, Job]:
    """Make a job in every state that has a page of its own."""
    rendered = {"html": rendering.render(ESSAY), "renderer_version": rendering.RENDERER_VERSION}
    found = {
        "needs approval": asked_for(project, by),
        "waiting": a_job(project, by, Status.WAITING),
        "running": a_job(project, by, Status.IN_PROGRESS),
        "unconfirmed": a_job(project, by, Status.UNCONFIRMED),
        "failed": a_job(project, by, Status.FAILED, error_code="server_error"),
        "incomplete": a_job(project, by, Status.INCOMPLETE, incomplete_reason="max_output_tokens"),
        "cancelled": a_job(project, by, Status.CANCELLED, spec={"title": LONG}),
        "needs action": a_job(
            project,
            by,
            Status.REQUIRES_ACTION,
            answer={"calls": [{"type": "function_call", "name": "run_sage", "arguments": '{"n": 3}'}]},
        ),
        "json": a_job(
            project,
            by,
            Status.COMPLETED,
            answer={
                "text": '{"holds": 1}',
                "parsed": {"holds": 1},
                "validation_errors": [{"path": "/holds", "message": "1 is not of type 'boolean'"}],
            },
        ),
        "completed": a_job(project, by, Status.COMPLETED, answer={"text": ESSAY, **rendered}),
    }
    attempt = Attempt.objects.get(job=found["completed"])
    RawResponse.objects.create(attempt=attempt, body={"id": "resp_1", "output": [{"text": "long " * 60}]})
    return found


def test_every_page_is_readable_by_everyone_at_every_width(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    operator = a_person("tomas@example.com", is_superuser=True, is_staff=True)
    found = [*look_at([browse(), browse()], {"sign in": "/login/", "link": "/enter/"})]
    with ponder.asleep():
        project = ponder.project(members={mira: Role.MANAGER})
        page = browse(mira)
        found += look_at([page], {"welcome": "/"})
        jobs = furnish(project, mira)
        done = jobs["completed"].get_absolute_url()
        Verdict.objects.create(job=jobs["completed"], value=VerdictValue.RIGHT, by=mira)
        month = clock.month_of(Workspace.objects.the().today())
        wanted = {"ceiling": Decimal("3.26"), "shortfall": Decimal("1.36"), "month": month}
        Refusal.objects.create(project=project, user=mira, budget=project.budget_set.get(), **wanted)
        found += look_at(
            [page, browse(mira)],
            {name: job.get_absolute_url() for name, job in jobs.items()}
            | {
                "jobs": "/jobs/",
                "no jobs": "/jobs/?model=o3",
                "new": "/jobs/new/?start=contract",
                "again": f"/jobs/new/?from={jobs['completed'].short_id}",
                "prompt": f"{done}prompt/",
                "activity": f"{done}activity/",
                "raw": f"{done}raw/",
                "projects": "/projects/",
                "project": project.get_absolute_url(),
                "budget": "/budget/",
                "ledger": "/budget/ledger/",
                "refused": "/budget/refused/",
                "judged": "/budget/judged/",
                "which model": "/help/models/",
                "not found": "/jobs/j_00000000/",
            },
        )
        page.goto("/jobs/new/")
        page.get_by_text("Structured result").click()
        page.get_by_label("JSON Schema").fill('{"type": "object", "properties": {"a": {"type": "string"}}}')
        expect(page.get_by_text("2 problems.")).to_be_visible()
        page.get_by_text("Tools", exact=True).click()
        for tool in page.get_by_role("checkbox").all():
            tool.check()
        found += complaints({"new with problems": page})
        Project.objects.update(job_limit=Decimal("0.10"))
        with page.expect_response("**/jobs/estimate/"):
            page.get_by_label("Prompt", exact=True).fill("Is it so?")
        expect(page.get_by_role("button", name="Ask for approval")).to_be_visible()
        found += complaints({"new over the limit": page})
        Project.objects.update(job_limit=None)
        page.get_by_label("JSON Schema").fill("")
        page.get_by_role("button", name="Send job").click()
        expect(page.get_by_role("alert").first).to_be_visible()
        found += complaints({"new with errors": page})
        consoles = [browse(operator), browse(operator)]
        found += look_at(
            consoles,
            {
                "connections": "/settings/connections/",
                "console": "/admin/",
                "console's jobs": "/admin/jobs/job/",
                "console's job": f"/admin/jobs/job/{jobs['unconfirmed'].pk}/change/",
            },
        )
        console = consoles[0]
        console.goto("/admin/jobs/job/?status__exact=unconfirmed")
        console.locator("input.action-select").check()
        console.get_by_label("Action:").select_option("resolve")
        console.get_by_role("button", name="Run").click()
        expect(console.get_by_role("button", name="Resolve unconfirmed jobs")).to_be_visible()
        found += complaints({"console's question": console})
    assert not found, "\n".join(found)
