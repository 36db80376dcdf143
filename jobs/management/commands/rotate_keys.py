"""Encrypt what is kept secret anew after `PONDER_KEYS` has got a new first key."""

from typing import override

from django.core.management.base import BaseCommand, CommandError

from jobs.models.secret import rotate_all


class Command(BaseCommand):
    """Encrypt all stored secrets with the first key."""

    help = "Encrypt every stored secret with the first key of PONDER_KEYS, so that the others can be removed."

    @override
    def handle(self, **options: object) -> None:
        """Encrypt, and leave with exit code 1 where a secret cannot be read."""
        count, unreadable = rotate_all()
        self.stdout.write(f"✓ secrets under the first key of PONDER_KEYS: {count}")
        if unreadable:
            raise CommandError(
                "None of PONDER_KEYS reads these, which stay as they are: "
                + "; ".join(unreadable)
                + ". Add their key to PONDER_KEYS and run this again, or set them anew."
            )
