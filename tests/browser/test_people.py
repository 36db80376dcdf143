"""What people may see and do, and what hostile text may not: pages as each of them opens them."""

import json

from playwright.sync_api import Page, expect

from jobs.access import Role
from jobs.models import Job, Status, User
from tests.browser.conftest import Browse
from tests.browser.installation import Installation
from tests.browser.watch import Watch
from tests.factories import a_person

TITLE = '<script>window.pwned="title"</script><b hx-get="/jobs/" hx-trigger="load">bold</b>'
PROMPT = """</textarea></title><script>window.pwned="prompt"</script>
<img src="http://beacon.example/prompt.png" onerror="window.pwned='img'">
<div hx-get="http://beacon.example/hx" hx-trigger="load" data-hx-get="/jobs/"></div>
"""
ANSWER = """# Heading <script>window.pwned="heading"</script>

<script>window.pwned="answer"</script>
<img src="http://beacon.example/raw.png" onerror="window.pwned='raw'">
<style>@import url("http://beacon.example/style.css");</style>
<iframe src="http://beacon.example/frame"></iframe>
<div hx-get="/jobs/" hx-trigger="load" data-hx-on:load="window.pwned='hx'">htmx</div>
<form action="http://beacon.example/" id="ask"><button>press me</button></form>

![beacon](http://beacon.example/markdown.png)

[run me](javascript:window.pwned='link') and [data](data:text/html,<script>window.pwned=1</script>)
and <javascript:alert(1)> and [dot]( java\tscript:alert(1) "x")

$\\href{javascript:alert(1)}{x} \\includegraphics{http://beacon.example/tex.png}$

```html
<script>window.pwned="code"</script>
```

| a | b |
|---|---|
| <script>window.pwned="cell"</script> | ![x](http://beacon.example/cell.png) |
"""


def test_viewer_reads_and_changes_nothing(ponder: Installation, browse: Browse, mira: User) -> None:
    vera = a_person("vera@example.com")
    project = ponder.project(members={mira: Role.SUBMITTER, vera: Role.VIEWER})
    job = ponder.submit(project, mira, "Find every tiling. [[sandbox: seconds=600]]")
    ponder.wait_for(job, Status.IN_PROGRESS)
    page = browse(vera)
    page.goto(job.get_absolute_url())
    expect(page.get_by_role("heading", level=1)).to_contain_text("Find every tiling.")
    expect(page.locator(".clock")).to_be_visible()
    for button in ("Cancel", "Run again"):
        expect(page.get_by_role("button", name=button)).to_have_count(0)
        expect(page.get_by_role("link", name=button)).to_have_count(0)
    page.goto("/jobs/new/")
    expect(page.get_by_role("main")).to_contain_text("No project takes jobs from you yet.")
    expect(page.get_by_role("button", name="Send job")).to_have_count(0)
    for act in ("cancel", "resolve", "finish", "rerun"):
        assert post(page, f"{job.get_absolute_url()}{act}/") == 403
    assert post(page, f"{project.get_absolute_url()}cap/", cap="1") == 403
    # Whoever sent it sees the button that the viewer does not.
    own = browse(mira)
    own.goto(job.get_absolute_url())
    expect(own.get_by_role("button", name="Cancel", exact=True)).to_be_visible()
    job.refresh_from_db()
    assert job.cancel_requested_at is None


def test_stranger_finds_nothing(ponder: Installation, browse: Browse, mira: User) -> None:
    project = ponder.project(members={mira: Role.SUBMITTER})
    stranger = a_person("sten@example.com")
    ponder.project("other", members={stranger: Role.MANAGER})
    job = ponder.submit(project, mira, "A secret lemma. [[sandbox: seconds=600]]")
    page = browse(stranger)
    paths = [job.get_absolute_url() + tab for tab in ("", "prompt/", "activity/", "raw/")]
    for path in (*paths, project.get_absolute_url(), "/settings/connections/"):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 404
        expect(page.get_by_role("heading", name="There is nothing at this address")).to_be_visible()
        expect(page.get_by_text("secret")).to_have_count(0)
    for path in ("/jobs/", "/projects/", "/budget/"):
        page.goto(path)
        expect(page.get_by_text("secret")).to_have_count(0)
        expect(page.get_by_text("Proofs")).to_have_count(0)
    nobody = browse()
    for path in (*paths, "/jobs/", "/jobs/new/", "/budget/"):
        nobody.goto(path)
        expect(nobody.get_by_role("heading", name="Sign in")).to_be_visible()


def test_hostile_text_stays_text(
    ponder: Installation, browse: Browse, mira: User, watches: list[Watch]
) -> None:
    project = ponder.project(members={mira: Role.MANAGER})
    wish = f"[[sandbox: seconds=0.2 answer={json.dumps(ANSWER)}]]"
    job = ponder.submit(project, mira, PROMPT + wish, title=TITLE, tags=(TITLE[:40],))
    held_up = ponder.submit(project, mira, f"{PROMPT}[[sandbox: http=500]]", title=TITLE)
    ponder.wait_for(held_up, Status.UNCONFIRMED)
    ponder.wait_for(job, Status.COMPLETED)
    ponder.wait_until_rendered(job)
    page = browse(mira)
    tabs = [job.get_absolute_url() + tab for tab in ("", "prompt/", "activity/", "raw/")]
    opened = {}
    for path in (
        *tabs,
        held_up.get_absolute_url(),
        "/jobs/",
        f"/jobs/new/?from={job.short_id}",
        project.get_absolute_url(),
        "/budget/",
    ):
        opened[path] = page.context.new_page()
        watches.append(Watch(opened[path], ponder.url))
        opened[path].goto(path)
    # All of them stay open: what one does late is seen while the next is waited for.
    for path, one in opened.items():
        one.wait_for_load_state("networkidle")
        assert one.evaluate("() => window.pwned") is None, path
        if path not in ("/budget/", f"/jobs/new/?from={job.short_id}"):
            expect(one.get_by_text('<script>window.pwned="title"</script>').first).to_be_visible()
    page.goto(tabs[0])
    answer = page.locator("article.prose")
    for shown in ('window.pwned="answer"', "press me", "hx-get", 'window.pwned="cell"'):
        expect(answer).to_contain_text(shown)
    assert answer.locator("script, img, iframe, style, form, [hx-get], [data-hx-get], [onerror]").count() == 0
    links = [link.get_attribute("href") or "" for link in answer.locator("a").all()]
    assert links
    assert all(link.startswith(("http://", "https://", "#")) for link in links)
    # A link that survives does nothing but lead away, and only when it is clicked.
    for link in answer.locator("a[href^=http]").all():
        assert "noopener" in (link.get_attribute("rel") or "")
    page.goto(f"/jobs/new/?from={job.short_id}")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(PROMPT + wish)
    expect(page.get_by_label("Title")).to_have_value(TITLE)
    assert Job.objects.count() == 2


def post(page: Page, path: str, **fields: str) -> int:
    """Send a form that no page offers, with this person's cookies and CSRF token; return the status."""
    token = page.evaluate("() => document.querySelector('[name=csrfmiddlewaretoken]').value")
    sent = {**fields, "csrfmiddlewaretoken": token}
    origin = page.evaluate("() => location.origin")
    return page.request.post(path, form=sent, headers={"Origin": origin}, max_redirects=0).status
