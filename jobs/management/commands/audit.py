"""Compare every total with the ledger from a shell."""

import dataclasses
import json
from argparse import ArgumentParser
from typing import override

from django.core.management.base import BaseCommand, CommandError

from jobs import spend


class Command(BaseCommand):
    """Recompute every total from the ledger and say what differs."""

    help = "Recompute every total from the ledger; exit code 1 if anything differs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define the form of the report."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    @override
    def handle(self, *, json: bool, **options: object) -> None:
        """Print what differs. Raises CommandError if anything does."""
        findings = spend.audit()
        if json:
            self.stdout.write(_as_json(findings))
        else:
            for finding in findings:
                self.stdout.write(
                    f"{finding.what}: the ledger says {finding.expected}, found {finding.found}"
                )
        if findings:
            totals = "1 total differs" if len(findings) == 1 else f"{len(findings)} totals differ"
            raise CommandError(f"{totals} from the ledger.")
        if not json:
            self.stdout.write("Every total is what the ledger says.")


def _as_json(findings: list[spend.Finding]) -> str:
    rows = [dataclasses.asdict(finding) for finding in findings]
    return json.dumps({"ok": not rows, "differences": rows})
