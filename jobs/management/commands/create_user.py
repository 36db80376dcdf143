"""Make a person from a shell and print the link that lets them in."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email
from django.db import transaction

from jobs.access import Role
from jobs.models import Membership, Project, SignInLink, User


class Command(BaseCommand):
    """Make a person who sets a password by a sign-in link."""

    help = "Make a person and print a sign-in link: good once, for 15 minutes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define the person and at most one membership."""
        parser.add_argument("email", metavar="EMAIL")
        parser.add_argument("--name", default="", metavar="N")
        parser.add_argument(
            "--operator", action="store_true", help="may do everything, also in the admin console"
        )
        parser.add_argument("--project", metavar="SLUG", help="make them a member; needs --role")
        parser.add_argument("--role", metavar="ROLE", help=f"one of {', '.join(_roles())}")

    def handle(self, **options: Any) -> None:
        """Make all of it or nothing, and print the link."""
        email = options["email"].strip()
        try:
            validate_email(email)
        except ValidationError:
            raise CommandError(f"email: {email} is not an e-mail address.") from None
        if User.objects.filter(email__iexact=email).exists():
            raise CommandError(f"email: there is {email} already; `manage.py sign_in_link` lets them in.")
        project, role = _membership(options["project"], options["role"])
        with transaction.atomic():
            make = User.objects.create_superuser if options["operator"] else User.objects.create_user
            person = make(email, name=options["name"])
            if project and role:
                Membership.objects.create(user=person, project=project, role=role)
            token = SignInLink.objects.make_for(person)
        self.stdout.write(f"{settings.PONDER_URL}/enter/#{token}")


def _roles() -> list[str]:
    return [role.name.lower() for role in Role]


def _membership(slug: str | None, word: str | None) -> tuple[Project | None, Role | None]:
    if not (slug or word):
        return None, None
    if not (slug and word):
        raise CommandError("project: --project and --role go together.")
    if word not in _roles():
        raise CommandError(f"role: one of {', '.join(_roles())}.")
    project = Project.objects.filter(slug=slug).first()
    if project is None:
        raise CommandError(f"project: there is no project {slug!r}.")
    return project, Role[word.upper()]
