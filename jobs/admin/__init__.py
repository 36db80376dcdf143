"""The admin console: every record for staff to look at, and the few that are theirs to change."""

from jobs.admin import (
    catalogue,
    connections,
    content,
    money,
    people,
    projects,
    queue,
    reconciliation,
    records,
    site,
    trail,
)

__all__ = [
    "catalogue",
    "connections",
    "content",
    "money",
    "people",
    "projects",
    "queue",
    "reconciliation",
    "records",
    "site",
    "trail",
]
