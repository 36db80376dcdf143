"""People: invited once, given roles that leave a manager, shut out at once; all of it written down."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from jobs.access import Role
from jobs.models import (
    Connection,
    Invitation,
    InvitationGone,
    LastManager,
    Membership,
    ModelSpec,
    Project,
    Secret,
    SignInLink,
    User,
    Workspace,
    trail,
)
from tests.factories import PASSWORD, a_person, a_project

pytestmark = pytest.mark.django_db


@pytest.fixture
def ana() -> User:
    return a_person("ana@example.com", name="Ana Sol")


@pytest.fixture
def project(ana: User) -> Project:
    return a_project(members={ana: Role.MANAGER})


def said(row: Any) -> list[str]:
    return [entry.get_change_message() for entry in trail.trail_of(row)]


def invite(project: Project | None, by: User, email: str = "eve@example.com") -> str:
    return Invitation.objects.make(email, project=project, role=Role.SUBMITTER, by=by)


# Invitations


def test_only_the_hash_of_an_invitation_is_stored(project: Project, ana: User) -> None:
    token = invite(project, ana, " Eve@Example.com ")
    (row,) = Invitation.objects.values()
    assert row["email"] == "eve@example.com"
    assert token not in str(row)
    assert row["expires_at"] - timezone.now() > dt.timedelta(days=6, hours=23)
    assert said(project) == ["eve@example.com invited as submitter"]


def test_an_invitation_makes_an_account_and_lets_it_in_once(project: Project, ana: User) -> None:
    token = invite(project, ana)
    eve = Invitation.objects.accept(token, name="Eve", password=PASSWORD)
    assert (eve.email, eve.name, eve.check_password(PASSWORD)) == ("eve@example.com", "Eve", True)
    assert project.role_of(eve) == Role.SUBMITTER
    assert not eve.is_staff
    assert not eve.is_superuser
    with pytest.raises(InvitationGone):
        Invitation.objects.accept(token, name="Mallory", password=PASSWORD)
    assert User.objects.count() == 2
    assert said(project)[0] == "Eve joined as submitter, invited by Ana Sol"
    assert said(eve) == ["Joined by an invitation"]


def test_an_invitation_lets_someone_in_who_has_an_account(project: Project, ana: User) -> None:
    eve = a_person("eve@example.com")
    assert Invitation.objects.accept(invite(project, ana), person=eve) == eve
    assert project.role_of(eve) == Role.SUBMITTER


def test_an_invitation_lowers_nobodys_role(project: Project, ana: User) -> None:
    Invitation.objects.accept(invite(project, ana, ana.email), person=ana)
    assert project.role_of(ana) == Role.MANAGER


def test_an_invitation_to_no_project_makes_an_account_only() -> None:
    operator = a_person("ops@example.com", is_superuser=True)
    eve = Invitation.objects.accept(invite(None, operator), name="Eve", password=PASSWORD)
    assert not Membership.objects.filter(user=eve).exists()


def test_a_newer_invitation_ends_the_one_before_it(project: Project, ana: User) -> None:
    first, second = invite(project, ana), invite(project, ana)
    other = invite(None, a_person("ops@example.com", is_superuser=True))
    assert Invitation.objects.peek(first) is None
    assert Invitation.objects.peek(second)
    assert Invitation.objects.peek(other)


@pytest.mark.parametrize("end", ["expired", "withdrawn", "archived", "deactivated", "orphaned", "cut short"])
def test_an_invitation_that_leads_nowhere_is_gone(project: Project, ana: User, end: str) -> None:
    token = invite(project, ana)
    found = Invitation.objects.get()
    if end == "expired":
        Invitation.objects.update(expires_at=timezone.now() - dt.timedelta(seconds=1))
    elif end == "withdrawn":
        Invitation.objects.withdraw(found.pk, project=project, by=ana)
        assert said(project)[0] == "Invitation of eve@example.com withdrawn"
    elif end == "archived":
        project.archive(by=ana)
    elif end == "deactivated":
        a_person("Eve@example.com").deactivate(by=ana)
    elif end == "orphaned":
        ana.deactivate(by=ana)
    else:
        token = token[:-1]
    assert Invitation.objects.peek(token) is None
    with pytest.raises(InvitationGone):
        Invitation.objects.accept(token, name="Eve", password=PASSWORD)


@pytest.mark.parametrize("loss", ["removed", "demoted"])
def test_who_may_not_invite_any_more_has_left_no_way_in(project: Project, ana: User, loss: str) -> None:
    other = a_person("jonas@example.com")
    Membership.objects.create(project=project, user=other, role=Role.MANAGER)
    token = invite(project, other, "jonas.two@example.com")
    assert Invitation.objects.peek(token)
    if loss == "removed":
        project.remove(other, by=ana)
    else:
        project.change_role(other, Role.APPROVER, by=ana)
    assert Invitation.objects.peek(token) is None
    with pytest.raises(InvitationGone):
        Invitation.objects.accept(token, name="Jonas", password=PASSWORD)
    assert not Invitation.objects.pending().exists()


def test_an_operators_invitations_end_with_their_powers(project: Project) -> None:
    operator = a_person("ops@example.com", is_superuser=True)
    tokens = invite(project, operator), invite(None, operator, "ben@example.com")
    assert all(map(Invitation.objects.peek, tokens))
    User.objects.filter(pk=operator.pk).update(is_superuser=False)
    assert not any(map(Invitation.objects.peek, tokens))


def test_a_sign_in_link_ends_all_others_of_its_owner(ana: User) -> None:
    other = a_person("jonas@example.com")
    first, second, foreign = map(SignInLink.objects.make_for, (ana, ana, other))
    assert SignInLink.objects.use(first) == ana
    assert SignInLink.objects.use(second) is None
    assert SignInLink.objects.use(foreign) == other


def test_an_invitation_is_withdrawn_in_its_own_project_only(project: Project, ana: User) -> None:
    token, other = invite(project, ana), a_project("other")
    for wrong in (None, other):
        Invitation.objects.withdraw(Invitation.objects.get().pk, project=wrong, by=ana)
    assert Invitation.objects.peek(token)


# Members


def test_a_role_changes_and_is_written_down(project: Project, ana: User) -> None:
    eve = a_person("eve@example.com")
    project.members.add(eve, through_defaults={"role": Role.VIEWER})
    project.change_role(eve, Role.APPROVER, by=ana)
    project.change_role(eve, Role.APPROVER, by=ana)
    assert project.role_of(eve) == Role.APPROVER
    assert said(project) == ["Eve: viewer → approver"]


def test_the_last_manager_neither_leaves_nor_steps_down(project: Project, ana: User) -> None:
    gone = a_person("gone@example.com")
    project.members.add(gone, through_defaults={"role": Role.MANAGER})
    gone.deactivate(by=ana)
    with pytest.raises(LastManager):
        project.remove(ana, by=ana)
    with pytest.raises(LastManager):
        project.change_role(ana, Role.APPROVER, by=ana)
    assert project.role_of(ana) == Role.MANAGER
    project.change_role(ana, Role.MANAGER, by=ana)
    assert said(project) == []


def test_a_manager_leaves_where_another_stays(project: Project, ana: User) -> None:
    eve = a_person("eve@example.com")
    project.members.add(eve, through_defaults={"role": Role.MANAGER})
    project.remove(ana, by=ana)
    assert project.role_of(ana) is None
    assert said(project) == ["Ana Sol left"]
    with pytest.raises(Membership.DoesNotExist):
        project.remove(ana, by=eve)


def test_whoever_is_removed_is_named_in_the_trail(project: Project, ana: User) -> None:
    eve = a_person("eve@example.com")
    project.members.add(eve, through_defaults={"role": Role.VIEWER})
    project.remove(eve, by=ana)
    (entry,) = trail.trail_of(project)
    assert (entry.user, entry.get_change_message()) == (ana, "Eve removed")


def test_someone_is_shut_out_and_let_in_again_with_their_roles(project: Project, ana: User) -> None:
    eve = a_person("eve@example.com")
    project.members.add(eve, through_defaults={"role": Role.VIEWER})
    for _ in range(2):
        eve.deactivate(by=ana)
    eve.refresh_from_db()
    assert not eve.is_active
    for _ in range(2):
        eve.reactivate(by=ana)
    eve.refresh_from_db()
    assert eve.is_active
    assert project.role_of(eve) == Role.VIEWER
    assert said(eve) == ["Reactivated", "Deactivated"]


# Projects


def test_a_project_goes_to_the_archive_and_comes_back_once_each(project: Project, ana: User) -> None:
    for _ in range(2):
        project.archive(by=ana)
    project.refresh_from_db()
    assert project.archived_at
    assert not Project.objects.open_to(ana).exists()
    assert Project.objects.visible_to(ana).exists()
    for _ in range(2):
        project.unarchive(by=ana)
    project.refresh_from_db()
    assert project.archived_at is None
    assert said(project) == ["Taken out of the archive", "Archived"]


def test_a_successor_becomes_the_default_wherever_the_model_was(project: Project, ana: User) -> None:
    o3_pro = ModelSpec.objects.get(pk="o3-pro")
    picky, other = a_project("picky"), a_project("other")
    Project.objects.filter(slug="picky").update(default_model=o3_pro)
    Project.objects.filter(slug="other").update(default_model="gpt-6-luna")
    picky.allowed_models.add(o3_pro)
    heir = Workspace.objects.let_inherit(o3_pro, by=ana)
    assert heir is not None
    workspace = Workspace.objects.the()
    for row in (workspace, Project.objects.get(slug="picky")):
        assert (row.default_model_id, row.default_mode) == ("gpt-5.6-sol", "pro")
        assert said(row) == ["Default model: o3-pro → gpt-5.6-sol, pro"]
    assert set(picky.allowed_models.values_list("pk", flat=True)) == {"o3-pro", "gpt-5.6-sol"}
    assert Project.objects.get(slug="other").default_model_id == "gpt-6-luna"
    assert said(other) == []
    choice = Project.objects.get(slug="proofs").default_choice(workspace.today())
    assert choice is not None
    assert (choice.spec.pk, choice.mode) == ("gpt-5.6-sol", "pro")


def test_a_model_that_nothing_follows_stays_the_default(project: Project, ana: User) -> None:
    ModelSpec.objects.update(successor=None)
    assert Workspace.objects.let_inherit(ModelSpec.objects.get(pk="o3-pro"), by=ana) is None
    assert Workspace.objects.the().default_model_id == "o3-pro"
    assert not LogEntry.objects.exists()


def test_a_mode_that_a_project_defaults_to_is_what_a_new_job_starts_from(project: Project) -> None:
    day = Workspace.objects.the().today()
    project.default_model, project.default_mode = ModelSpec.objects.get(pk="gpt-6-sol"), "pro"
    choice = project.default_choice(day)
    assert choice is not None
    assert choice.mode == "pro"


# Connections and the trail


def test_a_new_key_forgets_what_the_last_one_was_told(project: Project, ana: User) -> None:
    connection = project.connection
    connection.last_test_at, connection.is_last_test_good = timezone.now(), True
    connection.last_test_result = "Key accepted in 212 ms, 14 models seen."
    connection.set_key("sk-other", by=ana)
    connection.save()
    connection.refresh_from_db()
    assert connection.reveal_key() == "sk-other"
    assert (connection.key_set_by, connection.last_test_at, connection.last_test_result) == (ana, None, "")
    assert not connection.is_last_test_good


def test_a_key_that_is_cleared_was_set_by_nobody(ana: User) -> None:
    made = Connection.objects.create(name="c", base_url="https://a.example/v1", key=Secret.of("sk"))
    made.set_key("sk-1", by=ana)
    made.save()
    made.base_url = "https://b.example/v1"
    made.save()
    made.refresh_from_db()
    assert (bool(made.key), made.key_set_at, made.key_set_by) == (False, None, None)


def test_a_change_is_said_in_one_line_with_what_it_was() -> None:
    labels = {"name": "Name", "limit": "Limit", "models": "Models", "same": "Same"}
    before = {"name": "A", "limit": None, "models": [], "same": 1}
    after = {"name": "", "limit": Decimal("5.50"), "models": ["o3", "o4-mini"], "same": 1}
    line = trail.changes(before, after, labels)
    assert line == "Name: A → none; Limit: none → 5.5; Models: all → o3, o4-mini"
    assert trail.changes(before, before, labels) == ""
