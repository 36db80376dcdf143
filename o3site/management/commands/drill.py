"""Kill the processes of an installation made for it, again and again, and check that nothing was lost."""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

OURS = ("DATABASE_URL", "DJANGO_", "GRANIAN_", "OPENAI_", "PONDER_", "SECRET_KEY", "Q_CLUSTER_")
NOTHING_BROKEN = "Nothing was lost and nothing was paid twice."


class Command(BaseCommand):
    """Run a drill in a temporary directory, with a database, ports and a practice API of its own."""

    help = (
        "Send practice jobs with every fault on while processes are killed, then check the accounts. "
        "Touches no other installation. Exit code 1 if an invariant is broken."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define how hard it is."""
        parser.add_argument("--jobs", type=int, default=200, metavar="N", help="jobs to send (default 200)")
        parser.add_argument(
            "--kills", type=int, default=20, metavar="N", help="processes to kill (default 20)"
        )
        parser.add_argument(
            "--seconds", type=float, metavar="S", help="to spread them over (default 6 a kill)"
        )
        parser.add_argument(
            "--seed", type=int, metavar="N", help="to draw the same faults and kills once more"
        )
        parser.add_argument("--keep", action="store_true", help="leave its directory behind")
        parser.add_argument(
            "--hurry", action="store_true", help="let leases and waits that a kill costs pass at once"
        )
        parser.add_argument("--inside", help="for its own use")

    def handle(self, *, inside: str | None, **options: Any) -> None:
        """Run it in a process whose settings are those of the new installation."""
        if inside:
            self._drill(**options)
        else:
            self._apart(sys.argv[2:], keep=options["keep"])

    def _apart(self, words: list[str], *, keep: bool) -> None:
        folder = Path(tempfile.mkdtemp(prefix="ponder-drill-"))
        folder.chmod(0o711)  # under root the database is another user and has to pass through
        environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        code = 1
        try:
            code = subprocess.run(  # noqa: S603 (our own words)
                [sys.executable, "manage.py", "drill", *words, "--inside", str(folder)],
                cwd=settings.BASE_DIR,
                env=environment | {"PONDER_DATA_DIR": str(folder / "var")},
                check=False,
            ).returncode
        finally:
            if keep or code:
                self.stdout.write(f"Its directory is kept: {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
        if code:
            sys.exit(code)

    def _drill(
        self,
        *,
        jobs: int,
        kills: int,
        seconds: float | None,
        seed: int | None,
        hurry: bool,
        **_: Any,
    ) -> None:
        from o3site.drill import accounts, report
        from o3site.drill.running import Drill

        seed = random.SystemRandom().randrange(10**6) if seed is None else seed
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.stdout.write(f"Drill: {jobs} jobs, {kills} kills, seed {seed}.")
        drill = Drill(port=port, seed=seed, hurries=hurry, say=self.stdout.write)
        began = time.monotonic()
        try:
            drill.run(jobs=jobs, kills=kills, seconds=seconds or max(20.0, kills * 6.0))
            log = drill.log()
            found = accounts.invariants(log, drill.submitted)
            for line in report.lines(
                drill, found, accounts.charges(log), accounts.ends(), time.monotonic() - began
            ):
                self.stdout.write(line)
        finally:
            drill.stop()
        broken = [one.sentence for one in found if one.broken]
        if broken:
            raise CommandError("Broken: " + "; ".join(broken))
        self.stdout.write(NOTHING_BROKEN)
