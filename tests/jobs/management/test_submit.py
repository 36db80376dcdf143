"""Submitting from a shell: defaults, exit codes, and what is printed."""

import io
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.management.commands import submit
from jobs.models import (
    Attachment,
    Budget,
    BudgetPeriod,
    Connection,
    Event,
    Job,
    JobAttachment,
    Membership,
    ModelSpec,
    Project,
    Prompt,
    Status,
    User,
    Workspace,
)
from tests.factories import a_project
from tests.jobs.attachments.files import pdf, picture
from tests.sandbox_process import SandboxProcess

SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string"}},
    "required": ["verdict"],
    "additionalProperties": False,
}


@pytest.fixture
def operator(db: None) -> User:
    return User.objects.create_superuser("operator@example.com")


@pytest.fixture
def project(operator: User, sandbox: SandboxProcess) -> Project:
    sandbox.reset()
    return a_project(base_url=sandbox.base_url)


@pytest.fixture
def _pumps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pumps run whenever the command would sleep."""

    def work(_: float) -> None:
        lifecycle.run_pump("send")
        lifecycle.run_pump("poll")

    monkeypatch.setattr(submit.time, "sleep", work)


class Ran:
    """What a run of the command printed and returned."""

    def __init__(self, *words: str) -> None:
        out, err = io.StringIO(), io.StringIO()
        self.code = 0
        try:
            call_command("submit", *words, stdout=out, stderr=err)
        except CommandError as error:
            self.code = error.returncode
            err.write(str(error))
        except SystemExit as end:
            self.code = int(end.code or 0)
        self.out, self.err = out.getvalue(), err.getvalue()

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


def run(*words: str) -> Ran:
    return Ran("--project", "proofs", *words)


def test_a_job_starts_from_the_projects_defaults(project: Project, operator: User) -> None:
    done = run("Is 91 prime?")
    job = Job.objects.get()
    choice = project.default_choice(Workspace.objects.the().today())
    assert choice
    assert (job.model, job.mode, job.effort) == (choice.spec, choice.mode, choice.effort)
    assert (job.max_output_tokens, job.submitted_by) == (choice.max_output_tokens, operator)
    assert done.code == 0
    assert done.out.startswith(f"{job.short_id} accepted, at most $")
    assert done.out.strip().endswith(f"/jobs/{job.short_id}/")


def test_an_answer_can_wait(project: Project) -> None:
    assert run("--model", "gpt-6-sol", "--window", "8h", "Is 91 prime?").code == 0
    first = Job.objects.get()
    assert first.window == "8h"
    ModelSpec.objects.update(completion_windows=["soonest"])
    refused = run("--model", "gpt-6-sol", "--window", "2h", "Is 91 prime?")
    assert refused.code == 1
    assert "window: This model has no waiting discount." in refused.err


def test_everything_can_be_chosen(project: Project, tmp_path: Path) -> None:
    person = User.objects.create_user("mira@example.com")
    project.membership_set.create(user=person, role=Role.SUBMITTER)
    schema = tmp_path / "the verdict.json"
    schema.write_text(json.dumps(SCHEMA))
    spec = ModelSpec.objects.get(pk="gpt-5.6-sol")
    words = ["--model", spec.pk, "--effort", "low", "--max-output-tokens", "5000", "--schema", str(schema)]
    words += ["--user", "Mira@example.com", "--title", "Primes", "--tag", "a", "--tag", "b", "Is 91 prime?"]
    assert run(*words).code == 0
    job = Job.objects.select_related("prompt").get()
    assert (job.model, job.mode, job.effort, job.max_output_tokens) == (spec, "standard", "low", 5000)
    assert (job.submitted_by, job.tags, job.prompt.title) == (person, ["a", "b"], "Primes")
    assert (job.prompt.schema_name, job.prompt.schema) == ("the_verdict", SCHEMA)


@pytest.mark.usefixtures("_pumps")
def test_files_are_attached_in_their_order_and_sent(
    project: Project, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    (tmp_path / "draft.pdf").write_bytes(pdf("Lemma 4.7"))
    (tmp_path / "figure").write_bytes(picture())
    words = ["--attach", str(tmp_path / "draft.pdf"), "--attach", str(tmp_path / "figure")]
    done = run(*words, "--wait", "Is figure 2 right? [[sandbox: seconds=0 reasoning=0]]")
    assert done.code == 0
    rows = JobAttachment.objects.select_related("attachment").order_by("position")
    assert [(row.name, row.attachment.media_type) for row in rows] == [
        ("draft.pdf", "application/pdf"),
        ("figure", "image/png"),
    ]
    assert [file["type"] for file in sandbox.log()["responses"][0]["files"]] == ["input_file", "input_image"]


def test_a_file_that_cannot_be_attached_is_wrong_use(project: Project, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Just text.")
    for name, said in (("notes.txt", "Paste the text into the prompt."), ("none.pdf", "No such file")):
        wrong = run("--attach", str(tmp_path / name), "Is 91 prime?")
        assert (wrong.code, said in wrong.err) == (1, True)
    viewer = User.objects.create_user("viewer@example.com")
    Membership.objects.create(project=project, user=viewer, role=Role.VIEWER)
    (tmp_path / "figure.png").write_bytes(picture())
    wrong = run("--user", "viewer@example.com", "--attach", str(tmp_path / "figure.png"), "Is 91 prime?")
    assert (wrong.code, "may not submit to this project" in wrong.err) == (1, True)
    assert not Job.objects.exists()
    assert not Attachment.objects.exists()


def a_tools_file(folder: Path, tools: object) -> str:
    path = folder / "tools.json"
    path.write_text(json.dumps(tools))
    return str(path)


def test_tools_are_read_from_a_file(project: Project, tmp_path: Path) -> None:
    tools = [{"type": "web_search"}]
    assert run("--tools", a_tools_file(tmp_path, tools), "--max-tool-calls", "3", "Is 91 prime?").code == 0
    job = Job.objects.select_related("prompt").get()
    assert (job.prompt.tools, job.max_tool_calls) == (tools, 3)
    wrong = run("--tools", a_tools_file(tmp_path, {"type": "web_search"}), "Is 91 prime?")
    assert (wrong.code, wrong.err.endswith("tools.json is no JSON list.")) == (1, True)


@pytest.mark.usefixtures("_pumps")
def test_a_thread_goes_on_with_the_settings_of_the_job_before(project: Project) -> None:
    first = run(
        "--effort", "low", "--tag", "a", "--wait", "--json", "Is 91 prime? [[sandbox: seconds=0 reasoning=9]]"
    ).json
    # How much it thinks is drawn: without a word it would now and then need more than it may.
    again = "And 97? [[sandbox: seconds=0 reasoning=9]]"
    done = run("--follow", first["id"], "--max-output-tokens", "5000", "--wait", again)
    assert (done.code, done.err.count("incomplete")) == (0, 0), done.err
    job = Job.objects.latest("created_at")
    assert job.previous is not None
    assert (job.previous.short_id, job.effort, job.tags, job.max_output_tokens) == (
        first["id"], "low", ["a"], 5000,
    )  # fmt: skip
    assert done.out.strip()


def test_only_a_job_one_can_see_is_followed(project: Project) -> None:
    done = run("--follow", "j_nothing", "And 97?")
    assert (done.code, done.err) == (1, "follow: there is no job 'j_nothing'.")


def test_a_job_whose_prompt_is_no_longer_stored_is_not_followed(project: Project, operator: User) -> None:
    run("Is 91 prime?")
    Prompt.objects.all().delete()
    done = run("--follow", Job.objects.get().short_id, "And 97?")
    assert (done.code, Job.objects.count()) == (1, 1)
    assert done.err == "follow: A prompt of this thread is no longer stored, so it cannot go on."


def test_a_model_that_is_named_brings_its_own_effort_and_limit(project: Project) -> None:
    spec = ModelSpec.objects.get(pk="gpt-5.6-sol")
    Project.objects.update(default_effort="no such effort", default_max_output_tokens=10_000_000)
    ModelSpec.objects.filter(pk=spec.pk).update(max_output_tokens=2_000)
    run("--model", spec.pk, "Is 91 prime?")
    job = Job.objects.get()
    assert (job.effort, job.max_output_tokens) == (spec.default_effort, 2_000)


def test_a_dash_reads_standard_input(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Is 91 prime?\nWhy?\n"))
    assert run("-").code == 0
    assert Job.objects.get().prompt.text == "Is 91 prime?\nWhy?\n"


def test_the_address_is_whole_where_it_is_known(project: Project, settings: Settings) -> None:
    settings.PONDER_URL = "https://ponder.example.com"
    assert "https://ponder.example.com/jobs/j_" in run("Is 91 prime?").out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--model", "o9", "Hello"], "model: there is no model 'o9'"),
        (["--model", "o4-mini", "Hello"], "model: o4-mini was shut down"),
        (["--effort", "huge", "Hello"], "effort: "),
        (["--max-output-tokens", "3", "Hello"], "max_output_tokens: 16 to "),
        (["--max-output-tokens", "many", "Hello"], "--max-output-tokens"),
        (["--user", "nobody@example.com", "Hello"], "user: there is no active person nobody@example.com"),
        (["--tag", " ", "Hello"], "tags: "),
        (["--schema", "/no/such/file", "Hello"], "schema: /no/such/file cannot be read"),
        ([" "], "prompt: "),
        (["\udce9"], "prompt: this is not UTF-8 text"),
        (["--title", "\udce9", "Hello"], "title: this is not UTF-8 text"),
    ],
)
def test_wrong_use_is_one_clear_line(project: Project, words: list[str], complaint: str) -> None:
    done = run(*words)
    assert done.code == 1
    assert complaint in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert done.out == ""
    assert not Job.objects.exists()


def test_every_field_in_the_way_has_its_line(project: Project) -> None:
    done = run("--effort", "huge", "--max-output-tokens", "3", "--tag", " ", "Hello")
    assert {line.split(":")[0] for line in done.err.splitlines()} == {"effort", "max_output_tokens", "tags"}


def test_an_unknown_project_is_wrong_use(project: Project) -> None:
    done = Ran("--project", "nowhere", "Hello")
    assert (done.code, done.err) == (1, "project: there is no project 'nowhere'.")


@pytest.mark.parametrize("text", ["{", "[]", b"\xe9"])
def test_a_schema_that_is_none_is_wrong_use(project: Project, tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "schema.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = run("--schema", str(path), "Hello")
    assert done.code == 1
    assert done.err.startswith("schema: ")


def test_standard_input_that_is_no_text_is_wrong_use(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9"), encoding="utf-8"))
    assert (run("-").code, Job.objects.count()) == (1, 0)


def test_without_an_operator_someone_must_be_named(project: Project) -> None:
    User.objects.update(is_active=False)
    done = run("Hello")
    assert (done.code, "name someone with --user" in done.err) == (1, True)


def test_without_a_default_a_model_must_be_named(project: Project) -> None:
    Workspace.objects.update(default_model=None)
    done = run("Hello")
    assert (done.code, "name one with --model" in done.err) == (1, True)


def test_an_undocumented_effort_needs_a_word_of_its_own(project: Project) -> None:
    ModelSpec.objects.filter(pk="gpt-5.6-sol").update(
        undocumented_efforts={"extreme": "OpenAI documents no extreme"}
    )
    words = ["--model", "gpt-5.6-sol", "--effort", "extreme", "--max-output-tokens", "1000", "Hello"]
    refused = run(*words)
    assert refused.code == 1
    assert "OpenAI documents no extreme" in refused.err
    assert "--accept-undocumented" in refused.err
    assert run("--accept-undocumented", *words).code == 0


def test_a_refusal_says_what_is_missing_and_what_would_fit(project: Project) -> None:
    spend.set_cap(Decimal("0.75"), project=project)
    words = ["--model", "gpt-5.6-sol", "--effort", "low"]
    refused = run(*words, "--max-output-tokens", "100000", "Hello")
    assert refused.code == 3
    assert "leaves $0.75" in refused.err
    fits = refused.err.split("--max-output-tokens ")[1].split(" would fit")[0]
    assert run(*words, "--max-output-tokens", fits, "Hello").code == 0


@pytest.mark.parametrize("cap", ["0.30", "0.60", "1.20"])
@pytest.mark.parametrize(
    "words",
    [
        "--model o3-pro --max-output-tokens 20000",
        "--model gpt-6-astra --effort max --window 8h --max-output-tokens 100000",
        "--model gpt-6-sol --mode pro --max-output-tokens 9000",
        "",
    ],
)
def test_what_is_offered_instead_is_accepted_when_it_is_added(project: Project, words: str, cap: str) -> None:
    spend.set_cap(Decimal(cap), project=project)
    first = run(*words.split(), "Hello")
    offered = re.search(r"So would (--model .+)\.$", first.err)
    if first.code == 0:
        return
    assert offered, first.err
    assert run(*words.split(), *offered[1].split(), "Hello").code == 0


def test_the_shortfall_is_exact(project: Project) -> None:
    spend.set_cap(Decimal("0.0005"), project=project)
    refused = run("--model", "gpt-5.6-sol", "--max-output-tokens", "1000", "Hello")
    row = Budget.objects.get().refusal_set.get()
    assert f"${row.ceiling.normalize():f}" in refused.err
    assert f": ${row.shortfall.normalize():f} too much" in refused.err
    assert "No output limit would fit." in refused.err


def test_of_several_caps_the_tightest_says_what_fits(operator: User, sandbox: SandboxProcess) -> None:
    project = a_project(base_url=sandbox.base_url, is_practice=False, cap="0.50")
    spend.set_cap(Decimal("0.40"), user=operator)
    spend.set_cap(Decimal("0.01"), is_hard=False)
    words = ["--model", "gpt-5.6-sol", "--effort", "low"]
    refused = run(*words, "--max-output-tokens", "100000", "Hello")
    fits = refused.err.split("--max-output-tokens ")[1].split(" would fit")[0]
    assert run(*words, "--max-output-tokens", fits, "Hello").code == 0
    assert BudgetPeriod.objects.get(budget__project=project).held <= Decimal("0.40")


def test_an_overrun_cap_leaves_nothing(project: Project) -> None:
    run("--max-output-tokens", "1000", "Hello")
    spend.set_cap(Decimal(0), project=project)
    refused = run("--max-output-tokens", "1000", "Hello")
    assert refused.code == 3
    assert "leaves nothing" in refused.err


def test_a_project_without_a_cap_takes_nothing(operator: User) -> None:
    a_project(cap=None)
    refused = run("Hello")
    assert (refused.code, "no cap yet" in refused.err) == (3, True)


@pytest.mark.usefixtures("_pumps")
def test_waiting_prints_the_answer(project: Project) -> None:
    done = run("--wait", "Is 91 prime? [[sandbox: seconds=0.1 reasoning=100]]")
    job = Job.objects.get()
    assert (done.code, job.status) == (0, Status.COMPLETED)
    assert done.out.strip() == job.answer.text.strip()
    assert f"{job.short_id} costs at most $" in done.err
    assert "Completed" in done.err


@pytest.mark.usefixtures("_pumps")
def test_json_says_all_there_is_to_know(project: Project, tmp_path: Path) -> None:
    schema = tmp_path / "verdict.json"
    schema.write_text(json.dumps(SCHEMA))
    found = run(
        "--wait", "--json", "--schema", str(schema), "Is 91 prime? [[sandbox: seconds=0.1 reasoning=100]]"
    ).json
    job = Job.objects.get()
    assert list(found) == [
        "id",
        "url",
        "status",
        "cost",
        "ceiling",
        "model",
        "effort",
        "answer",
        "parsed",
        "validation_errors",
        "error",
        "usage",
    ]
    assert (found["id"], found["url"], found["status"]) == (
        job.short_id,
        f"/jobs/{job.short_id}/",
        "completed",
    )
    assert (Decimal(found["cost"]), Decimal(found["ceiling"])) == (job.cost, job.worst_case)
    assert 0 < job.cost <= job.worst_case
    assert json.loads(found["answer"]) == found["parsed"]
    assert isinstance(found["parsed"]["verdict"], str)
    assert (found["validation_errors"], found["error"]) == ([], None)
    assert found["usage"]["output_tokens"] > 0


def test_json_of_an_accepted_job_has_no_answer_yet(project: Project) -> None:
    found = run("--json", "Is 91 prime?").json
    assert (found["status"], found["cost"]) == ("waiting", "0")
    assert found["answer"] is found["parsed"] is found["error"] is found["usage"] is None


@pytest.mark.usefixtures("_pumps")
@pytest.mark.parametrize(
    ("directive", "status", "code"),
    [
        ("outcome=failed code=invalid_prompt", "failed", "invalid_prompt"),
        ("outcome=incomplete reason=max_output_tokens", "incomplete", "max_output_tokens"),
        ("outcome=function_call", "requires_action", None),
        ("http=500", "unconfirmed", "server_error"),
    ],
)
def test_any_other_end_has_its_own_code(
    project: Project, directive: str, status: str, code: str | None
) -> None:
    done = run("--wait", "--json", f"Is 91 prime? [[sandbox: seconds=0.1 {directive}]]")
    assert (done.code, done.json["status"]) == (2, status)
    assert (done.json["error"] or {}).get("code") == code
    assert Job.objects.get().short_id in done.err.splitlines()[-1]


def test_a_cancelled_job_ended_otherwise(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def cancel(_: float) -> None:
        lifecycle.cancel(Job.objects.get().pk, by=User.objects.get())

    monkeypatch.setattr(submit.time, "sleep", cancel)
    done = run("--wait", "Hello")
    assert (done.code, done.out.strip()) == (2, "")
    assert "cancelled" in done.err


def test_waiting_says_that_a_connection_is_paused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection.objects.get()
    lifecycle.pause(connection.pk, "401: the key was refused\x1b[2J")

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(submit.time, "sleep", stop)
    done = run("--wait", "Hello")
    assert f"Waiting: {connection.name} is paused (401: the key was refused[2J)" in done.err


def test_ctrl_c_leaves_the_job_running_and_says_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(submit.time, "sleep", stop)
    done = run("--wait", "Hello")
    job = Job.objects.get()
    assert (done.code, job.status, job.cancel_requested_at) == (130, Status.WAITING, None)
    assert f"{job.short_id} goes on: /jobs/{job.short_id}/" in done.err
    assert [event.kind for event in Event.objects.filter(job=job)] == ["submitted"]


@pytest.mark.usefixtures("_pumps")
def test_an_answer_cannot_steer_the_terminal(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run("--wait", "Hello [[sandbox: seconds=0.1 reasoning=100]]")
    job = Job.objects.get()
    job.answer.text = "a\x1b]0;title\x07\tb\x9b2J\nc"
    job.answer.save()
    monkeypatch.setattr(submit, "_submit", lambda wanted: job)
    assert run("--wait", "Hello").out == "a]0;title\tb2J\nc\n"


def test_arguments_that_cannot_be_read_are_wrong_use_too(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--project", "proofs"], ["--no-such-option", "x"], ["--max-output-tokens", "x", "y"]):
        with pytest.raises(SystemExit) as end:
            submit.Command().run_from_argv(["manage.py", "submit", *words])
        # A text as the code is printed on stderr, and the code is 1.
        assert isinstance(end.value.code, str)
    with pytest.raises(SystemExit) as end:
        submit.Command().run_from_argv(["manage.py", "submit", "--help"])
    assert end.value.code == 0
    assert "--accept-undocumented" in capsys.readouterr().out
