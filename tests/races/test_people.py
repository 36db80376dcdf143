"""Races between people: an invitation lets one in, and a project keeps a manager."""

from functools import partial

from jobs.access import Role
from jobs.models import Invitation, InvitationGone, LastManager, Membership, Project, User
from tests.factories import a_person
from tests.races.threads import at_once

RACERS = 6


def test_an_invitation_lets_one_of_many_in(project: Project, person: User) -> None:
    token = Invitation.objects.make("eve@example.com", project=project, role=Role.VIEWER, by=person)
    accept = [
        partial(Invitation.objects.accept, token, name=f"Eve {number}", password="nine wooden otters")
        for number in range(RACERS)
    ]
    found = at_once(accept)
    assert sum(isinstance(one, User) for one in found) == 1
    assert sum(isinstance(one, InvitationGone) for one in found) == RACERS - 1
    assert User.objects.filter(email="eve@example.com").count() == 1
    assert Membership.objects.filter(project=project).count() == 2


def test_of_two_managers_who_leave_at_once_one_stays(project: Project, person: User) -> None:
    other = a_person("jonas@example.com")
    for _ in range(RACERS):
        Membership.objects.update_or_create(project=project, user=person, defaults={"role": Role.MANAGER})
        Membership.objects.update_or_create(project=project, user=other, defaults={"role": Role.MANAGER})
        found = at_once(
            [
                lambda: project.remove(person, by=person),
                lambda: project.change_role(other, Role.VIEWER, by=other),
            ]
        )
        assert [type(one) for one in found].count(LastManager) == 1, found
        assert Membership.objects.filter(project=project, role=Role.MANAGER).count() == 1
