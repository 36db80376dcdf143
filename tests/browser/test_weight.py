"""What a page brings over the wire when it is opened for the first time, compressed as a proxy would."""

import gzip
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Response, expect

from jobs import rendering
from jobs.access import Role
from jobs.models import Status, User
from tests.browser.conftest import Browse
from tests.browser.installation import Installation
from tests.browser.test_readable import ESSAY
from tests.jobs.views.states import a_job

pytestmark = [pytest.mark.looks, pytest.mark.thorough]
KILOBYTE = 1000
LIGHT, CHARTS, MATHS = 100 * KILOBYTE, 170 * KILOBYTE, 250 * KILOBYTE
SHEETS, SCRIPTS = 14 * KILOBYTE, 8 * KILOBYTE


def test_the_first_page_of_any_kind_is_light(ponder: Installation, browse: Browse, mira: User) -> None:
    rendered = {"html": rendering.render(ESSAY), "renderer_version": rendering.RENDERER_VERSION}
    with ponder.asleep():
        project = ponder.project(members={mira: Role.MANAGER})
        running = a_job(project, mira, Status.IN_PROGRESS)
        maths = a_job(project, mira, Status.COMPLETED, answer={"text": ESSAY, **rendered})
        pages = {
            "/jobs/new/": LIGHT,
            "/jobs/": LIGHT,
            running.get_absolute_url(): LIGHT,
            "/settings/": LIGHT,
            project.get_absolute_url(): LIGHT,
            "/budget/": CHARTS,
            maths.get_absolute_url(): MATHS,
        }
        found = {}
        for path, limit in pages.items():
            page = browse(mira)
            answers: list[Response] = []
            page.on("response", lambda answer, seen=answers: seen.append(answer))
            page.goto(path)
            if limit == MATHS:
                expect(page.locator(".math .katex").first).to_be_visible()
            page.wait_for_load_state("networkidle")
            weights = {
                urlsplit(answer.url).path: len(gzip.compress(answer.body()))
                for answer in answers
                if answer.ok
            }
            ours = {name: size for name, size in weights.items() if "/vendor/" not in name}
            found[path] = (
                sum(weights.values()) <= limit,
                sum(size for name, size in ours.items() if name.endswith(".css")) <= SHEETS,
                sum(size for name, size in ours.items() if name.endswith(".js")) <= SCRIPTS,
                weights,
            )
            assert len(weights) > 4  # a page that loads nothing proves nothing
            page.close()  # one that stays open asks for news all the while
    assert [(path, *rest) for path, rest in found.items() if not all(rest[:3])] == []
