"""Bring up everything that Ponder consists of with one command, and take it down again."""

from argparse import ArgumentParser

from django.core.management.base import BaseCommand

from o3site import start


class Command(BaseCommand):
    """Start the database, the web server, the workers and the sandbox.

    `manage.py` runs it without this class, which is here for `manage.py help`.
    """

    help = start.HELP
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define host, port and the choice of one part."""
        start.add_arguments(parser)

    def handle(self, *, host: str, port: int, only: str | None, **_: object) -> None:
        """Run until a signal asks for the end."""
        start.run(host=host, port=port, only=only)
