"""Copy what cannot be made again into a folder."""

from argparse import ArgumentParser
from pathlib import Path
from typing import override

from django.core.management.base import BaseCommand, CommandError

from o3site import backups, localpg


class Command(BaseCommand):
    """Back up database, keys and journal."""

    help = "Copy database, keys and journal into a new folder, also while Ponder runs."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define the folder."""
        parser.add_argument("folder", metavar="DIR", type=Path, help="a folder that is new or empty")

    @override
    def handle(self, *, folder: Path, **options: object) -> None:
        """Copy, or leave with one line that says why not."""
        try:
            backups.backup(folder.absolute(), say=self.stdout.write)
        except (backups.Refused, localpg.Unavailable) as error:
            raise CommandError(str(error)) from None
