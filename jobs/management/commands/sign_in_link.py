"""Print a link that lets a person in once."""

from argparse import ArgumentParser
from typing import override

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from jobs.models import SignInLink, User


class Command(BaseCommand):
    """Make a sign-in link."""

    help = "Print a sign-in link for someone: good once, for 15 minutes; it sets a new password."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define whom it is for."""
        parser.add_argument("email", metavar="EMAIL")

    @override
    def handle(self, *, email: str, **options: object) -> None:
        """Print the link."""
        person = User.objects.filter(email__iexact=email.strip(), is_active=True).first()
        if person is None:
            raise CommandError(
                f"email: there is no active person {email}; `manage.py create_user` makes people."
            )
        self.stdout.write(f"{settings.PONDER_URL}/enter/#{SignInLink.objects.make_for(person)}")
