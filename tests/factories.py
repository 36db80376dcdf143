"""Three plain functions that make what most tests start from."""

from decimal import Decimal
from typing import Any

from jobs import clock
from jobs.access import Role
from jobs.lifecycle import JobSpec
from jobs.models import (
    Budget,
    BudgetPeriod,
    Connection,
    Membership,
    Project,
    Scope,
    Secret,
    User,
    Workspace,
)
from tests import catalogue

PASSWORD = "correct horse battery"


def a_person(email: str = "mira@example.com", **extra: Any) -> User:
    """Make someone who can sign in."""
    return User.objects.create_user(email, PASSWORD, **{"name": email.split("@")[0].title(), **extra})


def a_project(
    slug: str = "proofs",
    *,
    cap: str | None = "100",
    base_url: str = "http://127.0.0.1:9/v1",
    is_practice: bool = True,
    members: dict[User, Role] | None = None,
) -> Project:
    """Make a project with a cap in USD, on a practice (or real) connection, with the catalogue in place."""
    catalogue.restore()
    workspace = Workspace.objects.first() or Workspace.objects.create(pk=1, default_model_id="o3-pro")
    if workspace.default_model_id is None:
        Workspace.objects.update(default_model="o3-pro")
    name = "practice" if is_practice else "real"
    connection = Connection.objects.filter(name=name).first() or Connection.objects.create(
        name=name, is_practice=is_practice, base_url=base_url, key=Secret.of("sk-test-key")
    )
    project = Project.objects.create(name=slug.title(), slug=slug, connection=connection)
    if cap is not None:
        # As `spend.set_cap` leaves a project that has no job yet, in a tenth of its time.
        budget = Budget.objects.create(scope=Scope.PROJECT, project=project, cap=Decimal(cap))
        month = clock.month_of(workspace.today())
        BudgetPeriod.objects.create(budget=budget, month=month, cap=budget.cap)
    for user, role in (members or {}).items():
        Membership.objects.create(user=user, project=project, role=role)
    return project


def a_spec(project: Project, by: User, **wanted: Any) -> JobSpec:
    """Make a spec that can be sent: o3-pro's living default, a short prompt, 20,000 tokens."""
    choice = project.default_choice(Workspace.objects.the().today())
    assert choice is not None
    return JobSpec(
        project=project,
        by=by,
        **{
            "prompt": "Is lemma 4.7 true without compactness?",
            "model": choice.spec.pk,
            "mode": choice.mode,
            "effort": "low",
            "max_output_tokens": 20_000,
            **wanted,
        },
    )
