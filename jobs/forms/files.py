"""Reads the files that a form holds as chips."""

from collections.abc import Sequence

from django.http import QueryDict

from jobs import lifecycle
from jobs.models import Given, Project, User

NOT_HERE = "A file had not arrived when this was sent. Add it again."
_NOTHING = ("", "[object File]")  # how a browser, and htmx, send a choice of files that is empty


def files_in(
    values: Sequence[str], *, project: Project, by: User
) -> tuple[tuple[Given, ...], dict[str, str]]:
    """Return the files that are still there, and what is wrong if one is not, as errors of a form."""
    given = lifecycle.given_as(values, project=project, by=by)
    is_gone = len(given) < len({value.partition(" ")[0] for value in values})
    return given, {"attachments": lifecycle.GONE} if is_gone else {}


def not_here_in(data: QueryDict) -> dict[str, str]:
    """Return what is wrong where a form names a file that never arrived, as errors of a form."""
    is_named = any(name not in _NOTHING for name in data.getlist("files"))
    return {"attachments": NOT_HERE} if is_named else {}
