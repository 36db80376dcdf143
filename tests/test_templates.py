"""Templates: the rules of the house that a template can break without an error."""

import datetime as dt
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.template import Context, engines
from django.template.loader import get_template
from django.test import RequestFactory

from jobs.models import Project

ROOT = Path(__file__).parent.parent
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SYMBOLS = set(re.findall(r'<symbol id="([a-z0-9-]+)"', (ROOT / "static" / "icons.svg").read_text()))
HTMX_METHODS = r"hx-(?:get|post|put|patch|delete)\b"

each_template = pytest.mark.parametrize(
    "path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates"))
)


@pytest.fixture(autouse=True)
def plain_asset_names(settings: Any) -> None:
    """Name assets as they lie in the tree: hashed names need a build."""
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }


def tags(text: str) -> list[str]:
    """Return the start tags of a template, whose attributes may hold template tags with > in them."""
    return re.findall(r"<[a-z](?:\{%.*?%\}|\{\{.*?\}\}|\"[^\"]*\"|'[^']*'|[^>\"'])*>", text, re.DOTALL)


@each_template
def test_it_compiles(path: Path) -> None:
    engines["django"].from_string(path.read_text())


@each_template
def test_no_style_or_script_stands_in_the_page(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|hx-on|hx-vals=['\"]js:", text)
    assert all("src=" in tag for tag in tags(text) if tag.startswith("<script"))


@each_template
def test_nothing_is_loaded_from_another_origin(path: Path) -> None:
    assert not re.search(r"(?:src|href|action)=[\"']?(?:https?:)?//", path.read_text())


@each_template
def test_every_element_that_sends_by_htmx_says_where_the_answer_goes(path: Path) -> None:
    """htmx 4 inherits nothing, and a missing target fails without a word."""
    senders = [tag for tag in tags(path.read_text()) if re.search(HTMX_METHODS, tag)]
    assert all("hx-target=" in tag and "hx-swap=" in tag for tag in senders)


@each_template
def test_no_trigger_filter_needs_eval(path: Path) -> None:
    triggers = re.findall(r"hx-trigger=(\"[^\"]*\"|'[^']*')", path.read_text())
    assert not [trigger for trigger in triggers if "[" in trigger or "js:" in trigger]


@each_template
def test_every_icon_is_in_the_sprite(path: Path) -> None:
    named = set(re.findall(r"{% i ['\"]([a-z0-9-]+)['\"]", path.read_text()))
    assert named <= SYMBOLS


@each_template
def test_every_form_that_posts_carries_the_token(path: Path) -> None:
    text = path.read_text()
    forms = re.findall(r"<form\b.*?</form>", text, re.DOTALL)
    assert all("{% csrf_token %}" in form for form in forms if re.search(r"method=.post|hx-post", form))


@each_template
def test_every_button_says_what_kind_it_is(path: Path) -> None:
    assert all(" type=" in tag for tag in tags(path.read_text()) if tag.startswith("<button"))


class Person:
    """A signed-in user, as far as the frame asks."""

    is_authenticated = True

    def __init__(self, name: str, *, is_staff: bool) -> None:
        self.name, self.is_staff, self.is_superuser = name, is_staff, is_staff

    def get_full_name(self) -> str:
        return self.name

    def get_username(self) -> str:
        return "mira"


def frame(
    person: Person | None = None, path: str = "/jobs/", messages: tuple[object, ...] = (), **about: object
) -> str:
    """Render the frame around an empty page."""
    request = RequestFactory().get(path)
    request.user = person or Person("Mira Okafor", is_staff=False)  # type: ignore[assignment]
    template = get_template("base.html").template  # type: ignore[attr-defined]
    return template.render(Context({"request": request, "frame": about, "messages": messages}))  # type: ignore[no-any-return]


def test_the_frame_shows_projects_with_what_they_spent_and_marks_the_open_one() -> None:
    proofs = Project(name="Proofs <b>", slug="proofs")
    proofs.swatch, proofs.spent = 1, Decimal("804.12")  # type: ignore[attr-defined]
    projects = [proofs]
    page = frame(path="/projects/proofs/", projects=projects)
    assert '<a href="/projects/proofs/" aria-current="page">' in page
    assert "Proofs &lt;b&gt;" in page
    assert "$804" in page


def test_the_frame_shows_how_many_jobs_are_in_flight_and_nothing_for_none() -> None:
    assert "4 in flight" in frame(in_flight=4)
    assert "in flight" not in frame(in_flight=0)


def test_a_job_page_stands_under_jobs() -> None:
    assert '<a href="/jobs/" aria-current="true">' in frame(path="/jobs/j_7fk2m/")


def test_the_month_meter_shows_spent_of_cap_and_never_leaves_its_bar() -> None:
    month = {"label": "Nov", "spent": Decimal(4000), "cap": Decimal(3600), "percent": Decimal("111.1")}
    page = frame(month=month)
    assert "<b>$4,000</b> of $3,600" in page
    assert 'width="100.00"' in page
    assert " of $" not in frame(month={**month, "cap": None, "percent": None})


def test_only_operators_see_the_admin_console_and_the_way_to_a_connection() -> None:
    assert not re.search("/admin/|/settings/connections/", frame(practice=True))
    page = frame(Person("", is_staff=True), practice=True)
    assert 'href="/admin/"' in page
    assert '<a href="/settings/connections/new/">Connect OpenAI</a>' in page
    page = frame(Person("", is_staff=True), practice=True, is_connected=True)
    assert '<a href="/projects/new/">Make a real project</a>' in page


def test_everyone_gets_to_their_settings_and_sees_the_version() -> None:
    page = frame(version="1.2.3", path="/settings/profile/")
    assert '<a href="/settings/" aria-current="true">' in page
    assert "Ponder 1.2.3" in page


def test_the_person_can_sign_out_by_post_only() -> None:
    page = frame(Person("Mira Okafor", is_staff=False))
    assert '<form method="post" action="/logout/">' in page
    assert 'href="/logout/"' not in page


def test_the_practice_banner_is_on_every_page_while_it_is_practice() -> None:
    assert "no money is spent" in frame(practice=True)
    assert "no money is spent" not in frame(practice=False)


def test_a_paused_connection_and_an_ending_model_are_said_in_words() -> None:
    page = frame(
        paused=[{"name": "Azure", "reason": "the account is out of credit", "url": "/admin/"}],
        retiring=[{"id": "o3-pro", "shutdown_date": dt.date(2026, 12, 11), "successor": "gpt-5.6-sol"}],
    )
    assert "Azure is paused: the account is out of credit." in page
    assert "o3-pro is switched off on 11 Dec." in page


def test_messages_are_announced_and_escaped() -> None:
    class Message:
        level_tag = "success"

        def __str__(self) -> str:
            return "Sent <i>now</i>"

    page = frame(messages=(Message(),))
    assert 'role="status"' in page
    assert "Sent &lt;i&gt;now&lt;/i&gt;" in page


@pytest.mark.parametrize("name", ["403.html", "404.html", "500.html"])
def test_an_error_page_needs_neither_request_nor_database(name: str) -> None:
    assert "Go to jobs" in get_template(name).render({})


def test_the_theme_is_set_before_the_first_sheet() -> None:
    page = frame()
    assert page.index("theme.js") < page.index("app.css")
    assert re.search(r'<script src="[^"]*theme[^"]*"></script>', page)
