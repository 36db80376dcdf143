"""Holds the web process to what it may load: never the SDK, which costs two seconds and 60 MB."""

import time
from pathlib import Path

import psutil
import pytest

from jobs.access import Role
from jobs.models import Job, SignInLink, Status
from tests.cluster_process import ClusterProcess
from tests.factories import PASSWORD, a_person, a_project
from tests.sandbox_process import SandboxProcess
from tests.whole import Visitor, Whole

pytest_plugins = ["tests.fixtures"]
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads what is loaded from /proc"),
]

# A compiled module that nothing but the SDK needs: seen from outside, it is mapped or it is not.
SDK = "/pydantic_core/"


def loads_the_sdk(process: psutil.Process) -> bool:
    return SDK in Path(f"/proc/{process.pid}/maps").read_text()


def test_no_page_loads_the_sdk_into_the_web_process(
    web: Whole, cluster: ClusterProcess, sandbox: SandboxProcess
):
    boss = a_person("boss@example.com", is_staff=True, is_superuser=True)
    project = a_project("proofs", base_url=sandbox.base_url, members={boss: Role.MANAGER})
    with Visitor(web.base_url) as visitor:
        visitor.get("/enter/")
        chosen = {"token": SignInLink.objects.make_for(boss), "new_password1": PASSWORD}
        assert visitor.post("/enter/", {**chosen, "new_password2": PASSWORD}).status == 302
        fields = visitor.get("/jobs/new/").fields("/jobs/new/")
        fields |= {"project": project.slug, "prompt": "Prove it. [[sandbox: seconds=0 outcome=completed]]"}
        assert visitor.post("/jobs/estimate/", fields).status == 200
        sent = visitor.post("/jobs/new/", fields)
        assert sent.status == 302, sent.text
        job = sent.location
        await_end()
        opened = {
            path: visitor.get(path).status
            for path in (
                *("/", "/healthz", "/jobs/", "/jobs/live/", "/jobs/new/", "/projects/", "/budget/"),
                *(job, f"{job}live/", f"{job}prompt/", f"{job}activity/", f"{job}raw/"),
                *("/budget/?format=csv", f"/projects/{project.slug}/", "/settings/connections/"),
                *("/admin/", "/admin/jobs/job/", "/admin/jobs/connection/", "/admin/jobs/connection/add/"),
                *(f"/admin/jobs/connection/{project.connection_id}/change/", "/admin/django_q/ormq/"),
                *(
                    "/settings/profile/",
                    "/settings/people/",
                    "/settings/models/",
                    "/settings/connections/new/",
                ),
                *(f"/projects/{project.slug}/members/", f"/projects/{project.slug}/settings/"),
                *(f"/settings/connections/{project.connection_id}/live/", "/projects/new/", "/join/"),
                "/nowhere/",
            )
        }
        cancelled = visitor.post(f"{job}cancel/", {}).status
        again = visitor.post(f"{job}rerun/", {}).status
        tested = visitor.post(f"/settings/connections/{project.connection_id}/test/", {}).status
    assert {path: status for path, status in opened.items() if status != 200} == {"/": 302, "/nowhere/": 404}
    assert (cancelled, again, tested) == (302, 302, 302)
    assert [process for process in web.processes() if loads_the_sdk(process)] == []
    # The sign does show where the SDK is loaded.
    assert loads_the_sdk(psutil.Process(cluster.pid))


def await_end(within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not Job.objects.filter(status=Status.COMPLETED).exists():
        assert time.monotonic() < deadline, "the job did not end"
        time.sleep(0.05)
