"""The sandbox announces its ends to the web server of the same start, and jobs end when they do."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.o3site.conftest import Ponder
from tests.whole import ROOT

# In a shell on the installation: submit one job for each fault, and then some that nobody needs to poll.
STORY = """
import django, json, time
django.setup()
from jobs import lifecycle, spend
from jobs.models import Attempt, Connection, Job, Project, User, WebhookDelivery, Workspace
from django.db import transaction

def until(look):
    deadline = time.monotonic() + 40
    while not look():
        assert time.monotonic() < deadline, list(Job.objects.values_list("status", "error_code"))
        time.sleep(0.05)

project, by = Project.objects.get(), User.objects.get()
choice = project.default_choice(Workspace.objects.the().today())

def submit(directives):
    return lifecycle.submit(lifecycle.JobSpec(
        project=project, by=by, prompt=f"Is it so? [[sandbox: {directives}]]", model=choice.spec.pk,
        mode=choice.mode, effort="low", max_output_tokens=20_000,
    )).pk

def ended(jobs):
    return Job.objects.filter(pk__in=jobs, status="completed").count() == len(jobs)

faults = ["delay:0.5", "drop", "duplicate", "reorder", "duplicate,reorder"]
first = [submit(f"seconds=1 outcome=completed webhook={fault}") for fault in faults]
until(lambda: ended(first) and WebhookDelivery.objects.filter(attempt__job__in=first).count() == 4)
until(lambda: WebhookDelivery.objects.filter(repeats__gt=0).count() == 2)
lifecycle.wake()
assert Connection.objects.filter(relaxed_at__isnull=False).exists()
second = [submit("seconds=4 outcome=completed") for _ in range(3)]
until(lambda: ended(second))
with transaction.atomic():
    books = spend.audit()
print(json.dumps({
    "books": [str(one) for one in books],
    "states": sorted(WebhookDelivery.objects.values_list("state", flat=True)),
    "ends": {a.response_id: a.job.finished_at.timestamp()
             for a in Attempt.objects.filter(job__in=second).select_related("job")},
}))
"""


@pytest.mark.cluster
@pytest.mark.thorough
def test_jobs_end_the_moment_the_sandbox_ends_them_whatever_befalls_its_events(ponder: Ponder) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STORY],
        cwd=ROOT,
        env={**ponder.environment, "DJANGO_SETTINGS_MODULE": "o3site.settings"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr + ponder.output
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["books"] == []
    assert set(found["states"]) == {"done"}
    asked = {one["id"]: one for one in ponder.sandbox_log()["responses"]}
    for response_id, finished_at in found["ends"].items():
        upstream = asked[response_id]
        assert finished_at - (upstream["created_at"] + 4) < 2
        # Once after it was accepted, and once when its end was announced.
        assert upstream["gets"] <= 3
    # The secret is nobody's to read.
    (sandbox,) = ponder.of_kind("jobs.sandbox")
    assert "whsec" not in " ".join(sandbox.cmdline())
    assert "whsec" not in ponder.output
