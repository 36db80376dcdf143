"""Making projects and people from a shell, and the link that lets someone in."""

import io
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from jobs.access import Role
from jobs.models import Budget, Connection, Membership, Project, SignInLink, User
from tests.factories import a_project


def run(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue().strip()


def connect(name: str, *, is_practice: bool = False) -> Connection:
    return Connection.objects.create(name=name, base_url="https://a.example/v1", is_practice=is_practice)


@pytest.fixture
def practice(db: None) -> Connection:
    return connect("Practice", is_practice=True)


def test_a_project_gets_its_cap_and_its_manager(practice: Connection) -> None:
    person = User.objects.create_user("mira@example.com")
    said = run("create_project", "proof-checks", "--cap", "12.50", "--manager", "Mira@example.com")
    project = Project.objects.get()
    assert (project.slug, project.name, project.connection) == ("proof-checks", "Proof checks", practice)
    assert Budget.objects.get(project=project).cap == Decimal("12.50")
    assert project.role_of(person) is Role.MANAGER
    assert said == "/projects/proof-checks/ made: practice money, $12.50 a month."


def test_the_only_real_connection_comes_first(practice: Connection) -> None:
    real = connect("OpenAI")
    run("create_project", "proofs", "--cap", "1", "--name", "All proofs")
    assert Project.objects.get().connection == real
    assert Project.objects.get().name == "All proofs"


def test_among_several_real_connections_one_must_be_named(practice: Connection) -> None:
    connect("OpenAI")
    azure = connect("Azure")
    with pytest.raises(CommandError, match=r"name one of several\. Known: Azure, OpenAI, Practice"):
        run("create_project", "proofs", "--cap", "1")
    run("create_project", "proofs", "--cap", "1", "--connection", "Azure")
    assert Project.objects.get().connection == azure


@pytest.mark.django_db
def test_without_a_connection_there_is_no_project() -> None:
    with pytest.raises(CommandError, match="there is none yet"):
        run("create_project", "proofs", "--cap", "1")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["proofs", "--cap", "much"], "cap: much is not an amount"),
        (["proofs", "--cap", "-1"], "cap: -1"),
        (["proofs", "--cap", "NaN"], "cap: NaN"),
        (["proofs", "--cap", "1e12"], "cap: 1e12"),
        (["no proofs", "--cap", "1"], "slug: "),
        (["p" * 61, "--cap", "1"], "slug: "),
        (["proofs", "--cap", "1", "--connection", "Mars"], "connection: there is no 'Mars'"),
        (["proofs", "--cap", "1", "--manager", "no@example.com"], "manager: there is no no@example.com"),
    ],
)
def test_a_project_that_cannot_be_made_leaves_nothing(
    practice: Connection, words: list[str], complaint: str
) -> None:
    with pytest.raises(CommandError, match=complaint) as wrong:
        run("create_project", *words)
    assert wrong.value.returncode == 1
    assert not Project.objects.exists()
    assert not Budget.objects.exists()


def test_a_slug_is_used_once(practice: Connection) -> None:
    run("create_project", "proofs", "--cap", "1")
    with pytest.raises(CommandError, match="slug: "):
        run("create_project", "proofs", "--cap", "1")


@pytest.mark.django_db
def test_someone_new_comes_in_by_the_link_that_is_printed() -> None:
    link = run("create_user", "Mira@Example.com", "--name", "Mira Okafor")
    person = User.objects.get()
    assert (person.email, person.name, person.is_superuser) == ("mira@example.com", "Mira Okafor", False)
    assert not person.has_usable_password()
    address, _, token = link.partition("#")
    assert address == "/enter/"
    assert SignInLink.objects.use(token) == person


@pytest.mark.django_db
def test_an_operator_is_staff_who_may_do_everything() -> None:
    run("create_user", "mira@example.com", "--operator")
    person = User.objects.get()
    assert (person.is_superuser, person.is_staff) == (True, True)


@pytest.mark.django_db
@pytest.mark.parametrize("role", Role)
def test_someone_new_may_be_a_member_at_once(role: Role) -> None:
    project = a_project()
    run("create_user", "mira@example.com", "--project", "proofs", "--role", role.name.lower())
    assert project.role_of(User.objects.get()) is role


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["mira"], "email: mira is not an e-mail address"),
        (["MIRA@example.com"], "there is MIRA@example.com already"),
        (["new@example.com", "--role", "viewer"], "go together"),
        (["new@example.com", "--project", "proofs"], "go together"),
        (["new@example.com", "--project", "proofs", "--role", "king"], "role: one of viewer, submitter"),
        (["new@example.com", "--project", "nowhere", "--role", "viewer"], "there is no project 'nowhere'"),
    ],
)
def test_a_person_who_cannot_be_made_leaves_nothing(words: list[str], complaint: str) -> None:
    a_project()
    User.objects.create_user("mira@example.com")
    with pytest.raises(CommandError, match=complaint):
        run("create_user", *words)
    assert User.objects.count() == 1
    assert not Membership.objects.exists()
    assert not SignInLink.objects.exists()


@pytest.mark.django_db
def test_a_link_is_whole_where_the_address_is_known(settings: Settings) -> None:
    person = User.objects.create_user("mira@example.com")
    settings.PONDER_URL = "https://ponder.example.com"
    link = run("sign_in_link", " MIRA@example.com")
    assert link.startswith("https://ponder.example.com/enter/#")
    assert SignInLink.objects.use(link.partition("#")[2]) == person


@pytest.mark.django_db
def test_nobody_and_who_left_get_no_link() -> None:
    User.objects.create_user("left@example.com", is_active=False)
    for email in ("left@example.com", "nobody@example.com"):
        with pytest.raises(CommandError, match=f"there is no active person {email}"):
            run("sign_in_link", email)
    assert not SignInLink.objects.exists()
