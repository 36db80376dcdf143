"""Takes the documents' pictures of the whole product at made-up work: `python -m tests.bench.pictures`.

The work is sent, followed and settled by the product itself, against a sandbox; only its times are then put
back, so that a morning's work stands on the pages.
"""

import argparse
import datetime as dt
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from tests.sandbox_process import SandboxProcess
from tests.whole import ROOT, Whole

if TYPE_CHECKING:
    from playwright._impl._api_structures import SetCookieParam

PICTURES = ROOT / "docs" / "images"
ESSAYS = ROOT / "jobs" / "sandbox" / "answers"
SIZE = {"width": 1440, "height": 900}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SETTLED_WITHIN = 120.0  # seconds; a failed job is tried three times

CLAUSES_TITLE = "List the liability clauses of both agreements"
PRIMES_TITLE = "How many primes are there below a million?"
PRIMES = """How many primes are there below a million, and how good is the estimate x / ln x?

Prove that there are infinitely many, compare both classical estimates with the true counts up to 10^6, and \
give a program that checks them."""
TYPED = """Lemma 4.7. For every bounded operator T on a Hilbert space, the supremum of |⟨Tx, x⟩| over unit \
vectors x is attained.

Is the lemma true without assuming that T is compact? If it is not, give the smallest counterexample you \
can, then state the weakest extra assumption that repairs it and prove the repaired lemma.

Check every step against the definitions in section 4 and name each theorem you use."""
ROWS = (
    ("Master agreement", "9.1", 2_000_000, True, "Liability of either side ends at the fees of two years."),
    ("Master agreement", "9.3", 0, False, "The customer bears what follows from its own data."),
    ("Master agreement", "11.4", 500_000, True, "Breach of confidence has a cap of its own."),
    ("Addendum B", "3.2", 5_000_000, False, "The supplier is liable for lost personal data up to this sum."),
    ("Addendum B", "3.5", 0, True, "Neither side is liable for lost profit."),
)
FIELDS: dict[str, str] = {
    "agreement": "string",
    "section": "string",
    "cap_usd": "integer",
    "is_mutual": "boolean",
    "summary": "string",
}
CLAUSE = {
    "type": "object",
    "properties": {name: {"type": kind} for name, kind in FIELDS.items()},
    "required": list(FIELDS),
    "additionalProperties": False,
}
CLAUSES = {
    "type": "object",
    "properties": {"clauses": {"type": "array", "items": CLAUSE}},
    "required": ["clauses"],
    "additionalProperties": False,
}
FOUND = {"clauses": [dict(zip(FIELDS, row, strict=True)) for row in ROWS]}


@dataclass(frozen=True)
class Piece:
    """One made-up job: who asked what where, what the sandbox does, and when (minutes ago, seconds taken)."""

    title: str
    project: str
    person: str
    ago: float
    took: int
    model: str = "o3-pro"
    effort: str = "high"
    wish: str = "reasoning=14300 answer_tokens=1400"
    limit: int = 40_000
    asked: dict[str, Any] = field(default_factory=dict)


SLOW, REFUSED = "seconds=3000", "outcome=failed code=invalid_prompt"
SPENT = 'outcome=incomplete answer=""'
PIECES = (
    Piece("Find the miscompile in the loop vectoriser", "compilers", "jonas", 21, 1085, wish=SLOW),
    Piece("Does the bound in section 5 hold for odd n?", "proofs", "mira", 8, 462, wish=SLOW),
    Piece("Rank these nine reactor models by stability", "reactors", "ana", 1, 41, "o3", "medium", SLOW),
    Piece(PRIMES_TITLE, "proofs", "mira", 33, 554, wish="input=2250 reasoning=14912 answer_tokens=1388"),
    Piece(
        "Enumerate all tilings of the board", "proofs", "tomas", 61, 1240, wish='outcome=incomplete answer=""'
    ),
    Piece(
        CLAUSES_TITLE,
        "contracts",
        "ana",
        74,
        97,
        "o3",
        "medium",
        f"reasoning=3100 answer_tokens=820 answer={json.dumps(json.dumps(FOUND))}",
        asked={"schema": CLAUSES, "schema_name": "liability_clauses"},
    ),
    Piece("Why does the reactor model diverge at low flow?", "reactors", "ana", 95, 703),
    Piece("Prove that the cache never serves a stale lease", "compilers", "jonas", 118, 611),
    Piece("Summarise the audit in one page", "contracts", "tomas", 131, 22, "gpt-6-luna", "medium"),
    Piece(
        "Check the vesting formula", "contracts", "tomas", 152, 388, wish="outcome=failed code=invalid_prompt"
    ),
    Piece("Is the second inequality strict?", "proofs", "mira", 171, 356),
    Piece("Which invariant breaks when two writers race?", "compilers", "jonas", 204, 487),
)
PEOPLE = {"mira": "Mira Okafor", "jonas": "Jonas Weber", "ana": "Ana Ruiz", "tomas": "Tomás Rey"}
CAPS = {
    "proofs": ("Proof checking", 240),
    "compilers": ("Compilers", 180),
    "reactors": ("Reactors", 120),
    "contracts": ("Contracts", 60),
}
HISTORY = 24  # earlier jobs of one kind: from 20 on the likely cost rests on them
DAY = 24 * 60  # minutes
OTHERS = (("compilers", "jonas"), ("reactors", "ana"), ("contracts", "tomas"), ("compilers", "mira"))


def main() -> None:
    """Set the scene, take the pictures and say how big they are."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--into", type=Path, default=PICTURES)
    into = parser.parse_args().into
    into.mkdir(parents=True, exist_ok=True)
    # The connection shown is no practice, and the sandbox behind it is on this machine.
    allowed = {"PONDER_ALLOW_PRIVATE_ADDRESSES": "1"}
    with SandboxProcess().start(speed=1000) as sandbox, Whole(environment=allowed) as whole:
        os.environ.update(whole.environment, DJANGO_SETTINGS_MODULE="o3site.settings", PONDER_ROLE="shell")
        django.setup()
        cookies, paths = scene(sandbox.base_url, whole.base_url)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for theme in ("light", "dark"):
                context = browser.new_context(base_url=whole.base_url, viewport=SIZE, color_scheme=theme)  # type: ignore[arg-type]
                context.add_cookies([cookies["mira"]])
                page = context.new_page()
                for name in shots(page, paths, cookies["operator"]):
                    picture = into / (f"{name}.png" if theme == "light" else f"{name}-dark.png")
                    page.screenshot(path=picture)
                    # 256 colours are enough for a page, and take a third of the room.
                    taken = Image.open(picture).convert("RGB")
                    few = taken.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)
                    few.save(picture, optimize=True)
                    print(f"{picture.name:<16} {picture.stat().st_size / 1024:6.0f} KB")
            browser.close()


def shots(page: Page, paths: dict[str, str], operator: "SetCookieParam") -> Iterator[str]:
    """Bring one page after the other before the camera; yield the name of each picture."""
    page.goto(paths["job"])
    expect(page.locator(".math .katex").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    yield "job"
    page.goto(paths["result"])
    page.wait_for_load_state("networkidle")
    yield "result"
    page.goto("/jobs/")
    page.wait_for_load_state("networkidle")
    yield "jobs"
    page.goto("/jobs/new/?project=proofs")
    with page.expect_response("**/jobs/estimate/"):
        page.get_by_label("Prompt", exact=True).fill(TYPED)
    page.wait_for_load_state("networkidle")
    page.get_by_label("Prompt", exact=True).blur()
    yield "new-job"
    page.goto("/budget/")
    page.wait_for_load_state("networkidle")
    height = page.evaluate("() => document.documentElement.scrollHeight")
    page.set_viewport_size({"width": SIZE["width"], "height": height})
    yield "budget"
    page.context.add_cookies([operator])
    page.set_viewport_size(SIZE)  # type: ignore[arg-type]
    page.goto("/admin/")
    page.wait_for_load_state("networkidle")
    yield "console"


def scene(base_url: str, site_url: str) -> tuple[dict[str, "SetCookieParam"], dict[str, str]]:
    """Make people, projects and a month's work; return two sessions' cookies and the paths to show."""
    from django.conf import settings
    from django.test import Client
    from django.utils import timezone

    from jobs import lifecycle, spend
    from jobs.access import Role
    from jobs.lifecycle import JobSpec
    from jobs.models import Connection, Job, Membership, Project, Secret, User

    people = {key: User.objects.create_user(f"{key}@example.com", name=name) for key, name in PEOPLE.items()}
    connection = Connection.objects.create(name="OpenAI", base_url=base_url, key=Secret.of("sk-made-up"))
    projects = {}
    for slug, (name, cap) in CAPS.items():
        projects[slug] = Project.objects.create(name=name, slug=slug, connection=connection)
        spend.set_cap(Decimal(cap), project=projects[slug])
        for person in people.values():
            Membership.objects.create(user=person, project=projects[slug], role=Role.APPROVER)

    def submit(piece: Piece) -> Job:
        wish = f"[[sandbox: {'' if 'seconds' in piece.wish else 'seconds=0.1 '}{piece.wish}]]"
        prompt, style = piece.title, "Be exact. Name every theorem you use and give its hypotheses.\n" * 30
        if piece.title == PRIMES_TITLE:
            # Without the line that says it is practice, and the heading that repeats the title.
            essay = (ESSAYS / "2-primes.md").read_text().split("\n\n", 2)[2]
            prompt, wish = PRIMES, f"{wish[:-2]} answer={json.dumps(essay)}]]"
        # The day its money counts on; none of the past month's has a cap.
        now = timezone.now()
        settings.PONDER_TODAY = max((now - dt.timedelta(minutes=piece.ago)).date(), now.date().replace(day=1))
        return lifecycle.submit(
            JobSpec(
                project=projects[piece.project],
                by=people[piece.person],
                prompt=prompt,
                title=piece.title,
                instructions=style + wish,
                model=piece.model,
                effort=piece.effort,
                max_output_tokens=piece.limit,
                **piece.asked,
            )
        )

    earlier = [
        Piece(
            f"Is step {number + 1} of the proof of theorem 6.2 complete?",
            "proofs",
            "mira",
            (1 + number * 0.8) * DAY,
            300 + number * 17,
            wish=f"input=1800 reasoning={9_000 + (number * 7919) % 19_000} answer_tokens={900 + number * 40}",
        )
        for number in range(HISTORY)
    ]
    earlier += [
        Piece(
            f"Review of change {4_100 + number * 37}",
            *OTHERS[number % len(OTHERS)],
            ago=(1 + number * 0.55) * DAY,
            took=200 + number * 23,
            model=("o3-pro", "o3", "gpt-5.6-sol")[number % 3],
            wish=f"input=2400 reasoning={5_000 + (number * 6571) % 21_000} answer_tokens={700 + number * 30}",
        )
        for number in range(HISTORY)
    ]
    earlier.sort(key=lambda piece: piece.ago)
    sent = [(piece, submit(piece)) for piece in (*reversed(earlier), *reversed(PIECES))]
    await_ends([job.pk for piece, job in sent if "seconds" not in piece.wish])
    for piece, job in sent:
        put_back(job.pk, piece)
    settings.PONDER_TODAY = None
    shown = {piece.title: job.get_absolute_url() for piece, job in sent}
    people["operator"] = User.objects.create_superuser("olu@example.com", name="Olu Adeyemi")
    cookies: dict[str, SetCookieParam] = {}
    for key in ("mira", "operator"):
        client = Client()
        client.force_login(people[key])
        value = client.cookies[settings.SESSION_COOKIE_NAME].value
        cookies[key] = {"name": settings.SESSION_COOKIE_NAME, "value": value, "url": site_url}
    paths = {"job": shown[PRIMES_TITLE], "result": shown[CLAUSES_TITLE]}
    return cookies, paths


def await_ends(ids: list[int]) -> None:
    """Wait until these jobs are final and their answers rendered, and the others run."""
    from jobs.models import FINAL, Answer, Job, Status
    from jobs.rendering import RENDERER_VERSION

    deadline = time.monotonic() + SETTLED_WITHIN
    open_ones = Job.objects.filter(pk__in=ids).exclude(status__in=FINAL)
    unsent = Job.objects.filter(status__in=[Status.WAITING, Status.SENDING, Status.QUEUED])
    unrendered = Answer.objects.exclude(renderer_version=RENDERER_VERSION)
    while open_ones.exists() or unsent.exists() or unrendered.exists():
        if time.monotonic() > deadline:
            raise TimeoutError("the work did not end in time")
        time.sleep(0.2)


def put_back(job_id: int, piece: Piece) -> None:
    """Put a job's times back, as if it had been asked so many minutes ago."""
    from django.utils import timezone

    from jobs.models import Attempt, Event, Job

    asked = timezone.now() - dt.timedelta(minutes=piece.ago)
    ended = asked + dt.timedelta(seconds=piece.took)
    job = Job.objects.get(pk=job_id)
    job.created_at, job.sent_at = asked, asked
    job.finished_at = ended if job.is_final else None
    job.save(update_fields=["created_at", "sent_at", "finished_at"])
    Attempt.objects.filter(job=job).update(sent_at=asked)
    events = list(Event.objects.filter(job=job))
    for number, event in enumerate(events):
        event.at = ended if job.is_final and event is events[-1] else asked + dt.timedelta(seconds=number)
    Event.objects.bulk_update(events, ["at"])


if __name__ == "__main__":
    main()
