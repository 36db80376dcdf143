"""The journal is trimmed while others append to it, and a kill in the middle of that loses no line."""

import json
import os
import subprocess
import sys
import time
import uuid

import pytest
from django.conf import settings as ours
from pytest_django.fixtures import Settings

from jobs import lifecycle
from jobs.lifecycle import claiming, journal
from jobs.models import Attempt, AttemptState, Project, User
from tests.cluster_process import ROOT, environment
from tests.factories import a_spec
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

DIES_AS_IT_TRIMS = """
import django
django.setup()
import os, pathlib, signal
from jobs.lifecycle import journal
pathlib.Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
journal.replay()
"""


def nonces() -> list[uuid.UUID]:
    lines = filter(None, journal.path().read_bytes().splitlines())
    return [uuid.UUID(json.loads(line)["attempt"]) for line in lines]


def test_no_line_is_lost_that_is_appended_while_others_are_forgotten() -> None:
    written = [[uuid.uuid4() for _ in range(40)] for _ in range(4)]
    forgotten: set[uuid.UUID] = set()
    done: list[bool] = []

    def write(mine: list[uuid.UUID]) -> None:
        for place, nonce in enumerate(mine):
            journal.write(nonce, f"resp_{place}", "")
        done.append(True)

    def trim() -> None:
        while len(done) < len(written):
            # Nobody who reads without the lock may count on the last line: it may be half there.
            with journal._alone():
                over = set(nonces()[::7]) if journal.path().exists() else set()
            journal._rewrite(without=over)
            forgotten.update(over)

    found = at_once([*[lambda mine=mine: write(mine) for mine in written], trim])
    assert found == [None] * 5
    everything = [nonce for mine in written for nonce in mine]
    assert sorted(map(str, nonces())) == sorted(str(one) for one in everything if one not in forgotten)


def test_killed_as_it_trims_it_has_lost_nothing_and_hinders_nobody(
    person: User, project: Project, settings: Settings
) -> None:
    settings.JOURNAL_DIR = ours.DATA_DIR / "journal"
    journal.path().unlink(missing_ok=True)
    lifecycle.submit(a_spec(project, person))
    (send,) = claiming.claim_sends(1)
    over = uuid.uuid4()
    journal.write(over, "resp_old", "")
    entry = json.loads(journal.path().read_text()) | {"written_at": time.time() - 40 * 86_400}
    journal.path().write_text(json.dumps(entry) + "\n")
    journal.write(send.nonce, "resp_9", "")
    os.utime(journal.path().with_suffix(".lock"), (0, 0))
    # It is about to put the new file in place of the old one. The lease keeps it from adopting before.
    Attempt.objects.update(state=AttemptState.PLANNED)
    process = subprocess.run(
        [sys.executable, "-c", DIES_AS_IT_TRIMS], cwd=ROOT, env=environment("cluster"), check=False
    )
    assert process.returncode == -9
    assert nonces() == [over, send.nonce]
    Attempt.objects.update(state=AttemptState.SENDING)
    other = uuid.uuid4()
    journal.write(other, "resp_10", "")
    assert lifecycle.replay() == 1
    os.utime(journal.path().with_suffix(".lock"), (0, 0))
    lifecycle.replay()
    assert nonces() == [send.nonce, other]
    journal.path().unlink()
