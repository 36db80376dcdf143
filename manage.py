#!/usr/bin/env python
"""Run Ponder's commands, turning a bad setting or an absent database into one line."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured


def main() -> None:
    """Run the command named in the arguments."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "o3site.settings")
    if sys.argv[1:2] == ["backup"] and not os.environ.get("DATABASE_URL", "").strip():
        from o3site import datadir, localpg

        # First, for the settings make what a data directory lacks.
        if not localpg.is_made(datadir.chosen()):
            sys.exit(
                f"{datadir.chosen()} holds no database of Ponder: set PONDER_DATA_DIR to the data directory"
                " that is to be copied, or DATABASE_URL."
            )
    from django.conf import settings
    from django.db import NotSupportedError, OperationalError, connection

    try:
        is_bundled = not settings.DATABASE_URL
    except ImproperlyConfigured as error:
        sys.exit(str(error))

    try:
        if sys.argv[1:2] == ["start"]:
            # By itself: Django's applications would stay in memory for as long as Ponder runs.
            from o3site import start

            start.main(sys.argv[2:])
        else:
            from django.core.management import execute_from_command_line

            execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    except NotSupportedError as error:
        sys.exit(f"Ponder cannot use this database: {error}")
    except OperationalError as error:
        # Only a failure to connect is put so; a statement that failed keeps its traceback.
        if getattr(error.__cause__, "sqlstate", None) or "connection" not in str(error):
            raise
        if is_bundled:
            sys.exit(
                f"Ponder's database in {settings.DATA_DIR} is not running: start it with"
                " `uv run manage.py start`, or set DATABASE_URL."
            )
        where = connection.settings_dict
        reason = str(error).strip().splitlines()[-1].strip()
        sys.exit(f"Ponder cannot reach the database {where['NAME']} at {where['HOST']}: {reason}")


if __name__ == "__main__":
    main()
