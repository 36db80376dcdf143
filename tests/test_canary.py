"""Sends words that exist nowhere else every way a job can go, and looks for them where none may be."""

import base64
import json
import pickle
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection
from django_q.models import OrmQ, Task
from django_q.signing import SignedPackage
from django_q.tasks import async_task

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.attachments import digest_of
from jobs.models import (
    Answer,
    Attempt,
    Connection,
    Event,
    Given,
    Job,
    JobAttachment,
    Membership,
    Notice,
    Project,
    Prompt,
    Secret,
    SignInLink,
    Status,
    User,
)
from tests.cluster_process import ClusterProcess
from tests.factories import a_person, a_project, a_spec
from tests.jobs.attachments.files import pdf
from tests.sandbox_process import SandboxProcess
from tests.whole import Page, Visitor, Whole

pytest_plugins = ["tests.fixtures"]
pytestmark = pytest.mark.cluster

# One word for each thing that must not get out, so that a failure names what did.
CARRIERS = (
    "prompt", "instructions", "title", "schema", "answer", "key", "webhook", "password", "wrongpass",
    "document", "filename",
)  # fmt: skip
WORDS = {carrier: f"kanarie0{carrier}0x7q9w" for carrier in CARRIERS}
KEY = f"sk-{WORDS['key']}"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(WORDS["webhook"].encode()).decode()
# Where content lives: everywhere else it has no business.
PAYLOADS = {
    "jobs_prompt", "jobs_answer", "jobs_rawresponse", "jobs_attachmentcontent", "jobs_jobattachment",
    "jobs_jobtext",
}  # fmt: skip
DOCUMENT, FILENAME = pdf(WORDS["document"] * 20), f"{WORDS['filename']}.pdf"
SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "description": WORDS["schema"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}
# What becomes of a job → the directive that brings it about, and the statuses that show it has.
ENDS = {
    "completed": ('seconds=0 outcome=completed answer="{answer}"', {Status.COMPLETED}),
    "refused": ("seconds=0 outcome=refusal", {Status.COMPLETED}),
    "incomplete": ('seconds=0 outcome=incomplete answer="{answer}"', {Status.INCOMPLETE}),
    "failed": ("seconds=0 outcome=failed code=invalid_prompt", {Status.FAILED}),
    "rejected": ("{prompt}", {Status.FAILED}),  # no directive at all: the 400 repeats the word
    "unclear": ("http=500", {Status.UNCONFIRMED}),
    "cut off": ("fault=reset_after", {Status.UNCONFIRMED}),
    "garbled": ("fault=garbage", {Status.UNCONFIRMED}),
}


class Echo(BaseHTTPRequestHandler):
    """An API that refuses everything and repeats, in its message, all it was sent."""

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status = next((code for code in (401, 500) if f"answer {code}" in sent), 400)
        message = f"Cannot use {self.headers['Authorization']} to answer {sent}"
        body = json.dumps(
            {"error": {"message": message, "type": "x", "code": "invalid_value", "param": None}}
        )
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def cluster(transactional_db: None) -> Iterator[ClusterProcess]:
    """Run a cluster that logs all it can, in JSON; the web server's log stays plain text."""
    with ClusterProcess({"PONDER_LOG": "json", "PONDER_LOG_LEVEL": "info"}) as process:
        yield process


@pytest.fixture
def echo() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_nothing_anyone_wrote_gets_out(
    web: Whole,
    cluster: ClusterProcess,
    sandbox: SandboxProcess,
    echo: str,
    capfd: pytest.CaptureFixture[str],
):
    project = a_project("proofs", cap="10000", base_url=sandbox.base_url)
    Connection.objects.filter(pk=project.connection_id).update(key=Secret.of(KEY))
    real = Connection.objects.create(name="real", base_url="http://127.0.0.1:9/v1")
    boss = a_person("boss@example.com", is_staff=True, is_superuser=True)
    Membership.objects.create(user=boss, project=project, role=Role.MANAGER)
    token = SignInLink.objects.make_for(boss)
    errors: list[Page] = []
    with Visitor(web.base_url) as visitor:
        errors += sign_in(visitor, token)
        set_key(visitor, real.pk)
        connect(visitor)
        invitation = invite(visitor, project)
        errors.append(upload(visitor, project, b"%PDF-1.7 " + WORDS["document"].encode()))
        upload(visitor, project, DOCUMENT)
        by_end = {end: send(visitor, project, end) for end in ENDS}
        await_that(lambda: all(job_of(by_end[end]).status in ends for end, (_, ends) in ENDS.items()))
        # Pages that tell of everything there is.
        told = [visitor.get(path) for path in ("/metrics", "/healthz", "/settings/status/")]
        assert [page.status for page in told] == [200, 200, 200]
        errors += [visitor.get("/nowhere/"), visitor.post(f"/jobs/{by_end['completed']}/", {})]
        with Visitor(web.base_url) as stranger:
            errors.append(stranger.post("/jobs/new/", {"prompt": WORDS["prompt"]}))
        with a_trigger_that_repeats_the_prompt():
            errors.append(visitor.post("/jobs/new/", form_of(visitor, project, "completed")))
    assert sorted({page.status for page in errors}) == [403, 404, 405, 410, 500]
    ask_the_echo(echo, boss)
    break_the_final_transaction(project, boss)
    fail_with_content()
    # Django-Q stores a failure first and logs it then.
    await_that(lambda: "IntegrityError" in cluster.output)
    cluster.kill()
    lifecycle.submit(a_spec(project, boss, prompt=WORDS["prompt"], title=WORDS["title"]))

    printed = capfd.readouterr()
    places = {
        "the cluster's output": cluster.output,
        "the web server's output": web.output,
        "what the sandbox and the tests printed": printed.out + printed.err,
        "the database server's log": server_log().read_text(errors="replace"),
        "the error pages": "".join(page.text for page in errors),
        "what is said of how it does": "".join(page.text for page in told),
        "the queue": "".join(queue()),
        "the sessions": "".join(str(session.get_decoded()) for session in Session.objects.all()),
        **{f"the file {path}": path.read_text(errors="replace") for path in files()},
        **{f"the table {name}": rows for name, rows in tables()},
    }
    hidden = {**WORDS, "link": token, "invitation": invitation, "webhook in base64": WEBHOOK_SECRET[6:]}
    # Also as it stands in a request, from its first byte on.
    hidden |= {"document in base64": base64.b64encode(DOCUMENT).decode()[:60]}
    found = [(place, what) for place, text in places.items() for what, word in hidden.items() if word in text]
    assert found == []
    # What could have held it was there to be read.
    assert "IntegrityError" in places["the cluster's output"]
    assert "IntegrityError" in places["the queue"]
    assert "ValueError" in places["the queue"]
    assert "Internal Server Error: /jobs/new/" in places["the web server's output"]
    lines = [json.loads(line) for line in cluster.output.splitlines() if line.startswith("{")]
    assert {"accepted", "put_off", "rejected", "unconfirmed", "completed", "paused"} <= {
        line["message"] for line in lines
    }
    assert any("IntegrityError" in line.get("error", "") or "misread" in line["message"] for line in lines)
    assert any("journal" in place and "resp_" in text for place, text in places.items())
    assert Attempt.objects.filter(error_code="invalid_directive").exists()
    assert Event.objects.filter(kind="rejected", note__contains="[…]").exists()
    assert Notice.objects.filter(kind="connection_paused").exists()
    assert Answer.objects.filter(text__contains=WORDS["answer"]).exists()
    assert Prompt.objects.filter(text__contains=WORDS["prompt"], title=WORDS["title"]).exists()
    assert JobAttachment.objects.filter(name=FILENAME).count() > len(ENDS)
    assert Connection.objects.get(pk=real.pk).reveal_key() == KEY


def sign_in(visitor: Visitor, token: str) -> list[Page]:
    """Sign in by a link, which sets a password; return the pages of the tries that failed."""
    visitor.get("/login/")
    wrong = visitor.post("/login/", {"email": "boss@example.com", "password": WORDS["wrongpass"]})
    chosen = {"new_password1": WORDS["password"], "new_password2": WORDS["password"]}
    short = visitor.post(
        "/enter/", {"token": token, "new_password1": "x", "new_password2": WORDS["password"]}
    )
    assert (wrong.status, short.status) == (200, 200)
    assert visitor.post("/enter/", {"token": token, **chosen}).status == 302
    return [visitor.post("/enter/", {"token": token, **chosen})]


def set_key(visitor: Visitor, pk: int) -> None:
    """Set key and webhook secret of a connection in the console, which keeps a log of changes."""
    path = f"/admin/jobs/connection/{pk}/change/"
    fields = visitor.get(path).fields("connection_form")
    fields |= {"new_key": KEY, "new_webhook_secret": WEBHOOK_SECRET}
    assert visitor.post(path, fields).status == 302


def connect(visitor: Visitor) -> None:
    """Add a connection on the product's own page, which has a worker test it at once."""
    path = "/settings/connections/new/"
    fields = visitor.get(path).fields(path)
    fields |= {"name": "Added", "base_url": "https://api.invalid/v1", "new_key": KEY}
    answer = visitor.post(path, fields)
    if settings.PONDER_TODAY:  # real money is refused while the date is shifted
        assert answer.status == 422
        return
    assert answer.status == 302
    await_that(Connection.objects.filter(last_test_result__startswith="connect_error").exists)


def invite(visitor: Visitor, project: Project) -> str:
    """Invite someone and return the secret, which stands in this one page."""
    path = f"/projects/{project.slug}/members/"
    page = visitor.post(path, visitor.get(path).fields(path) | {"email": "eve@example.com", "role": "1"})
    found = re.search(r"/join/#([\w-]+)<", page.text)
    assert found
    return found[1]


def upload(visitor: Visitor, project: Project, data: bytes) -> Page:
    """Add a file to a job that is being written; return an error page about another project."""
    fields = {"project": project.slug, "model": "o3-pro"}
    assert FILENAME in visitor.upload("/attachments/", fields, {FILENAME: data}).text
    return visitor.upload("/attachments/", {"project": "nowhere"}, {FILENAME: data})


def form_of(visitor: Visitor, project: Project, end: str) -> dict[str, str]:
    directive = ENDS[end][0].format(**WORDS)
    return visitor.get("/jobs/new/").fields("/jobs/new/") | {
        "project": project.slug,
        "prompt": f"{end}: {WORDS['prompt']} [[sandbox: {directive}]]",
        "instructions": WORDS["instructions"],
        "title": WORDS["title"],
        "schema_name": "verdict",
        "schema": json.dumps(SCHEMA) if end != "refused" else "",
        "attachments": f"{digest_of(DOCUMENT)} {FILENAME}",
    }


def send(visitor: Visitor, project: Project, end: str) -> str:
    """Send a job by the form and return its short id."""
    sent = visitor.post("/jobs/new/", form_of(visitor, project, end))
    assert sent.status == 302
    return sent.location.split("/")[2]


def job_of(short_id: str) -> Job:
    return Job.objects.get(short_id=short_id)


def ask_the_echo(base_url: str, boss: User) -> None:
    """Have an API refuse jobs in messages that repeat prompt and key."""
    connection_ = Connection.objects.create(
        name="echo", is_practice=True, base_url=base_url, key=Secret.of(KEY)
    )
    project = Project.objects.create(name="Echo", slug="echo", connection=connection_)
    spend.set_cap(Decimal(1000), project=project)
    kept = lifecycle.keep_file(DOCUMENT, project=project, by=boss)
    for code, ends in ((400, {Status.FAILED}), (500, {Status.UNCONFIRMED}), (401, {Status.WAITING})):
        job = lifecycle.submit(
            a_spec(
                project,
                boss,
                prompt=f"{WORDS['prompt']} answer {code}",
                instructions=WORDS["instructions"],
                schema_name="verdict",
                schema=SCHEMA,
                attachments=(Given(kept, FILENAME),),
            )
        )
        await_that(
            lambda job=job, ends=ends: (
                Job.objects.get(pk=job.pk).status in ends and Event.objects.filter(job=job).count() > 1
            )
        )


@contextmanager
def a_trigger_that_repeats_the_prompt() -> Iterator[None]:
    """Make the database refuse every new prompt with an error that repeats it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION repeat_it() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'cannot store %', NEW.text; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER repeats BEFORE INSERT ON jobs_prompt FOR EACH ROW EXECUTE FUNCTION repeat_it()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER repeats ON jobs_prompt")
            cursor.execute("DROP FUNCTION repeat_it()")


def break_the_final_transaction(project: Project, boss: User) -> None:
    """Have an answer refused by a CHECK, whose error prints the whole row."""
    directive = ENDS["completed"][0].format(**WORDS)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs_answer ADD CONSTRAINT never CHECK (text = '') NOT VALID")
    try:
        job = lifecycle.submit(a_spec(project, boss, prompt=f"{WORDS['prompt']} [[sandbox: {directive}]]"))
        await_that(lambda: Event.objects.filter(job=job, kind="unreadable").exists())
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE jobs_answer DROP CONSTRAINT never")


def fail_with_content() -> None:
    """Have tasks fail on errors that hold a prompt: one of the database's and one of ours."""
    for task in (empty_a_prompt, misread_a_prompt):
        async_task(f"{__name__}.{task.__name__}", cluster=settings.CLUSTER_NAME)
    await_that(lambda: Task.objects.filter(success=False).count() == 2)


def empty_a_prompt() -> None:
    Prompt.objects.update(text=None)


def misread_a_prompt() -> None:
    prompt = Prompt.objects.order_by("pk")[0]
    raise ValueError(f"cannot read {prompt.text} and {prompt.instructions}")


def await_that(is_so: Callable[[], bool], within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < deadline, [
            (job.status, job.error_code) for job in Job.objects.order_by("pk")
        ]
        time.sleep(0.1)


def server_log() -> Path:
    with connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        (folder,) = cursor.fetchone()
    return Path(folder).parent / "log"


def files() -> Iterator[Path]:
    """Yield what Ponder keeps in its data directory, but for the database's own files and the static ones."""
    for path in settings.DATA_DIR.rglob("*"):
        part = path.relative_to(settings.DATA_DIR).parts[0]
        if path.is_file() and part not in ("postgres", "static"):
            yield path


def queue() -> Iterator[str]:
    """Yield messages and results of Django-Q as they are when unpacked."""
    messages = list(OrmQ.objects.all())
    assert messages
    for message in messages:
        yield message.payload + repr(SignedPackage.loads(message.payload))
    for task in Task.objects.all():
        yield repr((task.func, task.hook, task.args, task.kwargs, task.result, task.group))
        yield repr(pickle.dumps((task.args, task.kwargs, task.result)))


def tables() -> Iterator[tuple[str, str]]:
    """Yield the rows of every table as text, but for those that hold content by design."""
    with connection.cursor() as cursor:
        for name in connection.introspection.table_names(cursor):
            if name not in PAYLOADS:
                cursor.execute(f'SELECT string_agg(t::text, chr(10)) FROM "{name}" AS t')
                yield name, cursor.fetchone()[0] or ""
