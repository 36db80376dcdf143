"""Every way a job can end badly, made by the practice API, in its words on the page."""

from dataclasses import dataclass

from playwright.sync_api import Page, expect

from jobs.access import Role
from jobs.models import Attempt, Basis, EntryKind, Job, LedgerEntry, Project, Status, User
from jobs.templatetags import ui
from tests.browser.conftest import Browse
from tests.browser.installation import Installation, charged, held


@dataclass(frozen=True)
class End:
    """What the practice API is told to do, how the job ends, and what the page says of it."""

    wish: str
    status: Status
    badge: str
    words: tuple[str, ...]
    is_free: bool = False


ENDS = {
    "all reasoning": End(
        'outcome=incomplete answer=""',
        Status.INCOMPLETE,
        "Incomplete",
        ("All 20,000 tokens went to reasoning", "The practice API charges for it all the same."),
    ),
    "mid-answer": End(
        'outcome=incomplete answer="First, note that the lemma is false as it stands."',
        Status.INCOMPLETE,
        "Incomplete",
        ("First, note that the", "It stopped in mid-answer at 20,000 tokens"),
    ),
    "filtered": End(
        "outcome=incomplete reason=content_filter",
        Status.INCOMPLETE,
        "Incomplete",
        ("A content filter stopped the answer", "change it before it is run again"),
    ),
    "server error": End(
        "outcome=failed code=server_error",
        Status.FAILED,
        "Failed",
        (
            "The practice API failed while it worked on this job",
            "3 attempts were made.",
            "You can retry your request.",
        ),
        is_free=True,
    ),
    "policy": End(
        "outcome=failed code=invalid_prompt",
        Status.FAILED,
        "Failed",
        ("The practice API stopped this job over its usage policy", "was not tried a second time"),
        is_free=True,
    ),
    "rejected": End(
        "http=400",
        Status.FAILED,
        "Failed",
        ("The practice API refused this job", "It was not accepted", "nothing was charged"),
        is_free=True,
    ),
    "refusal": End(
        "outcome=refusal",
        Status.COMPLETED,
        "Completed",
        ("The model refused.", "Refusals are charged like answers."),
    ),
    "unknown word": End("seconds=4 status=pondering", Status.COMPLETED, "Completed", ()),
}


# The colour of an event's dot, and the one that says 'look at this'.
DOT = "line => getComputedStyle(line, '::before').backgroundColor"
AMBER = """line => {
    const probe = line.appendChild(document.createElement("i"));
    probe.className = "badge warn";
    return getComputedStyle(probe).color;
}"""


def test_every_bad_end_is_said_in_plain_words_with_its_cost(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    jobs = {
        name: ponder.submit(project, mira, f"Lemma, {name}. [[sandbox: seconds=0.2]] [[sandbox: {end.wish}]]")
        for name, end in ENDS.items()
    }
    for number in (2, 3):
        ponder.skip_back_off(jobs["server error"], attempt=number)
    page = browse(mira)
    for name, end in ENDS.items():
        job = ponder.wait_for(jobs[name], end.status, within=60)
        page.goto(job.get_absolute_url())
        main = page.get_by_role("main")
        expect(page.locator(".d-head .badge")).to_have_text(end.badge)
        for words in end.words:
            expect(main).to_contain_text(words)
        cost = charged(job)
        assert held(job) == 0
        assert (cost == 0) == end.is_free, name
        expect(page.locator("aside .big").first).to_have_text(f"{ui.money(cost)} charged")
    assert Attempt.objects.filter(job=jobs["server error"]).count() == 3
    assert Attempt.objects.exclude(job=jobs["server error"]).filter(number__gt=1).count() == 0
    page.goto(f"{jobs['unknown word'].get_absolute_url()}activity/")
    expect(page.locator(".steps")).to_contain_text("The practice API uses an unknown status")
    expect(page.locator(".steps")).to_contain_text("'pondering'")
    stop = page.locator(".steps li.stop").first
    assert stop.evaluate(DOT) == stop.evaluate(AMBER)
    page.goto("/jobs/?status=incomplete")
    expect(page.locator("tbody tr.j")).to_have_count(3)
    expect(page.get_by_role("main")).to_contain_text("Hit the 20k output limit")


def doubtful(ponder: Installation, project: Project, by: User, wish: str) -> Job:
    return ponder.submit(project, by, f"Lemma, {wish}. [[sandbox: seconds=0.2 {wish}]]")


def open_doubt(page: Page, job: Job) -> None:
    """Open an unconfirmed job, and expect the truth: held, not spent."""
    page.goto(job.get_absolute_url())
    main = page.get_by_role("main")
    expect(page.locator(".d-head .badge")).to_have_text("Unconfirmed")
    expect(main).to_contain_text("We don’t know whether the practice API took this job")
    expect(page.get_by_role("radio", name="Keep waiting")).to_be_checked()
    expect(main.locator(".facts3 div", has_text="Held, not spent")).to_contain_text(ui.ceiling(held(job)))
    assert charged(job) == 0


def decide(page: Page, choice: str, *, why: str = "") -> None:
    page.get_by_role("radio", name=choice).check()
    if why:
        page.get_by_label("Why?").fill(why)
    page.get_by_role("form", name="Your choice").get_by_role("button").click()


def test_send_without_a_clear_answer_is_decided_by_a_person(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    lost = doubtful(ponder, project, mira, "http=500")
    paid = doubtful(ponder, project, mira, "fault=reset_after")
    twice = doubtful(ponder, project, mira, "fault=reset_after times=1")
    found = doubtful(ponder, project, mira, "fault=garbage")
    for job in (lost, paid, twice, found):
        ponder.wait_for(job, Status.UNCONFIRMED)
    page = browse(mira)
    main = page.get_by_role("main")

    open_doubt(page, lost)
    expect(main).to_contain_text("The practice API gave no clear answer")
    decide(page, "It was lost")
    expect(main).to_contain_text("Say why")
    assert held(lost) > 0
    decide(page, "It was lost", why="nothing in the log over there")
    expect(main).to_contain_text("This job was declared lost")
    assert held(lost) == charged(lost) == 0

    open_doubt(page, paid)
    expect(main).to_contain_text("The connection broke")
    bound = held(paid)
    decide(page, "Count it as paid", why="it is on the bill")
    expect(main).to_contain_text("This job was counted as paid")
    expect(page.locator("aside .big").first).to_have_text(f"{ui.money(bound)} charged")
    charge = LedgerEntry.objects.get(job=paid, kind=EntryKind.CHARGE)
    assert (charge.amount, charge.basis, charge.actor) == (bound, Basis.BOUND, mira)
    assert "it is on the bill" in charge.reason

    open_doubt(page, twice)
    both = page.locator("label.opt", has_text="Send again now")
    expect(both).to_contain_text(ui.ceiling(held(twice) + twice.worst_case))
    decide(page, "Send again now")
    ponder.wait_for(twice, Status.COMPLETED)
    expect(page.locator(".d-head .badge")).to_have_text("Completed")
    assert Attempt.objects.filter(job=twice).count() == 2

    open_doubt(page, found)
    accepted = {tuple(one["metadata"].values()): one["id"] for one in ponder.sandbox.log()["responses"]}
    attempt = Attempt.objects.get(job=found)
    page.get_by_role("radio", name="I have the response id").check()
    page.get_by_label("Response id", exact=True).fill(accepted[str(found.uuid), str(attempt.nonce)])
    decide(page, "I have the response id")
    ponder.wait_for(found, Status.COMPLETED)
    expect(page.locator(".d-head .badge")).to_have_text("Completed")
    assert charged(found) > 0

    posts = [post["metadata"]["ponder_job"] for post in ponder.sandbox.log()["posts"]]
    assert {job: posts.count(str(job.uuid)) for job in (lost, paid, twice, found)} == {
        lost: 1, paid: 1, twice: 2, found: 1,
    }  # fmt: skip


def test_model_that_asks_for_something_waits_for_a_person(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    job = ponder.submit(project, mira, "Look it up. [[sandbox: seconds=0.2 outcome=function_call]]")
    job = ponder.wait_for(job, Status.REQUIRES_ACTION)
    page = browse(mira)
    page.goto(job.get_absolute_url())
    main = page.get_by_role("main")
    expect(page.locator(".d-head .badge")).to_have_text("Needs action")
    expect(main).to_contain_text("The model stopped to ask you for one thing")
    expect(main.get_by_role("heading", name="look_up")).to_be_visible()
    expect(page.locator("aside .big").first).to_have_text(f"{ui.money(charged(job))} charged, final")
    assert held(job) == 0
    page.get_by_role("button", name="Finish without answering").click()
    expect(page.locator(".d-head .badge")).to_have_text("Completed")
    expect(main).to_contain_text("It ended without an answer.")
