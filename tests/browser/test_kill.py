"""The power goes: whatever was being sent or ran is explained afterwards, and nothing is sent twice."""

import datetime as dt

import pytest
from django.db.models.functions import Now
from playwright.sync_api import expect

from jobs import lifecycle
from jobs.access import Role
from jobs.management import first_start
from jobs.models import Attempt, AttemptState, Status, User
from tests.browser.conftest import Browse
from tests.browser.installation import Installation, charged, held, until


@pytest.mark.thorough
def test_killed_cluster_leaves_every_job_completed_or_unconfirmed(
    ponder: Installation, browse: Browse, mira: User
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    running = [
        ponder.submit(project, mira, f"Lemma {n}. [[sandbox: seconds=4 reasoning=640]]") for n in range(3)
    ]
    for job in running:
        ponder.wait_for(job, Status.QUEUED, Status.IN_PROGRESS)
    # Of the one the POST was accepted, but its answer never arrives; of the other it is still on its way.
    accepted = ponder.submit(project, mira, "Tiling 1. [[sandbox: seconds=0.2 fault=hang]]")
    until(lambda: len(ponder.sandbox.log()["posts"]) == 4)
    ponder.sandbox.faults(post_delay=60)
    delayed = ponder.submit(project, mira, "Tiling 2. [[sandbox: seconds=0.2 reasoning=640]]")
    until(lambda: ponder.sandbox.stats()["posts"] == 5)
    sending = [accepted, delayed]

    ponder.cluster.kill()
    try:
        page = browse(mira)
        page.goto("/jobs/")
        expect(page.locator(".flight .fl")).to_have_count(5)
        # 90 seconds pass in which nobody renews the leases of what was being sent.
        left = Attempt.objects.filter(state=AttemptState.SENDING)
        assert left.update(lease_expires_at=Now() - dt.timedelta(seconds=5)) == len(sending)
        first_start.prepare(sandbox_base_url=ponder.sandbox.base_url)
    finally:
        ponder.cluster.start()
    # Every beat rings for what is overdue; there was one just now.
    ponder.wake()

    for job in running:
        ponder.wait_for(job, Status.COMPLETED)
    for job in sending:
        ponder.wait_for(job, Status.UNCONFIRMED)
    expect(page.locator("tbody tr.j")).to_have_count(3)
    expect(page.locator(".flight .fl")).to_have_count(2)
    page.goto(sending[0].get_absolute_url())
    expect(page.get_by_role("main")).to_contain_text("Sending was cut off")
    for job in running:
        assert charged(job) > 0
        assert held(job) == 0
    for job in sending:
        assert charged(job) == 0
        assert held(job) == job.worst_case
    ponder.sandbox.faults(post_delay=0)
    posts = [post["metadata"]["ponder_job"] for post in ponder.sandbox.log()["posts"]]
    assert sorted(posts) == sorted(str(job.uuid) for job in [*running, accepted])
    # The journal knows neither, so only a person ends them.
    for job in sending:
        lifecycle.resolve(job.pk, lifecycle.Decision.LOST, by=mira, reason="the power was gone")
