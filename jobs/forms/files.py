"""Reads the files that a form holds as chips."""

from collections.abc import Sequence

from jobs import lifecycle
from jobs.models import Given, Project, User


def files_in(
    values: Sequence[str], *, project: Project, by: User
) -> tuple[tuple[Given, ...], dict[str, str]]:
    """Return the files that are still there, and what is wrong if one is not, as errors of a form."""
    given = lifecycle.given_as(values, project=project, by=by)
    is_gone = len(given) < len({value.partition(" ")[0] for value in values})
    return given, {"attachments": lifecycle.GONE} if is_gone else {}
