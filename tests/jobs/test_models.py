"""The records: what the database refuses, what QuerySets find, how the catalogue is seeded and followed."""

import datetime as dt
import json
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from pytest_django import Settings

from jobs import lifecycle
from jobs.access import Role
from jobs.models import (
    FINAL,
    UNFINISHED,
    Attempt,
    AttemptState,
    Budget,
    BudgetPeriod,
    Connection,
    EntryKind,
    Job,
    KeySource,
    LedgerEntry,
    ModelSpec,
    Price,
    Project,
    Secret,
    SecretUnreadable,
    SignInLink,
    Status,
    User,
    Workspace,
)
from jobs.models.catalogue import CATALOGUE
from tests.factories import a_person, a_project, a_spec

BEFORE_THE_SHUTDOWN, AFTER_IT = dt.date(2026, 11, 30), dt.date(2027, 3, 1)
ENTRIES: list[dict[str, Any]] = json.loads(CATALOGUE.read_text())["models"]


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create_user("mira@example.com")


@pytest.fixture
def project(person: User) -> Project:
    return a_project(members={person: Role.MANAGER})


@pytest.fixture
def job(project: Project, person: User) -> Job:
    return lifecycle.submit(a_spec(project, person))


def refuses(change: Any, name: str) -> None:
    """Expect the constraint or trigger named to refuse a change."""
    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        change()


# The ledger


@pytest.mark.parametrize("change", ["update", "delete", "save"])
def test_a_ledger_row_is_never_changed(job: Job, change: str) -> None:
    rows = LedgerEntry.objects.filter(job=job)
    entry = rows.get()
    refuses(
        {"update": lambda: rows.update(amount=1), "delete": rows.delete, "save": entry.save}[change],
        "append-only",
    )
    assert rows.get().amount == entry.amount


def test_not_even_plain_sql_changes_the_ledger(job: Job) -> None:
    def erase() -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM jobs_ledgerentry")

    refuses(erase, "append-only")


def entry_like(hold: LedgerEntry, **changed: Any) -> LedgerEntry:
    """Return a new row like a hold, not yet saved."""
    names = ("project_id", "user_id", "job_id", "attempt_id", "month", "spent_on")
    given = {name: getattr(hold, name) for name in names}
    return LedgerEntry(**{**given, "amount": Decimal(1), "idempotency_key": "another", **changed})


def test_an_attempt_has_one_hold_and_one_charge(job: Job) -> None:
    hold = LedgerEntry.objects.get(job=job)
    refuses(entry_like(hold, kind=EntryKind.HOLD).save, "one_hold_an_attempt")
    entry_like(hold, kind=EntryKind.CHARGE).save()
    refuses(entry_like(hold, kind=EntryKind.CHARGE, idempotency_key="3rd").save, "one_charge_an_attempt")


@pytest.mark.parametrize(
    ("kind", "amount"), [(EntryKind.HOLD, "-1"), (EntryKind.CHARGE, "-1"), (EntryKind.RELEASE, "1")]
)
def test_a_ledger_amount_has_the_sign_of_its_kind(job: Job, kind: EntryKind, amount: str) -> None:
    hold = LedgerEntry.objects.get(job=job)
    refuses(entry_like(hold, kind=kind, amount=Decimal(amount)).save, "ledger_amount_has_its_sign")


def test_money_that_is_no_grant_names_its_attempt(job: Job) -> None:
    hold = LedgerEntry.objects.get(job=job)
    loose = entry_like(hold, kind=EntryKind.ADJUST, attempt_id=None)
    refuses(loose.save, "ledger_row_names_its_attempt")
    granted = entry_like(hold, kind=EntryKind.GRANT, attempt_id=None, job_id=None)
    refuses(granted.save, "ledger_grant_names_its_budget")
    granted.budget = Budget.objects.get()
    granted.save()


def test_an_idempotency_key_is_used_once(job: Job) -> None:
    hold = LedgerEntry.objects.get(job=job)
    twin = entry_like(hold, kind=EntryKind.ADJUST, idempotency_key=hold.idempotency_key)
    refuses(twin.save, "idempotency_key")


def test_what_the_ledger_names_cannot_be_deleted(job: Job) -> None:
    attempt = Attempt.objects.get(job=job)
    for row in (attempt, job, job.project, job.submitted_by, job.project.connection):
        with pytest.raises(IntegrityError):
            row.delete()


def test_sums_take_the_kinds_asked_for(job: Job) -> None:
    hold = LedgerEntry.objects.get(job=job)
    entry_like(hold, kind=EntryKind.RELEASE, amount=Decimal("-0.5")).save()
    rows = LedgerEntry.objects.filter(job=job)
    assert rows.total(EntryKind.HOLD, EntryKind.RELEASE) == hold.amount - Decimal("0.5")
    assert rows.total(EntryKind.CHARGE) == 0


# Budgets


def test_a_scope_has_one_budget(project: Project) -> None:
    refuses(Budget(scope="project", project=project, cap=1).save, "one_budget_a_scope")
    Budget.objects.create(scope="workspace", cap=1)
    refuses(Budget(scope="workspace", cap=2).save, "one_budget_a_scope")


def test_a_budget_names_the_target_of_its_scope(project: Project, person: User) -> None:
    for wrong in (
        {"scope": "workspace", "project": project},
        {"scope": "project"},
        {"scope": "member", "project": project},
        {"scope": "member", "user": person, "project": project},
        {"scope": "token", "user": person},
        {"scope": "galaxy"},
    ):
        refuses(Budget(cap=1, **wrong).save, "budget_scope_has_its_target")


def test_caps_and_what_is_committed_are_never_negative(job: Job) -> None:
    refuses(lambda: Budget.objects.update(cap=-1), "cap_not_negative")
    for field in ("spent", "held"):
        refuses(lambda field=field: BudgetPeriod.objects.update(**{field: -1}), "spent_and_held_not_negative")


def test_a_month_is_opened_once(job: Job) -> None:
    period = BudgetPeriod.objects.get()
    refuses(BudgetPeriod(budget=period.budget, month=period.month, cap=1).save, "one_period_a_month")


def test_what_is_left_counts_grants_and_turns_negative_while_overrun() -> None:
    period = BudgetPeriod(cap=Decimal(10), granted=Decimal(5), spent=Decimal(9), held=Decimal(2))
    assert (period.committed, period.left) == (11, 4)
    period.spent = Decimal(20)
    assert period.left == -7


def test_a_practice_project_counts_in_its_own_budget_only(project: Project, person: User) -> None:
    everyone = Budget.objects.create(scope="workspace", cap=1)
    theirs = Budget.objects.create(scope="member", user=person, cap=1)
    real = a_project("real", is_practice=False)
    own = [Budget.objects.get(project=which) for which in (project, real)]
    assert list(Budget.objects.applying_to(project, person.pk, None)) == [own[0]]
    found = list(Budget.objects.applying_to(real, person.pk, None))
    assert set(found) == {own[1], everyone, theirs}
    assert [budget.pk for budget in found] == sorted(budget.pk for budget in found)


def test_practice_enters_no_total_but_its_own(job: Job, person: User) -> None:
    everyone = Budget.objects.create(scope="workspace", cap=1)
    theirs = Budget.objects.create(scope="member", user=person, cap=1)
    assert not LedgerEntry.objects.real().exists()
    assert not Job.objects.real().exists()
    assert not Project.objects.real().exists()
    assert not everyone.ledger().exists()
    assert not theirs.ledger().exists()
    assert Budget.objects.get(project=job.project).ledger().count() == 1


# Jobs and attempts


def test_a_status_outside_the_list_is_refused(job: Job) -> None:
    refuses(lambda: Job.objects.update(status="lost"), "job_status_known")


def test_a_job_costs_nothing_negative(job: Job) -> None:
    refuses(lambda: Job.objects.update(cost=-1), "job_money_not_negative")


def test_every_status_is_final_or_not() -> None:
    assert set(FINAL).isdisjoint(UNFINISHED)
    assert {*FINAL, *UNFINISHED} == set(Status)


def another_attempt(job: Job, **changed: Any) -> Attempt:
    first = Attempt.objects.filter(job=job).earliest("number")
    given = {
        "number": 2,
        "connection": first.connection,
        "price": first.price,
        "worst_case": first.worst_case,
    }
    return Attempt(job=job, **{**given, **changed})


@pytest.mark.parametrize("state", [AttemptState.PLANNED, AttemptState.SENDING])
def test_no_two_attempts_of_a_job_can_be_on_the_wire(job: Job, state: AttemptState) -> None:
    refuses(another_attempt(job, state=state).save, "one_attempt_being_sent")
    Attempt.objects.filter(job=job).update(state=AttemptState.ENDED)
    another_attempt(job, state=state).save()


def test_attempts_are_numbered(job: Job) -> None:
    refuses(another_attempt(job, number=1, state=AttemptState.ENDED).save, "attempt_number_once")


def test_a_response_belongs_to_one_attempt_of_its_connection(job: Job) -> None:
    Attempt.objects.filter(job=job).update(state=AttemptState.KNOWN, response_id="resp_1")
    twin = another_attempt(job, state=AttemptState.KNOWN, response_id="resp_1")
    refuses(twin.save, "response_known_once")
    elsewhere = Connection.objects.create(name="Azure", base_url="https://x.example/v1")
    another_attempt(job, state=AttemptState.KNOWN, response_id="resp_1", connection=elsewhere).save()


def test_a_submission_key_makes_one_job(job: Job, person: User, project: Project) -> None:
    twins = [lifecycle.submit(a_spec(project, person, submission_key="k1")) for _ in range(2)]
    assert twins[0] == twins[1]
    refuses(lambda: Job.objects.update(submission_key="k1"), "submission_key")


def due(job: Job, status: Status, seconds: float = -1) -> None:
    Job.objects.filter(pk=job.pk).update(
        status=status, next_action_at=timezone.now() + dt.timedelta(seconds=seconds)
    )


def test_waiting_jobs_are_sent_when_due_and_their_connection_is_open(job: Job) -> None:
    due(job, Status.WAITING)
    assert Job.objects.to_send().get() == job
    due(job, Status.WAITING, seconds=30)
    assert not Job.objects.to_send().exists()
    assert Job.objects.to_send(within=dt.timedelta(minutes=1)).exists()
    due(job, Status.WAITING)
    for closed in ({"paused_at": timezone.now()}, {"not_before": timezone.now() + dt.timedelta(minutes=1)}):
        Connection.objects.update(**closed)
        assert not Job.objects.to_send().exists()
        Connection.objects.update(paused_at=None, not_before=None)
    Connection.objects.update(not_before=timezone.now() - dt.timedelta(seconds=1))
    assert Job.objects.to_send().exists()


@pytest.mark.parametrize("status", Status)
def test_jobs_in_flight_and_watched_ones_are_polled(job: Job, status: Status) -> None:
    due(job, status)
    not_known = {Status.WAITING, Status.SENDING, Status.UNCONFIRMED, Status.AWAITING_APPROVAL}
    assert Job.objects.to_poll().exists() == (status not in not_known)
    Job.objects.update(next_action_at=None)
    assert not Job.objects.to_poll().exists()


def test_connections_are_open_or_paused(project: Project) -> None:
    assert Connection.objects.open().exists()
    assert not Connection.objects.paused().exists()
    Connection.objects.update(paused_at=timezone.now())
    assert not Connection.objects.open().exists()
    assert Connection.objects.paused().exists()


def test_a_jobs_time_runs_from_its_sending_to_its_end(job: Job) -> None:
    now = timezone.now()
    job.sent_at, job.finished_at = now - dt.timedelta(seconds=90), None
    assert job.seconds_taken(now) == 90
    job.finished_at = now - dt.timedelta(seconds=30)
    assert job.seconds_taken(now) == 60


def test_the_workspace_is_one_row(db: None) -> None:
    assert Workspace.objects.the() == Workspace.objects.the()
    refuses(Workspace(pk=2).save, "workspace_is_one_row")


def test_a_person_is_a_member_once(project: Project, person: User) -> None:
    refuses(lambda: project.membership_set.create(user=person, role=1), "one_membership_each")


# Secrets and connections


def test_a_secret_shows_nothing_of_itself(db: None) -> None:
    secret = Secret.of("sk-1")
    assert "sk-1" not in f"{secret} {secret!r} {secret.token}"
    assert secret.token not in f"{secret} {secret!r}"
    assert (bool(secret), bool(Secret(""))) == (True, False)
    assert Secret.of("").reveal() == ""


def test_a_key_is_ciphertext_in_the_database(project: Project) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT key FROM jobs_connection")
        stored = cursor.fetchone()[0]
    assert "sk-test-key" not in stored
    assert Connection.objects.get().reveal_key() == "sk-test-key"


def test_a_plain_key_cannot_be_stored_by_mistake(project: Project) -> None:
    found = Connection.objects.get()
    found.key = "sk-plain"  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"Secret\.of"):
        found.save()


def test_keys_are_rotated_and_a_lost_one_is_an_error_not_ciphertext(settings: Settings) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.PONDER_KEYS = [old]
    secret = Secret.of("sk-1")
    settings.PONDER_KEYS = [new, old]
    rotated = secret.rotated()
    settings.PONDER_KEYS = [new]
    assert rotated.reveal() == "sk-1"
    with pytest.raises(SecretUnreadable):
        secret.reveal()
    with pytest.raises(SecretUnreadable):
        Secret("no ciphertext at all").reveal()


@pytest.mark.parametrize("moved", [{"base_url": "https://elsewhere.example/v1"}, {"kind": "azure"}])
def test_a_key_stays_with_the_address_it_was_given_for(project: Project, moved: dict[str, str]) -> None:
    found = Connection.objects.get()
    found.key_set_at = timezone.now()
    found.save()
    for name, value in moved.items():
        setattr(found, name, value)
    found.save()
    found.refresh_from_db()
    assert not found.key
    assert found.key_set_at is None


def test_a_new_key_may_come_with_a_new_address(project: Project) -> None:
    found = Connection.objects.get()
    found.base_url, found.key = "https://elsewhere.example/v1", Secret.of("sk-2")
    found.save()
    assert Connection.objects.get().reveal_key() == "sk-2"


def test_any_other_change_keeps_the_key(project: Project) -> None:
    found = Connection.objects.get()
    found.name = "Main"
    found.save()
    assert Connection.objects.get().reveal_key() == "sk-test-key"


def test_the_environments_key_is_read_when_it_is_needed(project: Project, settings: Settings) -> None:
    found = Connection(key_source=KeySource.ENVIRONMENT)
    settings.OPENAI_API_KEY = "sk-env"
    assert found.reveal_key() == "sk-env"


# People


def test_an_address_is_one_person_whatever_its_case(person: User) -> None:
    refuses(User(email="Mira@Example.com").save, "user_email_unique")
    assert User.objects.get_by_natural_key(" MIRA@example.com ") == person


def test_someone_without_a_password_cannot_sign_in_by_one(person: User) -> None:
    assert not person.has_usable_password()
    assert a_person("other@example.com").has_usable_password()


def test_a_link_lets_its_person_in_once(person: User) -> None:
    token = SignInLink.objects.make_for(person)
    assert SignInLink.objects.peek(token) == person
    assert SignInLink.objects.use(token) == person
    assert SignInLink.objects.use(token) is None
    assert SignInLink.objects.peek(token) is None


def test_only_a_links_hash_is_stored(person: User) -> None:
    token = SignInLink.objects.make_for(person)
    link = SignInLink.objects.get()
    assert token not in f"{link.digest} {link}"
    assert link.expires_at - timezone.now() < dt.timedelta(minutes=15)


def test_a_link_that_expired_or_was_never_made_lets_nobody_in(person: User) -> None:
    token = SignInLink.objects.make_for(person)
    SignInLink.objects.update(expires_at=timezone.now())
    assert SignInLink.objects.use(token) is None
    assert SignInLink.objects.use("made-up") is None


def test_a_link_of_someone_who_left_lets_nobody_in(person: User) -> None:
    token = SignInLink.objects.make_for(person)
    User.objects.update(is_active=False)
    assert SignInLink.objects.peek(token) is None
    assert SignInLink.objects.use(token) is None


@pytest.mark.django_db(transaction=True)
def test_of_many_who_use_a_link_at_once_one_gets_in() -> None:
    token = SignInLink.objects.make_for(User.objects.create_user("mira@example.com"))
    line, let_in = threading.Barrier(8), []

    def enter() -> None:
        try:
            line.wait(timeout=10)
            let_in.append(SignInLink.objects.use(token))
        finally:
            connection.close()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(let_in) == 8
    assert len([person for person in let_in if person]) == 1


# The catalogue


@pytest.fixture
def _no_catalogue(db: None) -> None:
    """Forget what the tests' database is made with, until the end of the test."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE jobs_modelspec CASCADE")


@pytest.mark.usefixtures("_no_catalogue")
def test_seeding_makes_every_model_with_its_prices_and_successor() -> None:
    ModelSpec.objects.seed()
    for entry in ENTRIES:
        spec = ModelSpec.objects.get(pk=entry["id"])
        assert spec.successor_id == entry["successor"]
        assert spec.efforts == entry["efforts"]
        stored = {(str(row.valid_from), row.input, row.output) for row in spec.price_set.all()}
        wanted = {
            (row["valid_from"], Decimal(row["input"]), Decimal(row["output"])) for row in entry["prices"]
        }
        assert stored == wanted


def test_seeding_again_adds_what_is_missing_and_changes_nothing(db: None) -> None:
    ModelSpec.objects.seed()
    ModelSpec.objects.filter(pk="o3-pro").update(name="Ours", successor="o3")
    Price.objects.filter(model="o3-pro").update(output=1)
    missing = ENTRIES[-1]["id"]
    Price.objects.filter(model=missing).delete()
    ModelSpec.objects.filter(successor=missing).update(successor=None)
    ModelSpec.objects.get(pk=missing).delete()
    ModelSpec.objects.seed()
    assert ModelSpec.objects.count() == len(ENTRIES)
    spec = ModelSpec.objects.get(pk="o3-pro")
    assert (spec.name, spec.successor_id) == ("Ours", "o3")
    assert set(spec.price_set.values_list("output", flat=True)) == {Decimal(1)}
    assert Price.objects.filter(model=missing).exists()


@pytest.mark.usefixtures("_no_catalogue")
def test_a_catalogue_that_cannot_be_read_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = tmp_path / "catalogue.json"
    broken.write_text(json.dumps({"models": [ENTRIES[0] | {"successor": None}, {"id": "half"}]}))
    with pytest.raises(KeyError):
        ModelSpec.objects.seed(broken)
    assert not ModelSpec.objects.exists()


def test_a_model_can_be_chosen_until_it_is_shut_down(project: Project) -> None:
    last = dt.date(2026, 12, 10)
    assert ModelSpec.objects.choosable(last).filter(pk="o3-pro").exists()
    assert not ModelSpec.objects.choosable(last + dt.timedelta(days=1)).filter(pk="o3-pro").exists()
    assert not ModelSpec.objects.choosable(BEFORE_THE_SHUTDOWN).filter(pk="o4-mini").exists()


def test_a_model_without_a_price_cannot_be_chosen(project: Project) -> None:
    Price.objects.filter(model="o3-pro").delete()
    assert not ModelSpec.objects.choosable(BEFORE_THE_SHUTDOWN).filter(pk="o3-pro").exists()


def test_the_price_is_the_last_one_in_force(project: Project) -> None:
    spec = ModelSpec.objects.get(pk="o3-pro")
    before = spec.price_on(BEFORE_THE_SHUTDOWN)
    later = Price.objects.create(model=spec, valid_from=dt.date(2026, 12, 1), input=1, output=2, source="x")
    assert spec.price_on(BEFORE_THE_SHUTDOWN) == before
    assert spec.price_on(dt.date(2026, 12, 1)) == later
    assert spec.price_on(dt.date(2020, 1, 1)) is None
    refuses(
        Price(model=spec, valid_from=later.valid_from, input=1, output=2, source="x").save, "one_price_a_day"
    )


def test_a_model_answers_to_its_name_and_its_dated_snapshots_only(project: Project) -> None:
    spec = ModelSpec.objects.get(pk="o3")
    assert spec.answers_to("o3")
    assert spec.answers_to("o3-2027-01-31")
    assert not spec.answers_to("o3-pro")
    assert not spec.answers_to("o3-2027-01-31-turbo")


@pytest.mark.parametrize(
    ("day", "model", "mode"),
    [(BEFORE_THE_SHUTDOWN, "o3-pro", "standard"), (AFTER_IT, "gpt-5.6-sol", "pro")],
)
def test_a_new_job_starts_from_the_default_model_or_its_successor(
    project: Project, day: dt.date, model: str, mode: str
) -> None:
    choice = project.default_choice(day)
    assert choice
    assert (choice.spec.pk, choice.mode) == (model, mode)
    assert choice.effort in choice.spec.efforts
    assert choice.max_output_tokens == min(project.default_max_output_tokens, choice.spec.max_output_tokens)
    assert choice.spec in ModelSpec.objects.choosable(day)


def test_a_projects_own_defaults_come_first(project: Project) -> None:
    project.default_model = ModelSpec.objects.get(pk="o3")
    project.default_effort, project.default_max_output_tokens = "low", 10_000_000
    choice = project.default_choice(BEFORE_THE_SHUTDOWN)
    assert choice
    assert (choice.spec.pk, choice.effort) == ("o3", "low")
    assert choice.max_output_tokens == choice.spec.max_output_tokens
    project.default_effort = "xhigh"
    fallen_back = project.default_choice(BEFORE_THE_SHUTDOWN)
    assert fallen_back
    assert fallen_back.effort == choice.spec.default_effort


def test_without_a_living_successor_there_is_no_default(project: Project) -> None:
    ModelSpec.objects.filter(pk="o3-pro").update(successor=None)
    assert project.default_choice(AFTER_IT) is None
    Workspace.objects.update(default_model=None)
    assert project.default_choice(BEFORE_THE_SHUTDOWN) is None


def test_successors_are_followed_to_one_that_lives(project: Project) -> None:
    spec = ModelSpec.objects.get(pk="o3-pro")
    living = spec.living_successor(AFTER_IT)
    assert living
    assert living.pk == "gpt-5.6-sol"
    ModelSpec.objects.filter(pk="gpt-5.6-sol").update(shutdown_date=AFTER_IT, successor="o3-pro")
    assert ModelSpec.objects.get(pk="o3-pro").living_successor(AFTER_IT) is None
    assert ModelSpec.objects.get(pk="o3-pro").living_successor(BEFORE_THE_SHUTDOWN) is not None


def test_models_that_succeed_each_other_leave_no_default_and_no_endless_search(project: Project) -> None:
    ModelSpec.objects.filter(pk="gpt-5.6-sol").update(shutdown_date=AFTER_IT, successor="o3-pro")
    assert project.default_choice(AFTER_IT) is None


def test_the_zone_of_money_changes_on_its_day(db: None, settings: Settings) -> None:
    workspace = Workspace(
        time_zone="UTC", next_time_zone="Asia/Tokyo", next_time_zone_on=dt.date(2026, 12, 1)
    )
    settings.PONDER_TODAY = BEFORE_THE_SHUTDOWN
    assert workspace.zone.key == "UTC"
    settings.PONDER_TODAY = dt.date(2026, 12, 1)
    assert workspace.zone.key == "Asia/Tokyo"
    assert workspace.today() == dt.date(2026, 12, 1)


def test_a_mode_that_bills_several_passes_usually_writes_as_many_times_the_tokens() -> None:
    spec = ModelSpec(
        modes=["standard", "pro"],
        mode_factors={"pro": "6"},
        default_effort="high",
        prior={"high": {"reasoning": [100, 200, 300], "answer": [10, 20, 30], "seconds": [1, 2, 3]}},
    )
    assert spec.usual_output("high") == (110, 220, 330)
    assert spec.usual_output("high", "pro") == (660, 1320, 1980)
