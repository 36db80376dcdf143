"""The admin console: every record for staff to look at, and the few that are theirs to change."""

from jobs.admin import catalogue, connections, money, people, projects, queue, records, site

__all__ = ["catalogue", "connections", "money", "people", "projects", "queue", "records", "site"]
