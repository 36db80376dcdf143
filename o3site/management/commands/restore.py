"""Put a backup into a new place."""

from argparse import ArgumentParser
from pathlib import Path
from typing import override

from django.core.management.base import BaseCommand, CommandError

from o3site import backups, localpg


class Command(BaseCommand):
    """Restore a backup, held unless the original is off."""

    help = "Put a backup into an empty database and data directory; it is held until you resume it."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define the folder, and what is known of the original."""
        parser.add_argument("folder", metavar="DIR", type=Path, help="what `backup` made")
        parser.add_argument(
            "--moved",
            action="store_true",
            help="the original was off before the backup was made and stays off: go on at once",
        )

    @override
    def handle(self, *, folder: Path, moved: bool, **options: object) -> None:
        """Restore, or leave with one line that says why not."""
        try:
            backups.restore(folder.absolute(), is_moved=moved, say=self.stdout.write)
        except (backups.Refused, localpg.Unavailable) as error:
            raise CommandError(str(error)) from None
