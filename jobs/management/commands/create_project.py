"""Make a project with its cap from a shell."""

from argparse import ArgumentParser
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from jobs import spend
from jobs.access import Role
from jobs.models import Connection, Membership, Project, User

MOST = Decimal(10) ** 9  # USD a month; the column holds ten digits before the point


class Command(BaseCommand):
    """Make a project, its cap and, if named, its manager."""

    help = "Make a project with a monthly cap."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define the project."""
        parser.add_argument("slug", metavar="SLUG", help="its name in addresses and commands")
        parser.add_argument("--cap", required=True, metavar="USD", help="the most to spend in a month")
        parser.add_argument("--name", metavar="N", help="default: made from the slug")
        parser.add_argument(
            "--connection", metavar="NAME", help="default: the only real one, else the practice one"
        )
        parser.add_argument("--manager", metavar="EMAIL", help="who may change it")

    def handle(self, **options: Any) -> None:
        """Make all of it or nothing."""
        slug = options["slug"]
        cap = _cap(options["cap"])
        name = options["name"] or slug.replace("-", " ").replace("_", " ").capitalize()
        project = Project(slug=slug, name=name, connection=_connection(options["connection"]))
        manager = _person(options["manager"]) if options["manager"] else None
        try:
            project.full_clean()
        except ValidationError as error:
            lines = [f"{field}: {' '.join(found)}" for field, found in error.message_dict.items()]
            raise CommandError("\n".join(lines)) from None
        with transaction.atomic():
            project.save()
            spend.set_cap(cap, project=project)
            if manager:
                Membership.objects.create(user=manager, project=project, role=Role.MANAGER)
        kind = "practice" if project.is_practice else "real"
        self.stdout.write(f"{project.get_absolute_url()} made: {kind} money, ${cap:f} a month.")


def _cap(text: str) -> Decimal:
    try:
        cap = Decimal(text)
    except InvalidOperation:
        cap = Decimal("NaN")
    if not (cap.is_finite() and 0 <= cap < MOST):
        raise CommandError(f"cap: {text} is not an amount of USD.")
    return cap


def _connection(name: str | None) -> Connection:
    if name:
        found = Connection.objects.filter(name=name).first()
        if found is None:
            raise CommandError(f"connection: there is no {name!r}. {_known()}")
        return found
    for is_practice in (False, True):
        candidates = list(Connection.objects.filter(is_practice=is_practice)[:2])
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise CommandError(f"connection: name one of several. {_known()}")
    raise CommandError("connection: there is none yet; `manage.py start` makes the first one.")


def _known() -> str:
    return (
        f"Known: {', '.join(Connection.objects.order_by('name').values_list('name', flat=True)) or 'none'}."
    )


def _person(email: str) -> User:
    found = User.objects.filter(email__iexact=email.strip()).first()
    if found is None:
        raise CommandError(f"manager: there is no {email}; `manage.py create_user` makes them.")
    return found
