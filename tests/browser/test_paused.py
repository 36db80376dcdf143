"""The way to the API is blocked: jobs wait, a person is told why, and everything goes on by itself."""

import pytest
from playwright.sync_api import expect

from jobs import lifecycle
from jobs.access import Role
from jobs.models import Attempt, Connection, Status, User
from tests.browser.conftest import Browse
from tests.browser.installation import Installation, charged, held, until
from tests.factories import a_person
from tests.jobs.views.states import a_job


@pytest.mark.parametrize(
    ("fault", "reason", "code"),
    [
        ("401", "the key was refused", "invalid_api_key"),
        ("429_quota", "the account is out of credit", "credit_balance_exhausted"),
    ],
)
def test_paused_connection_says_why_and_its_job_goes_on_after_resume(
    ponder: Installation, browse: Browse, mira: User, fault: str, reason: str, code: str
) -> None:
    operator = a_person("tomas@example.com", is_superuser=True, is_staff=True)
    project = ponder.project(members={mira: Role.SUBMITTER})
    ponder.sandbox.faults(post_http=fault)
    job = ponder.submit(project, mira, "Is lemma 4.7 true? [[sandbox: seconds=0.2 reasoning=640]]")
    until(Connection.objects.exclude(paused_at=None).exists)
    ponder.wait_for(job, Status.WAITING)

    page = browse(mira)
    page.goto(job.get_absolute_url())
    main = page.get_by_role("main")
    expect(main).to_contain_text(f"practice is paused: {reason}.")
    expect(main.get_by_role("link", name="See the connection")).to_have_count(0)
    expect(main).to_contain_text("Waiting: practice is paused")
    expect(main).to_contain_text(code)
    assert held(job) == job.worst_case

    other = browse(operator)
    other.goto("/jobs/")
    other.get_by_role("link", name="See the connection").click()
    row = other.get_by_role("main")
    expect(row).to_contain_text("1 job waits; nothing is lost and nothing more is sent.")
    expect(row).to_contain_text(code)
    ponder.sandbox.faults(post_http=None)
    other.get_by_role("button", name="Resume").click()
    expect(row).to_contain_text("practice goes on. What waited is being sent.")

    # Mira's page follows without being touched, and nothing more says that anything is paused.
    ponder.wait_for(job, Status.COMPLETED)
    expect(page.locator(".d-head .badge")).to_have_text("Completed")
    expect(main).not_to_contain_text("paused")
    assert charged(job) > 0
    assert Attempt.objects.filter(job=job).count() == 1


def test_pause_comes_and_goes_on_open_pages_without_a_reload(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    with ponder.asleep():
        a_job(project, mira, Status.WAITING)
        jobs, projects = browse(mira), browse(mira)
        jobs.goto("/jobs/")
        jobs.evaluate("() => { window.isStillTheSamePage = true }")
        notice = "practice is paused: the account is out of credit."
        lifecycle.pause(project.connection_id, "insufficient_quota: You exceeded your quota.")
        expect(jobs.locator("#notices .note")).to_contain_text(notice)
        projects.goto("/projects/")
        expect(projects.locator("#notices .note")).to_contain_text(notice)
        lifecycle.resume(project.connection_id)
        for page in (jobs, projects):
            expect(page.locator("#notices .note")).to_have_count(0)
            expect(page.locator("#notices")).not_to_have_attribute("hx-get", "/notices/live/")
        assert jobs.evaluate("() => window.isStillTheSamePage") is True


def test_jobs_wait_while_the_api_is_away_and_go_on_by_themselves(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    running = ponder.submit(project, mira, "Runs on over there. [[sandbox: seconds=3 reasoning=640]]")
    ponder.wait_for(running, Status.IN_PROGRESS)
    ponder.sandbox.kill()
    waiting = ponder.submit(project, mira, "Sent into the void. [[sandbox: seconds=0.2 reasoning=640]]")
    until(Attempt.objects.filter(job=waiting, tries__gt=0).exists)

    page = browse(mira)
    page.goto(waiting.get_absolute_url())
    main = page.get_by_role("main")
    expect(main).to_contain_text("Waiting to be tried again")
    expect(main).to_contain_text("connect_error")
    ponder.sandbox.restart()
    ponder.skip_back_off(waiting, attempt=1)
    ponder.wait_for(running, Status.COMPLETED)
    expect(page.locator(".d-head .badge")).to_have_text("Completed")
    posts = [post["metadata"]["ponder_job"] for post in ponder.sandbox.log()["posts"]]
    assert sorted(posts) == sorted([str(running.uuid), str(waiting.uuid)])
    assert not Connection.objects.exclude(paused_at=None).exists()
