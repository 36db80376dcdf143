"""Read from a shell which models a connection lists, and keep the days on which ours are shut down."""

import datetime as dt
from argparse import ArgumentParser
from typing import Any, override

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from jobs import lifecycle
from jobs.models import Connection, ModelSpec
from jobs.openai_client import BorderError


class Command(BaseCommand):
    """Store shutdown dates that the API tells."""

    help = "Read /v1/models through a connection and store shutdown dates; what is unknown is listed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define through which connection."""
        parser.add_argument(
            "connection", nargs="?", metavar="NAME", help="default: the first that is not practice"
        )

    @override
    def handle(self, *, connection: str | None, **options: Any) -> None:
        """Print what was stored and what is unknown. Raises CommandError if the list cannot be read."""
        through = _connection(connection)
        try:
            listed = lifecycle.models_at(through)
        except BorderError as error:
            raise CommandError(f"{through}: {error.code}: {error.message}") from None
        days = {str(row["id"]): _day(row["shutdown_date"]) for row in listed}
        specs = {spec.pk: spec for spec in ModelSpec.objects.all()}
        with transaction.atomic():
            moved = [self._keep(specs[name], day) for name, day in sorted(days.items()) if name in specs]
        there = {name for name in days if name in specs}
        if absent := sorted(specs.keys() - there):
            self.stdout.write(f"In the catalogue, not listed by {through}: {', '.join(absent)}.")
        aliases = {name for spec in specs.values() for name in days if spec.answers_to(name)}
        if unknown := sorted(days.keys() - aliases):
            self.stdout.write(f"Listed by {through}, not in the catalogue: {', '.join(unknown)}.")
        self.stdout.write(f"{sum(moved)} of {len(there)} shutdown dates have changed.")

    def _keep(self, spec: ModelSpec, day: dt.date | None) -> bool:
        """Keep the day on which a model is shut down; one that is not told any more is left as it is."""
        if day is None or day == spec.shutdown_date:
            return False
        before = f"{spec.shutdown_date} → " if spec.shutdown_date else ""
        ModelSpec.objects.filter(pk=spec.pk).update(shutdown_date=day)
        self.stdout.write(f"{spec.pk}: {before}{day}")
        return True


def _connection(name: str | None) -> Connection:
    found = Connection.objects.order_by("is_practice", "pk")
    through = (found.filter(name=name) if name else found).first()
    if through is None:
        raise CommandError(f"There is no connection {name!r}." if name else "There is no connection yet.")
    return through


def _day(text: str | None) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text or "")
    except ValueError:
        return None
