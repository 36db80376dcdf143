"""Show from a shell where our price rows differ from genai-prices, and add successors when told to."""

from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any, override

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from jobs.management.published import BY_NAME, SOURCE, Successor, known, successors
from jobs.models import ModelSpec, Price, Workspace


class Command(BaseCommand):
    """Compare prices; write nothing unless told to."""

    help = (
        "Compare price rows with genai-prices. Writes only with --write, and only rows that succeed others. "
        "Exit code 1 if anything differs and nothing was written."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define what is compared, and whether it is written."""
        parser.add_argument("models", nargs="*", metavar="MODEL", help="default: every model that lives")
        parser.add_argument("--write", action="store_true", help="add a dated successor for each difference")

    @override
    def handle(self, *, models: list[str], write: bool, **options: Any) -> None:
        """Print a table of what differs. Raises CommandError if it does and is not written."""
        today = Workspace.objects.the().today()
        specs = _wanted(models)
        published = known()
        living = [spec for spec in specs if not spec.is_off(today)]
        found = [
            one
            for spec in living
            if spec.pk in published
            for one in successors(spec, published[spec.pk], today)
        ]
        for one in found:
            self._show(one)
        if unknown := [spec.pk for spec in living if spec.pk not in published]:
            self.stdout.write(f"Not in {SOURCE}: {', '.join(unknown)}.")
        if not found:
            self.stdout.write(f"Every price is the one that {SOURCE} records.")
        elif write:
            self._write(found)
        else:
            raise CommandError("Nothing was written. --write adds a successor for each row above.")

    def _show(self, one: Successor) -> None:
        for field, theirs in one.changes.items():
            ours = getattr(one.row, field)
            if field in BY_NAME:
                ours, theirs = _by_name(ours, theirs), _by_name(theirs, theirs)
            self.stdout.write(
                f"{one.row.model_id:16} from {one.valid_from}  {field.replace('_', ' '):20} "
                f"{_shown(ours):>14} → {_shown(theirs)}"
            )

    @transaction.atomic
    def _write(self, found: Iterable[Successor]) -> None:
        for one in found:
            if Price.objects.filter(model=one.row.model_id, valid_from=one.valid_from).exists():
                self.stdout.write(
                    f"{one.row.model_id} has a row from {one.valid_from} already, and rows are never edited: "
                    "run this again tomorrow."
                )
                continue
            one.price().save(force_insert=True)
            self.stdout.write(f"{one.row.model_id}: a successor from {one.valid_from} is added.")


def _wanted(names: list[str]) -> list[ModelSpec]:
    specs = ModelSpec.objects.filter(pk__in=names) if names else ModelSpec.objects.all()
    found = list(specs.order_by("rung", "id"))
    if missing := sorted(set(names) - {spec.pk for spec in found}):
        raise CommandError(f"There is no model {missing[0]!r} in the catalogue.")
    return found


def _by_name(values: dict[str, Any], named: Iterable[str]) -> str:
    return ", ".join(f"{name} {values.get(name, 'none')}" for name in sorted(named))


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value.normalize():f}" if hasattr(value, "normalize") else str(value)
