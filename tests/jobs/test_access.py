"""The matrix of roles and acts, written out a second time: a change of rights must be made in both places."""

import pytest
from django.contrib.auth.models import AnonymousUser

from jobs import lifecycle
from jobs.access import Act, Role, allowed
from jobs.models import Job, Project, User
from tests.factories import a_person, a_project, a_spec

NOBODY, VIEWER, SUBMITTER, APPROVER, MANAGER = None, Role.VIEWER, Role.SUBMITTER, Role.APPROVER, Role.MANAGER
ROLES = (NOBODY, VIEWER, SUBMITTER, APPROVER, MANAGER)

# act → who may do it to anyone's, who may do it to their own
MATRIX: dict[Act, tuple[set[Role], set[Role]]] = {
    Act.SEE: ({VIEWER, SUBMITTER, APPROVER, MANAGER}, {VIEWER, SUBMITTER, APPROVER, MANAGER}),
    Act.SUBMIT: ({SUBMITTER, APPROVER, MANAGER}, {SUBMITTER, APPROVER, MANAGER}),
    Act.RERUN: ({SUBMITTER, APPROVER, MANAGER}, {SUBMITTER, APPROVER, MANAGER}),
    Act.CANCEL: ({APPROVER, MANAGER}, {SUBMITTER, APPROVER, MANAGER}),
    Act.RESOLVE: ({APPROVER, MANAGER}, {SUBMITTER, APPROVER, MANAGER}),
    Act.APPROVE: ({APPROVER, MANAGER}, {APPROVER, MANAGER}),
    Act.JUDGE: ({SUBMITTER, APPROVER, MANAGER}, {SUBMITTER, APPROVER, MANAGER}),
    Act.TAG: ({SUBMITTER, APPROVER, MANAGER}, {SUBMITTER, APPROVER, MANAGER}),
    Act.SET_CAP: ({MANAGER}, {MANAGER}),
    Act.CHANGE_PROJECT: ({MANAGER}, {MANAGER}),
    Act.CHANGE_MEMBERS: ({MANAGER}, {MANAGER}),
}
CASES = [(act, role, is_own) for act in Act for role in ROLES for is_own in (False, True)]


def may(act: Act, role: Role | None, is_own: bool) -> bool:
    return role in MATRIX[act][is_own]


def test_every_act_is_in_the_matrix() -> None:
    assert set(MATRIX) == set(Act)


@pytest.mark.parametrize(("act", "role", "is_own"), CASES)
def test_a_role_allows_what_the_matrix_says(act: Act, role: Role | None, is_own: bool) -> None:
    assert allowed(act, role=role, is_own=is_own) == may(act, role, is_own)


@pytest.mark.parametrize("act", Act)
def test_a_higher_role_may_do_all_that_a_lower_one_may(act: Act) -> None:
    for is_own in (False, True):
        rights = [allowed(act, role=role, is_own=is_own) for role in ROLES]
        assert rights == sorted(rights)


@pytest.mark.parametrize("act", Act)
def test_an_operator_may_do_everything_without_a_role(act: Act) -> None:
    assert allowed(act, role=None, is_operator=True)


@pytest.fixture
def submitter(db: None) -> User:
    return a_person("submitter@example.com")


@pytest.fixture
def project(submitter: User) -> Project:
    return a_project(members={submitter: SUBMITTER})


@pytest.fixture
def job(project: Project, submitter: User) -> Job:
    return lifecycle.submit(a_spec(project, submitter))


def test_a_project_answers_from_the_matrix(project: Project) -> None:
    for role in ROLES:
        person = a_person(f"{role}@example.com")
        if role is not None:
            project.membership_set.create(user=person, role=role)
        for act in Act:
            assert project.may(person, act) == may(act, role, False), (role, act)


def test_a_job_answers_from_the_matrix_and_knows_its_own_submitter(job: Job, submitter: User) -> None:
    membership = job.project.membership_set.get(user=submitter)
    for role in (VIEWER, SUBMITTER, APPROVER, MANAGER):
        other = a_person(f"{role}@example.com")
        job.project.membership_set.create(user=other, role=role)
        membership.role = role
        membership.save()
        for act in Act:
            assert job.may(other, act) == may(act, role, False), (role, act)
            assert job.may(submitter, act) == may(act, role, True), (role, act)


def test_who_left_the_project_may_do_nothing_to_their_own_job(job: Job, submitter: User) -> None:
    job.project.membership_set.all().delete()
    assert not any(job.may(submitter, act) for act in Act)


def test_who_is_not_active_or_not_signed_in_may_do_nothing(job: Job, submitter: User) -> None:
    submitter.is_active = False
    operator = a_person("operator@example.com", is_superuser=True, is_active=False)
    for person in (submitter, operator, AnonymousUser()):
        assert not any(job.may(person, act) or job.project.may(person, act) for act in Act)


def test_an_operator_sees_and_does_everything_everywhere(job: Job) -> None:
    operator = a_person("operator@example.com", is_superuser=True)
    assert all(job.may(operator, act) and job.project.may(operator, act) for act in Act)
    assert list(Job.objects.visible_to(operator)) == [job]
    assert list(Project.objects.open_to(operator)) == [job.project]


def test_lists_show_what_the_matrix_lets_one_see(job: Job, submitter: User) -> None:
    stranger, viewer = a_person("stranger@example.com"), a_person("viewer@example.com")
    other = a_project("other", members={stranger: MANAGER})
    job.project.membership_set.create(user=viewer, role=VIEWER)
    assert list(Job.objects.visible_to(viewer)) == [job]
    assert list(Project.objects.visible_to(viewer)) == [job.project]
    assert list(Job.objects.visible_to(stranger)) == []
    assert list(Project.objects.visible_to(stranger)) == [other]
    assert list(Job.objects.visible_to(AnonymousUser())) == []
    assert list(Project.objects.visible_to(AnonymousUser())) == []


def test_projects_to_submit_to_are_open_and_ones_role_there_allows_it(
    project: Project, submitter: User
) -> None:
    viewer = a_person("viewer@example.com")
    project.membership_set.create(user=viewer, role=VIEWER)
    assert list(Project.objects.open_to(submitter)) == [project]
    assert list(Project.objects.open_to(viewer)) == []
    project.archived_at = project.created_at
    project.save()
    assert list(Project.objects.open_to(submitter)) == []
