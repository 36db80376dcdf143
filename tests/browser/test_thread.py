"""Asking on under an answer in a browser: a live price, one job for two clicks, text that survives a poll."""

import re

from axe_playwright_python.sync_playwright import Axe
from django.db.models import F
from playwright.sync_api import Page, Route, expect

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.models import Answer, Attachment, Given, Job, JobAttachment, Status, User
from jobs.rendering import RENDERER_VERSION
from jobs.templatetags import ui
from tests.browser.conftest import Browse
from tests.browser.installation import Installation, charged
from tests.browser.test_ask import bring
from tests.browser.watch import Watch
from tests.jobs.attachments.files import pdf, picture
from tests.jobs.views.states import a_job

QUICK = " [[sandbox: seconds=0.2 reasoning=640]]"


def expect_price(page: Page) -> None:
    expect(page.locator("#follow .est.end")).to_have_text(
        re.compile(r"About \$[\d.]+–\$[\d.]+, capped at \$[\d.]+")
    )


def test_thread_goes_on_branches_and_is_shown_in_order(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    first = ponder.submit(project, mira, f"Is the lemma true?{QUICK}")
    ponder.wait_for(first, Status.COMPLETED)
    ponder.wait_until_rendered(first)
    page = browse(mira)
    page.goto(first.get_absolute_url())
    box = page.get_by_role("textbox", name="Follow up")
    box.scroll_into_view_if_needed()
    expect_price(page)
    box.fill(f"And in dual spaces?{QUICK}")
    box.press("Control+Enter")
    badge = page.locator(".d-head .badge")
    expect(page.get_by_role("heading", level=1)).to_contain_text("And in dual spaces?")
    expect(badge).to_have_text("Completed")
    second = Job.objects.get(previous=first)
    assert page.url.endswith(second.get_absolute_url())
    assert charged(second) > 0

    # Back to the first by the thread, and on from there another way.
    thread = page.locator(".thread a")
    expect(thread).to_have_count(2)
    thread.first.click()
    expect(page).to_have_url(re.compile(first.short_id))
    box.fill(f"Give a counterexample.{QUICK}")
    expect_price(page)
    page.get_by_role("form", name="Follow up").get_by_role("button", name="Send").dblclick()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Give a counterexample.")
    expect(badge).to_have_text("Completed")
    assert Job.objects.filter(previous=first).count() == 2
    expect(thread).to_have_count(3)
    # Another model has another price; what is typed already stays.
    box.fill("Say it in one line.")
    expect_price(page)
    shown = page.locator("#follow .est.end").inner_text()
    page.get_by_role("combobox", name="Model").select_option("gpt-6-luna")
    expect(page.locator("#follow .est.end")).not_to_have_text(shown)
    expect(page.get_by_role("combobox", name="Model")).to_have_value("gpt-6-luna")
    expect(box).to_have_value("Say it in one line.")
    expect(page.locator(".thread li.lv1 a")).to_have_attribute("aria-current", "true")


def test_text_half_typed_survives_what_a_poll_brings(
    ponder: Installation, browse: Browse, mira: User, watches: list[Watch]
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    with ponder.asleep():
        # Its answer is not rendered yet, so that the page still asks.
        job = a_job(project, mira, Status.COMPLETED, answer={"text": "The *lemma* fails."})
        page = browse(mira)
        page.goto(job.get_absolute_url())
        box = page.get_by_role("textbox", name="Follow up")
        box.press_sequentially("And in dual")
        expect_price(page)
        note = page.get_by_label("Note")
        note.fill("Check step 3")
        page.get_by_text("Add tags").click()
        box.focus()
        Answer.objects.filter(job=job).update(
            html="<p>The <em>lemma</em> fails.</p>", renderer_version=RENDERER_VERSION
        )
        Job.objects.filter(pk=job.pk).update(version=F("version") + 1)
        expect(page.locator("#answer em")).to_have_text("lemma")
        expect(box).to_be_focused()
        box.press_sequentially(" spaces?")
        expect(box).to_have_value("And in dual spaces?")
        expect_price(page)
        expect(note).to_have_value("Check step 3")
        expect(page.get_by_label("Tags")).to_be_visible()


def test_follow_up_over_the_cap_is_refused_in_place_and_fits_with_a_smaller_limit(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    first = ponder.submit(project, mira, f"Is the lemma true?{QUICK}")
    first = ponder.wait_for(first, Status.COMPLETED)
    ponder.wait_until_rendered(first)
    page = browse(mira)
    page.goto(first.get_absolute_url())
    box = page.get_by_role("textbox", name="Follow up")
    page.wait_for_load_state("networkidle")
    with page.expect_response("**/follow-up/price/"):
        box.fill(f"And in dual spaces?{QUICK}")
    # The page does not know yet that the cap has come down.
    expect(page.locator(".htmx-request")).to_have_count(0)
    expect_price(page)
    spend.set_cap(charged(first) + first.worst_case / 2, project=project)
    form = page.get_by_role("form", name="Follow up")
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("alert")).to_contain_text("too little")
    expect(box).to_have_value(f"And in dual spaces?{QUICK}")
    assert not Job.objects.filter(previous=first).exists()
    box.press("End")
    with page.expect_response("**/follow-up/price/"):
        box.press_sequentially(" ")
    expect(page.locator(".htmx-request")).to_have_count(0)
    expect(form.get_by_role("button", name="Send")).to_be_disabled()
    form.get_by_role("button", name=re.compile("Use .* tokens")).click()
    expect(form.get_by_role("button", name="Send")).to_be_enabled()
    expect_price(page)
    shown = form.locator(".est.end").inner_text()
    form.get_by_role("button", name="Send").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("And in dual spaces?")
    second = Job.objects.get(previous=first)
    assert second.max_output_tokens < first.max_output_tokens
    assert shown.endswith(f"capped at {ui.ceiling(second.worst_case)}")


def test_a_follow_up_takes_files_as_a_new_job_does(ponder: Installation, browse: Browse, mira: User) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    with ponder.asleep():
        job = a_job(project, mira, Status.COMPLETED, answer={"text": "The lemma fails."})
        page = browse(mira)
        page.goto(job.get_absolute_url())
        form = page.get_by_role("form", name="Follow up")
        form.get_by_role("textbox", name="Follow up").fill("Is figure 2 right, then?")
        expect_price(page)
        page.get_by_label("Attach", exact=True).set_input_files(
            {"name": "lemma-4-7.pdf", "mimeType": "application/pdf", "buffer": pdf("Lemma 4.7")}
        )
        bring(page, "drop", ("scan.pdf", "application/pdf", b"", 60_000_001), on="#fu")
        bring(page, "paste", ("figure-2.png", "image/png", picture(), 0), on="#fu")
        chips = form.get_by_role("list", name="Attachments").get_by_role("listitem")
        expect(chips).to_have_count(3)
        expect(form).to_contain_text("Too large: 61 MB, the limit is 50.")
        expect(form).to_contain_text(re.compile(r"124 × 88 · about [\d,]+ tokens"))
        page.get_by_role("button", name="Remove scan.pdf").click()
        given = tuple(Given(one, "") for one in Attachment.objects.all())
        wanted = lifecycle.follow_up(job, by=mira, prompt="Is figure 2 right, then?", attachments=given)
        ceiling = lifecycle.ceiling_of(wanted)
        assert ceiling is not None
        said = f"capped at {ui.ceiling(ceiling.worst_case)}"
        expect(form.locator(".est.end")).to_contain_text(said)
        assert not Axe().run(page).response["violations"]
        form.get_by_role("button", name="Send").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Is figure 2 right, then?")
        second = Job.objects.get(previous=job)
        assert second.worst_case == ceiling.worst_case
        names = JobAttachment.objects.filter(job=second).values_list("name", flat=True)
        assert set(names) == {"lemma-4-7.pdf", "figure-2.png"}


def test_a_click_on_the_limit_that_fits_wins_over_a_price_asked_for_before_it(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    with ponder.asleep():
        job = a_job(project, mira, Status.COMPLETED, answer={"text": "The lemma fails."})
        spend.set_cap(job.cost + job.worst_case / 2, project=project)
        page = browse(mira)
        page.clock.install()
        page.goto(job.get_absolute_url())
        form = page.get_by_role("form", name="Follow up")
        fit = form.get_by_role("button", name=re.compile("Use .* tokens"))
        fit.scroll_into_view_if_needed()
        page.clock.pause_at(page.evaluate("() => Date.now() / 1000 + 5"))
        # No answer comes before the last price has been asked for.
        held: list[Route] = []
        page.route("**/follow-up/price/", lambda route: held.append(route))
        form.get_by_role("textbox", name="Follow up").press_sequentially("Why?")
        fit.click()
        page.clock.run_for(1_000)
        # A route is told of a moment after its request.
        while not held:
            page.wait_for_timeout(20)
        for route in held:
            route.continue_()
        expect(form.get_by_role("button", name="Send")).to_be_enabled()
        expect_price(page)


def test_nothing_is_sent_without_a_file_that_is_on_its_way(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    with ponder.asleep():
        job = a_job(project, mira, Status.COMPLETED, answer={"text": "The lemma fails."})
        page = browse(mira)
        page.goto(job.get_absolute_url())
        form = page.get_by_role("form", name="Follow up")
        form.get_by_role("textbox", name="Follow up").fill("What does the attached paper say?")
        expect_price(page)
        held: list[Route] = []
        page.route("**/attachments/", lambda route: held.append(route))
        page.get_by_label("Attach", exact=True).set_input_files(
            {"name": "lemma.pdf", "mimeType": "application/pdf", "buffer": pdf("Lemma 4.7")}
        )
        expect(form).to_contain_text("Reading…")
        form.get_by_role("button", name="Send").click()
        expect(form).to_contain_text("Still reading. Send once it is here.")
        form.get_by_role("textbox", name="Follow up").press("Control+Enter")
        assert not Job.objects.filter(previous=job).exists()
        held.pop().continue_()
        expect(form.get_by_role("button", name="Remove lemma.pdf")).to_be_visible()
        expect_price(page)
        form.get_by_role("button", name="Send").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("What does the attached paper say?")
    second = Job.objects.get(previous=job)
    assert JobAttachment.objects.filter(job=second).count() == 1
