"""Notes on each person's row what the month of the projects they see likely comes to, for all their pages."""

from collections import defaultdict

from jobs import forecast
from jobs.access import Act
from jobs.models import Membership, Project, User, Workspace, month_end_of


def foretell() -> None:
    """Note it for everyone who can sign in: once an hour, for it is told from half a year.

    Those who see the same projects are told the same.
    """
    today = Workspace.objects.the().today()
    people = _people()
    ends = forecast.ends_together(people)
    for projects, ids in people.items():
        end = ends[projects]
        User.objects.filter(pk__in=ids).update(
            month_end=end.likely if end else None, month_end_of=month_end_of(today, projects)
        )


def _people() -> dict[frozenset[int], list[int]]:
    """Return people's ids by the real projects that they see."""
    real = frozenset(Project.objects.real().values_list("pk", flat=True))
    seen: dict[int, set[int]] = defaultdict(set)
    members = Membership.objects.that_may(Act.SEE).filter(project__in=real, user__is_superuser=False)
    for person, project in members.values_list("user", "project"):
        seen[person].add(project)
    found: dict[frozenset[int], list[int]] = defaultdict(list)
    for person, projects in seen.items():
        found[frozenset(projects)].append(person)
    found[real] += User.objects.filter(is_superuser=True, is_active=True).values_list("pk", flat=True)
    return found
