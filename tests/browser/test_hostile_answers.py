"""Five hundred hostile answers in a real browser, under the product's own CSP: none of them does anything."""

import json
from collections.abc import Iterator
from itertools import batched
from typing import Any

import pytest
from playwright.sync_api import Page

from jobs import lifecycle
from jobs.access import Role
from jobs.models import Job, Project, Prompt, Status, User
from jobs.rendering import RENDERER_VERSION, UNSTORABLE, render
from tests.browser.conftest import Browse
from tests.browser.installation import Installation
from tests.browser.watch import Watch
from tests.hostile import CORPUS
from tests.jobs.views.states import a_job

pytestmark = [pytest.mark.looks, pytest.mark.thorough]
OURS = ("/live/", "/follow-up/price/", "/replies/price/")
BATCH = 98  # answers on one page: a page load costs more than what is on it
RENDERED = {"renderer_version": RENDERER_VERSION}
CORPUS_STORED = {name: UNSTORABLE.sub("?", text) for name, text in CORPUS.items()}

# Draws every formula, as printing does, and says how many there are and how many milliseconds it took.
DRAW = """async () => {
  const maths = document.querySelectorAll(".math");
  const patience = performance.now() + 10_000;
  while (maths.length && !window.katex && performance.now() < patience)
    await new Promise(requestAnimationFrame);
  const began = performance.now();
  dispatchEvent(new Event("beforeprint"));
  return [maths.length, document.querySelectorAll(".katex").length, performance.now() - began];
}"""
# Looks at every element that is the model's, and provokes each in every way a reader could.
PROVOKE = """scope => {
  const problems = [], words = text => text.trim().split(/\\s+/);
  const EVENTS = words(`pointerover mouseover mousemove focus focusin pointerdown mousedown mouseup click
    dblclick contextmenu keydown input change toggle load error animationstart scroll wheel poll revealed
    intersect submit`);
  const FORBIDDEN = new Set(words(`script style link meta base iframe frame object embed applet form input
    select textarea img image picture source video audio track template slot portal dialog marquee use animate
    set foreignobject handler title map area`));
  const OURS = new Set(["data-display", "data-copy-code", "data-copy"]);
  for (const [event, how] of [["click", true], ["submit", true], ["auxclick", true]])
    document.addEventListener(event, given => given.preventDefault(), how);
  for (const el of document.querySelectorAll(scope)) {
    const name = el.localName;
    if (name === "use" && el.getAttribute("href").startsWith("/static/icons.svg#")) continue;
    if (FORBIDDEN.has(name)) problems.push(`<${name}>`);
    for (const {name: key, value} of el.attributes) {
      const said = `${name} ${key}=${value.slice(0, 80)}`;
      if (/^(on|hx-)|src|action|ping|formaction|srcdoc|popover/.test(key)) problems.push(said);
      if (key.startsWith("data-") && !OURS.has(key)) problems.push(said);
      if (key === "id" && !/^(h-\\d+$|\\/)/.test(value)) problems.push(said);
      if (key === "style" && /url|expression|position: *fixed/.test(value)) problems.push(said);
      if (key.endsWith("href") && !(name === "a" && /^(https?:\\/\\/|mailto:|#h-\\d+$|#\\/)/i.test(value)))
        problems.push(said);
      if (name === "a" && key === "href" && el.closest(".katex")) problems.push(said);
    }
    for (const event of EVENTS) el.dispatchEvent(new Event(event, {bubbles: true, cancelable: true}));
  }
  return problems;
}"""
# What on the pages of a job and of its results is a model's or a person's own.
SCOPE = (
    "#answer *, #result tbody *, .tree *:not(#at, #at *), .codebox code *, .said p, .tag, h1 *, "
    "main > .res tbody td:not(.n) *, .call h3 *, .kvj *, .warnline b *, .thread .x *"
)
# Nothing of an answer may lie over the frame: the menu, the bar, the cards beside it.
COVERED = """() => {
  const covered = [];
  for (const frame of document.querySelectorAll(".side, .bar, .d-head")) {
    const {left, top, right, bottom} = frame.getBoundingClientRect();
    for (let x = left + 1; x < right; x += 40)
      for (let y = Math.max(top, 0) + 1; y < Math.min(bottom, innerHeight); y += 40)
        if (document.elementFromPoint(x, y)?.closest("#answer, #result")) covered.push([x, y]);
  }
  return covered;
}"""


def asked_for(watch: Watch) -> list[str]:
    """Return what pages asked for besides themselves, their assets, and what our own parts of them ask."""
    return [
        request.url
        for request in watch.requests
        if "/static/" not in request.url
        and not request.url.endswith(OURS)
        and not request.is_navigation_request()
    ]


def pages_of_answers(project: Project, by: User) -> Iterator[tuple[str, Job]]:
    """Make jobs whose answers are a part of the corpus each; yield what is in it, and the job."""
    for batch in batched(CORPUS.items(), BATCH, strict=False):
        html = "".join(render(text) for _, text in batch)
        yield (
            f"{batch[0][0]} to {batch[-1][0]}",
            a_job(project, by, Status.COMPLETED, answer={"text": "see html", "html": html, **RENDERED}),
        )


def complaints(page: Page, scope: str) -> list[Any]:
    """Provoke what a page shows; return what it did or should not hold."""
    return [
        *page.evaluate(PROVOKE, scope),
        *page.evaluate(COVERED),
        *([page.url] if page.evaluate("() => document.documentElement.scrollWidth > innerWidth") else []),
    ]


def test_no_hostile_answer_does_anything(
    ponder: Installation, browse: Browse, mira: User, watches: list[Watch]
) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    page = browse(mira)
    found: dict[str, object] = {}
    drawn = 0
    with ponder.asleep():
        for name, job in pages_of_answers(project, mira):
            page.goto(f"{job.get_absolute_url()}?whole")
            maths, katex, took = page.evaluate(DRAW)
            drawn += katex
            if problems := complaints(page, "#answer *"):
                found[name] = problems
            if took > 3_000:
                found[f"{name}: maths"] = f"{took:.0f} ms for {maths} formulas"
        page.wait_for_load_state("networkidle")
    assert found == {}
    assert drawn > 300  # else the formulas would prove nothing
    assert asked_for(watches[-1]) == []


def test_no_hostile_text_does_anything_elsewhere(
    ponder: Installation, browse: Browse, mira: User, watches: list[Watch]
) -> None:
    """As a structured result, before it is rendered, in calls, and in what people type."""
    project = ponder.project(members={mira: Role.SUBMITTER})
    texts = list(CORPUS_STORED.values())
    value = {
        "rows": [
            {"name": text[:300], texts[place // 20][-40:]: text[:40]} for place, text in enumerate(texts)
        ],
        "by attack": {text[:80]: text[:2_000] for text in texts},
    }
    errors = [
        {"path": f"/rows/{place}/name", "message": text[:60], "rule": text[:20]}
        for place, text in enumerate(texts[:90])
    ]
    structured = {"text": json.dumps(value), "parsed": value, "validation_errors": errors, **RENDERED}
    spec = {"title": texts[0], "prompt": texts[1], "instructions": texts[2], "tags": (texts[5][:60],)}
    with ponder.asleep():
        job = a_job(project, mira, Status.COMPLETED, answer=structured, spec=spec)
        Prompt.objects.filter(job=job).update(schema_name="attacks", schema={"type": texts[6]})
        for text in texts[:40]:
            lifecycle.add_note(job.pk, text[:4_000], by=mira)
        plain = a_job(
            project, mira, Status.COMPLETED, answer={"text": "\n".join(texts), "renderer_version": -1}
        )
        refusal = {"text": texts[7], "html": render(texts[7]), "is_refusal": True, **RENDERED}
        refused = a_job(project, mira, Status.COMPLETED, answer=refusal)
        call = {"type": "function_call", "call_id": "c", "name": texts[8], "arguments": texts[9]}
        ended = a_job(project, mira, Status.COMPLETED, answer={"calls": [call], **RENDERED})
        arguments = json.dumps({text[:80]: text[:400] for text in texts})
        approval = {"type": "mcp_approval_request", "id": "m", "name": texts[10], "arguments": arguments}
        asking = {"calls": [call, {**approval, "server_label": texts[11]}], **RENDERED}
        waits = a_job(project, mira, Status.REQUIRES_ACTION, answer=asking)
        lifecycle.submit(lifecycle.follow_up(ended, by=mira, prompt=texts[12]))
        url, found = job.get_absolute_url(), {}
        page = browse(mira)
        for path in (
            f"{url}?rows=all",
            f"{url}?view=tree",
            f"{url}?view=json",
            f"{url}activity/",
            f"/results/{project.slug}/attacks/",
            f"{plain.get_absolute_url()}?whole",
            refused.get_absolute_url(),
            ended.get_absolute_url(),
            waits.get_absolute_url(),
        ):
            page.goto(path)
            if problems := complaints(page, SCOPE):
                found[path] = problems[:20]
        page.wait_for_load_state("networkidle")
    assert found == {}
    assert asked_for(watches[-1]) == []
