"""Every page in light and dark on a desk and on a phone: all of it fits and everyone can read it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import batched
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db.models import F
from playwright.sync_api import Page, expect

from jobs import rendering
from jobs.access import Role
from jobs.models import Attempt, Job, Project, RawResponse, Status, User
from jobs.views import news
from tests.browser.conftest import Browse
from tests.browser.installation import Installation
from tests.browser.watch import Watch
from tests.factories import a_person
from tests.jobs.views.states import a_job
from tests.markup import faults

ESSAY = (Path(__file__).parents[2] / "jobs/sandbox/answers/2-primes.md").read_text()
OTHER_WIDTHS = (320, 768)
PHONES = (320, 390)
LONG = "A_title_that_never_breaks_because_it_is_one_word_of_a_formula_" * 2
EVERYTHING = {"resultTypes": ["violations"], "preload": False}
# A theme changes nothing but colours.
COLOURS = {**EVERYTHING, "runOnly": ["color-contrast"]}
LOOKS: tuple[tuple[Literal["light", "dark"], int, dict[str, object]], ...] = (
    ("light", 1440, EVERYTHING),
    ("dark", 1440, COLOURS),
    ("dark", 390, COLOURS),
    ("light", 390, EVERYTHING),
)
AXE = Axe()
WIDTH = "() => document.documentElement.scrollWidth"
# Started and not awaited, so that two cores look at two pages. Only what is wrong is brought back.
LOOK = """options => {
    const look = async () => {
        await Promise.all(document.getAnimations().map(one => one.finished));
        const { violations } = await axe.run(options);
        return {
            violations: violations.map(one => [one.id, one.nodes.map(node => node.target)]),
            taken: document.documentElement.scrollWidth,
        };
    };
    window.look = look();
}"""


def furnish(project: Project, by: User) -> dict[str, Job]:
    """Make a job in every state that has a page of its own."""
    rendered = {"html": rendering.render(ESSAY), "renderer_version": rendering.RENDERER_VERSION}
    found = {
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


def complaints(pages: Mapping[str, Page]) -> Iterator[str]:
    """Look at pages side by side, at every width and in both themes; yield what is wrong with them."""
    for page in pages.values():
        page.evaluate(AXE.axe_script)
    for theme, width, options in LOOKS:
        for page in pages.values():
            page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            page.set_viewport_size({"width": width, "height": 900})
            page.evaluate(LOOK, options)
        for name, page in pages.items():
            found = page.evaluate("() => window.look")
            for violation, targets in found["violations"]:
                # A table's head may be a formula; axe reads no MathML, screen readers do.
                if violation == "empty-table-header" and name == "completed":
                    continue
                # Django's own: a magnifying glass is the label of the search in a list.
                if violation == "label-title-only" and name.startswith("console"):
                    continue
                yield f"{name}, {theme}, {width}: {violation} {targets}"
            yield from too_wide(found["taken"], name, width)
    for width in OTHER_WIDTHS:
        for name, page in pages.items():
            page.set_viewport_size({"width": width, "height": 900})
            yield from too_wide(page.evaluate(WIDTH), name, width)


def too_wide(taken: int, name: str, width: int) -> Iterator[str]:
    if taken > width:
        yield f"{name}: {taken} pixels wide at {width}"


def off_screen(page: Page, name: str, column: str) -> Iterator[str]:
    """Look for a column on phones; yield where it cannot be seen without scrolling sideways."""
    for width in PHONES:
        page.set_viewport_size({"width": width, "height": 900})
        boxes = [head.bounding_box() for head in page.get_by_role("columnheader", name=column).all()]
        for box in boxes or [None]:
            if box is None or box["x"] + box["width"] > width:
                yield f"{name}: {column} is not on the screen at {width}"


def look_at(pages: Sequence[Page], paths: Mapping[str, str]) -> Iterator[str]:
    """Open every path and look at it, as many at a time as there are pages."""
    for batch in batched(paths.items(), len(pages), strict=False):
        opened = dict(zip((name for name, _ in batch), pages, strict=False))
        for name, path in batch:
            answer = opened[name].goto(path)
            assert answer is not None
            # The console's templates are Django's.
            yield from () if name == "console" else (f"{name}: {fault}" for fault in faults(answer.text()))
            if name == "completed":
                expect(opened[name].locator(".math .katex").first).to_be_visible()
        yield from complaints(opened)
        if "projects" in opened:
            yield from off_screen(opened["projects"], "projects", "Left")


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


def test_update_leaves_focus_folds_and_dialogs_alone(
    ponder: Installation, browse: Browse, mira: User, watches: list[Watch]
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    page = browse(mira)
    # New job: figures are replaced while someone types.
    page.goto("/jobs/new/")
    page.get_by_text("Instructions").first.click()
    more = page.locator("details.morem summary")
    more.click()
    typed = page.get_by_label("Prompt", exact=True)
    typed.press_sequentially("Is lemma 4.7 true")
    with page.expect_response("**/jobs/estimate/"):
        typed.press("?")
    expect(page.locator("#count")).to_contain_text("input tokens")
    expect(typed).to_be_focused()
    expect(typed).to_have_value("Is lemma 4.7 true?")
    expect(page.get_by_placeholder("How it should work")).to_be_visible()
    expect(page.locator("details.morem .mcard").first).to_be_visible()

    # What the browser brings back is priced like what is typed.
    priced = page.locator("#count").inner_text()
    page.goto("/budget/")
    page.go_back()
    expect(typed).to_have_value("Is lemma 4.7 true?")
    expect(page.locator("#count")).to_have_text(priced)

    # A running job: the page is replaced around an open dialog.
    with ponder.asleep():
        job = a_job(project, mira, Status.QUEUED)
        page.goto(job.get_absolute_url())
        page.get_by_role("button", name="Cancel", exact=True).click()
        keep = page.get_by_role("button", name="Keep it")
        keep.focus()
        node = keep.element_handle()
        Job.objects.filter(pk=job.pk).update(status=Status.IN_PROGRESS, version=F("version") + 1)
        expect(page.locator(".d-head .badge")).to_have_text("Running")
        expect(keep).to_be_focused()
        assert page.evaluate("node => node.isConnected", node)

        # The jobs list as well.
        page.goto("/jobs/")
        link = page.locator(".flight .fl a")
        link.focus()
        Job.objects.filter(pk=job.pk).update(status=Status.QUEUED, version=F("version") + 1)
        expect(page.locator(".flight .badge")).to_have_text("Queued")
        expect(link).to_be_focused()


def test_page_asks_for_nothing_more_once_all_is_final(
    ponder: Installation,
    browse: Browse,
    mira: User,
    watches: list[Watch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(news, "SLOWEST", 3)
    project = ponder.project(members={mira: Role.SUBMITTER})
    with ponder.asleep():
        job = a_job(project, mira, Status.IN_PROGRESS)
        for path, name in ((job.get_absolute_url(), "job"), ("/jobs/", "list")):
            page = browse(mira)
            watch = watches[-1]
            # The page's clock is ours: an hour passes in a moment.
            page.clock.install()
            page.goto(path)
            with page.expect_response("**/live/*") as asked:
                page.clock.run_for(4_000)
            assert asked.value.status == 304, name
            Job.objects.filter(pk=job.pk).update(status=Status.FAILED, version=F("version") + 1)
            with page.expect_response("**/live/*") as asked:
                page.clock.run_for(6_000)
            assert asked.value.status == 200, name
            expect(page.locator(".badge", has_text="Failed").first).to_be_visible()
            expect(page.locator(".htmx-request")).to_have_count(0)
            polls = watch.polls()
            page.clock.run_for(3_600_000)
            page.evaluate("() => document.body.click()")
            page.locator("#job, #flight").first.dispatch_event("click")
            page.wait_for_load_state("networkidle")
            assert watch.polls() == polls, name
            Job.objects.filter(pk=job.pk).update(status=Status.IN_PROGRESS, version=F("version") + 1)
