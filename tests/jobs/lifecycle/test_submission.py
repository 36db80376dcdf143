"""What makes a job sendable, and what a submission leaves behind: all of it or nothing."""

import dataclasses
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError
from django.utils import timezone
from django_q.models import OrmQ
from pytest_django import DjangoAssertNumQueries

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.lifecycle import SpecError
from jobs.models import (
    Attempt,
    Connection,
    Event,
    Job,
    LedgerEntry,
    Membership,
    ModelSpec,
    Price,
    Project,
    Prompt,
    Refusal,
    Status,
    User,
    Workspace,
)
from tests.factories import a_project, a_spec
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}  # fmt: skip  # noqa: E501


def problems(project: Project, person: User, **wanted: Any) -> dict[str, str]:
    spec = a_spec(project, person, **{"model": "gpt-6-sol", "mode": "standard", **wanted})
    found = lifecycle.problems_of(spec)
    if found:
        with pytest.raises(SpecError) as refused:
            lifecycle.submit(spec)
        assert refused.value.errors == found
    return found


def test_a_submission_makes_job_attempt_hold_and_message_together(submit: Submit, person: User) -> None:
    job = submit(tags=("b", " a ", "b"), title="  Lemma\n4.7 ")
    attempt = Attempt.objects.get()
    hold = LedgerEntry.objects.get()
    assert (job.status, job.tags, job.prompt.title) == (Status.WAITING, ["a", "b"], "Lemma 4.7")
    assert (attempt.state, attempt.worst_case) == ("planned", job.worst_case)
    assert (hold.kind, hold.amount, hold.attempt, hold.user) == ("hold", job.worst_case, attempt, person)
    assert hold.price == attempt.price
    assert (hold.spent_on, hold.month) == (Workspace.objects.the().today(), hold.spent_on.replace(day=1))
    assert Event.objects.get().kind == "submitted"
    assert OrmQ.objects.count() == 1
    price = attempt.price
    dearest = price.rates.dearest_input
    assert job.worst_case == (job.input_bound * dearest + 20_000 * price.output) / 1_000_000


def test_a_pro_mode_holds_for_all_its_passes(submit: Submit) -> None:
    assert submit(mode="pro").worst_case == 6 * submit().worst_case


def test_a_refused_submission_leaves_nothing_but_the_refusal(submit: Submit, project: Project) -> None:
    spend.set_cap(Decimal("0.10"), project=project)
    with pytest.raises(spend.BudgetRefused) as refused:
        submit()
    assert not Job.objects.exists()
    assert not Attempt.objects.exists()
    assert not Prompt.objects.exists()
    assert not LedgerEntry.objects.exists()
    assert not OrmQ.objects.exists()
    row = Refusal.objects.get()
    assert (row.ceiling, row.shortfall) == (refused.value.ceiling, refused.value.ceiling - Decimal("0.10"))


def test_a_submission_key_makes_one_job_however_often_it_comes(submit: Submit) -> None:
    first = submit(submission_key="k1")
    assert submit(submission_key="k1") == first
    assert submit(submission_key="k1", prompt="Something else?") != first, "a changed form is its own job"
    assert submit(submission_key="k2") != first
    assert submit() != submit(), "without a key each is its own"
    assert Job.objects.count() == 5


def test_a_submission_that_loses_the_race_for_its_key_returns_the_winners_job(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = submit(submission_key="k1")
    from jobs.lifecycle import submission

    look = submission.submitted_before
    looks = iter([lambda _: None, look])
    monkeypatch.setattr(submission, "submitted_before", lambda wanted: next(looks)(wanted))
    assert submit(submission_key="k1") == first
    assert Job.objects.count() == 1


def test_another_persons_key_is_not_ones_own(submit: Submit, project: Project) -> None:
    submit(submission_key="k1")
    other = User.objects.create_user("other@example.com", name="Other")
    Membership.objects.create(user=other, project=project, role=Role.SUBMITTER)
    assert submit(by=other, submission_key="k1").submitted_by == other


def test_what_the_database_refuses_for_another_reason_is_not_taken_for_a_repetition(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise IntegrityError

    monkeypatch.setattr("jobs.lifecycle.submission.record", refuse)
    with pytest.raises(IntegrityError):
        submit(submission_key="k1")
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("wanted", "field", "says"),
    [
        ({"prompt": " \n"}, "prompt", "Write what it should think about."),
        ({"prompt": "x" * 3_999_999, "instructions": "xy"}, "prompt", "at most 4,000,000 characters"),
        ({"prompt": "a\x00b"}, "prompt", "NUL"),
        ({"instructions": "a\ud800b"}, "prompt", "surrogate"),
        ({"title": "a\x00b"}, "title", "NUL"),
        ({"tags": ("x" * 61,)}, "tags", "1 to 60"),
        ({"tags": (" ",)}, "tags", "1 to 60"),
        ({"tags": ("a\x00",)}, "tags", "1 to 60"),
        ({"schema": SCHEMA, "schema_name": "no spaces"}, "schema_name", "1 to 64 letters"),
        ({"schema": {"type": "object"}, "schema_name": "s"}, "schema", ""),
        ({"schema": {"type": "array"}, "schema_name": "s"}, "schema", ""),
        ({"model": "gpt-99"}, "model", "no such model"),
        ({"model": "o4-mini"}, "model", "shut down on 23 October 2026. Its successor is gpt-6-luna."),
        ({"effort": "extreme"}, "effort", "gpt-6-sol has the efforts none, low"),
        ({"mode": "turbo"}, "mode", "gpt-6-sol has the modes standard, pro."),
        ({"max_output_tokens": 15}, "max_output_tokens", "16 to 128,000 tokens"),
        ({"max_output_tokens": 0}, "max_output_tokens", "16 to 128,000 tokens"),
        ({"max_output_tokens": 128_001}, "max_output_tokens", "16 to 128,000 tokens"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_says_which_field_is_in_the_way(
    project: Project, person: User, wanted: dict[str, Any], field: str, says: str
) -> None:
    found = problems(project, person, **wanted)
    assert list(found) == [field]
    assert says in found[field]


def test_several_schema_problems_are_counted(project: Project, person: User) -> None:
    two = {"type": "object", "properties": {"a": {"type": "object"}, "b": {"type": "object"}}}
    assert " more." in problems(project, person, schema=two, schema_name="s")["schema"]


def test_a_model_shut_down_without_a_successor_names_none(project: Project, person: User) -> None:
    ModelSpec.objects.filter(pk="o4-mini").update(successor=None)
    assert problems(project, person, model="o4-mini")["model"] == "o4-mini was shut down on 23 October 2026."


def test_a_model_without_a_price_cannot_be_chosen(project: Project, person: User) -> None:
    Price.objects.filter(model="gpt-6-sol").update(valid_from=timezone.now().date().replace(year=2100))
    assert "has no price yet" in problems(project, person)["model"]


def test_a_spec_is_checked_by_one_look_at_its_model_and_price(
    project: Project, person: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    wanted = a_spec(project, person)
    # Of role, workspace, model, price, and the models that the project uses.
    with django_assert_num_queries(5):
        lifecycle.spec.check(wanted)


def test_a_project_may_allow_some_models_and_efforts_only(project: Project, person: User) -> None:
    project.allowed_efforts = ["high"]
    project.save()
    assert problems(project, person) == {"effort": "This project does not use that effort."}
    project.allowed_models.add("gpt-6-luna")
    assert problems(project, person) == {"model": "This project does not use gpt-6-sol."}
    assert problems(project, person, model="gpt-6-luna", effort="high") == {}


def test_an_undocumented_effort_needs_a_click_through(project: Project, person: User) -> None:
    ModelSpec.objects.filter(pk="gpt-6-sol").update(undocumented_efforts={"ultra": "Documented nowhere"})
    found = problems(project, person, effort="ultra")
    assert found == {"effort": "Documented nowhere. Confirm it to send it all the same."}
    assert problems(project, person, effort="ultra", accepts_undocumented=True) == {}


def test_a_job_above_the_projects_limit_is_refused(project: Project, person: User) -> None:
    project.job_limit = Decimal("0.10")
    project.save()
    found = problems(project, person)
    assert found == {
        "max_output_tokens": "Over the $0.10 limit per job of this project. Lower the output limit."
    }
    assert problems(project, person, max_output_tokens=1_000) == {}


def test_who_may_submit_and_where(project: Project, person: User) -> None:
    viewer = User.objects.create_user("viewer@example.com", name="Viewer")
    Membership.objects.create(user=viewer, project=project, role=Role.VIEWER)
    assert problems(project, viewer) == {"project": "You may not submit to this project."}
    project.archived_at = timezone.now()
    assert problems(project, person) == {"project": "This project is archived."}


def test_a_project_without_a_cap_admits_nothing(person: User) -> None:
    project = a_project("capless", cap=None, members={person: Role.MANAGER})
    with pytest.raises(spend.NoCap):
        lifecycle.submit(a_spec(project, person))
    assert not Job.objects.exists()


def test_the_ceiling_counts_prompt_instructions_and_schema(project: Project, person: User) -> None:
    plain = a_spec(project, person, model="gpt-6-sol", mode="standard", prompt="ö" * 10)
    found = lifecycle.ceiling_of(plain)
    assert found is not None
    assert found.input_bound == 1_020
    more = lifecycle.ceiling_of(dataclasses.replace(plain, instructions="abc", schema_name="s", schema={}))
    assert more is not None
    assert more.input_bound == 1_020 + 1_003 + 1_002
    assert more.worst_case > found.worst_case


@pytest.mark.parametrize("wanted", [{"model": "o4-mini"}, {"model": "gpt-99"}, {"max_output_tokens": 0}])
def test_what_cannot_be_chosen_has_no_ceiling(project: Project, person: User, wanted: dict[str, Any]) -> None:
    assert lifecycle.ceiling_of(a_spec(project, person, **wanted)) is None


@pytest.mark.parametrize(
    ("title", "prompt", "shown"),
    [
        ("Given", "The prompt", "Given"),
        ("", "\n\n  # Is lemma 4.7 true?\nIt says …", "Is lemma 4.7 true?"),
        ("", "# ", "Untitled"),
        ("x" * 121, "p", "x" * 119 + "…"),
    ],
)
def test_a_job_is_shown_by_its_title_or_its_first_line(
    project: Project, person: User, title: str, prompt: str, shown: str
) -> None:
    assert a_spec(project, person, title=title, prompt=prompt).shown_title == shown


def test_equal_jobs_have_equal_fingerprints(project: Project, person: User) -> None:
    spec = a_spec(project, person, prompt="A  B", title="One")
    assert dataclasses.replace(spec, prompt=" A B\n", title="Two").fingerprint == spec.fingerprint
    for change in ({"prompt": "A C"}, {"effort": "high"}, {"mode": "x"}, {"schema": {}}, {"model": "y"}):
        assert dataclasses.replace(spec, **change).fingerprint != spec.fingerprint


def test_a_prompt_appears_in_no_repr(project: Project, person: User) -> None:
    spec = a_spec(project, person, prompt="canary", title="canary", instructions="canary", schema="canary")
    assert "canary" not in repr(spec)


@pytest.mark.parametrize(
    ("model", "wanted", "expected"),
    [
        ("gpt-6-sol", {}, ("gpt-6-sol", "standard", "low", 20_000)),
        ("o4-mini", {"effort": "medium"}, ("gpt-6-luna", "standard", "medium", 20_000)),
        ("gone", {"effort": "?", "max_output_tokens": 200_000}, ("gpt-6-sol", "standard", "medium", 128_000)),
        ("alone", {}, ("alone", "standard", "low", 20_000)),
    ],
)  # fmt: skip
def test_a_job_on_a_retired_model_goes_to_its_living_successor(
    project: Project,
    person: User,
    model: str,
    wanted: dict[str, Any],
    expected: tuple[str, str, str, int],
) -> None:
    ModelSpec.objects.filter(pk="gpt-6-sol").update(default_effort="medium")
    for name, successor in (("gone", "gpt-6-sol"), ("alone", None)):
        ModelSpec.objects.create(
            id=name, name=name, family="old", rung=1, context_window=1, max_output_tokens=1,
            default_effort="odd", efforts=["odd"], modes=["standard"], successor_mode="odd",
            shutdown_date=timezone.now().date().replace(year=2025), successor_id=successor,
        )  # fmt: skip
    asked = a_spec(project, person, **{"model": model, "mode": "standard", **wanted})
    today = Workspace.objects.the().today()
    found = lifecycle.successor_spec(asked, ModelSpec.objects.get(pk=model), today)
    assert (found.model, found.mode, found.effort, found.max_output_tokens) == expected


def test_a_project_that_became_real_meanwhile_takes_no_practice_job(project: Project, person: User) -> None:
    """What was looked at as practice would be sent for money that no cap of real projects holds."""
    spend.set_cap(Decimal("0.01"))
    real = Connection.objects.create(name="real", base_url="http://127.0.0.1:9/v1")
    wanted = a_spec(project, person, model="gpt-6-sol", mode="standard")
    Project.objects.filter(pk=project.pk).update(connection=real)
    with pytest.raises(SpecError, match="real money since a moment ago"):
        lifecycle.submit(wanted)
    assert not Job.objects.exists()
    again = dataclasses.replace(wanted, project=Project.objects.get(pk=project.pk))
    with pytest.raises(spend.BudgetRefused):
        lifecycle.submit(again)


def test_what_is_settled_about_a_project_meanwhile_holds(project: Project, person: User) -> None:
    wanted = a_spec(project, person, model="gpt-6-sol", mode="standard")
    Project.objects.filter(pk=project.pk).update(job_limit=Decimal("0.01"))
    with pytest.raises(SpecError, match=r"Over the \$0.01 limit"):
        lifecycle.submit(wanted)
    Project.objects.filter(pk=project.pk).update(archived_at=timezone.now())
    with pytest.raises(SpecError, match="archived"):
        lifecycle.submit(wanted)
    assert not Job.objects.exists()
