import subprocess
import sys
import time

import pytest
from django.db import transaction

from jobs import lifecycle
from jobs.access import Role
from jobs.models import *
from jobs.spend import audit
from tests.factories import a_person, a_project, a_spec


@pytest.fixture
def sandbox(tmp_path):
    p = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jobs.sandbox",
            "--port",
            "0",
            "--data",
            str(tmp_path / "s.sqlite3"),
            "--speed",
            "1000",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    line = p.stdout.readline().split()
    yield line[1]
    p.terminate()
    p.stdout.close()
    p.wait()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "d",
    [
        "",
        "[[sandbox: seconds=1 outcome=failed code=invalid_prompt]]",
        "[[sandbox: seconds=1 outcome=incomplete reason=max_output_tokens]]",
        "[[sandbox: seconds=1 outcome=function_call]]",
        "[[sandbox: http=401]]",
        "[[sandbox: http=500]]",
        "[[sandbox: seconds=1 outcome=failed code=server_error usage=none]]",
    ],
)
def test_way(sandbox, d):
    u = a_person()
    p = a_project(base_url=sandbox, members={u: Role.MANAGER})
    job = lifecycle.submit(a_spec(p, u, prompt="Hello there " + d, tags=("a", "b")))
    t = time.time()
    for _ in range(8):
        lifecycle.run_pump("send")
        lifecycle.run_pump("poll")
        job.refresh_from_db()
        if job.is_final or job.status in ("unconfirmed", "requires_action"):
            break
        if Connection.objects.get().paused_at:
            break
        time.sleep(0.3)
    lifecycle.render_due()
    job.refresh_from_db()
    print(d, job.status, job.cost, job.worst_case, job.error_code, time.time() - t)
    for e in Event.objects.filter(job=job):
        print("  ", e.kind, e.note)
    for r in LedgerEntry.objects.all():
        print("  ", r.kind, r.amount, r.basis, r.reason)
    print(
        BudgetPeriod.objects.values("spent", "held"),
        Connection.objects.get().paused_reason,
        Notice.objects.values_list("message"),
    )
    with transaction.atomic():
        assert audit() == []
