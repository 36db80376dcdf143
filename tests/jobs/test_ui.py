"""The tags and filters with which every page says money, tokens, times and statuses."""

import datetime as dt
import re
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.template import Context, Template
from django.test import RequestFactory
from django.utils import timezone
from django.utils.safestring import SafeString

from jobs.templatetags.ui import BADGES

STATIC = Path(__file__).parent.parent.parent / "static"
ATTACK = '"><script>alert(1)</script>'
NOON = dt.datetime(2026, 11, 22, 12, 0, 7, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def plain_asset_names(settings: Any) -> None:
    """Name assets as they lie in the tree: hashed names need a build."""
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }


def show(markup: str, **values: object) -> str:
    return Template("{% load ui %}" + markup).render(Context(values))


# ---- money ----


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "–"),
        ("0", "$0.00"),
        ("0.0000000001", "&lt;$0.01"),
        ("0.0099", "&lt;$0.01"),
        ("0.01", "$0.01"),
        ("0.015", "$0.02"),
        ("1.594999", "$1.59"),
        ("1.595", "$1.60"),
        ("2199.05", "$2,199.05"),
        ("1234567.891", "$1,234,567.89"),
        ("-0.22", "−$0.22"),
        ("-0.004", "&gt;−$0.01"),
        ("-1234.5", "−$1,234.50"),
    ],
)
def test_money_is_rounded_to_the_nearest_cent(amount: str | None, shown: str) -> None:
    assert show("{{ x|money }}", x=None if amount is None else Decimal(amount)) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "–"),
        ("0", "$0.00"),
        ("0.0000000001", "$0.01"),
        ("3.25", "$3.25"),
        ("3.2500000001", "$3.26"),
        ("999.991", "$1,000.00"),
    ],
)
def test_a_ceiling_is_rounded_up(amount: str | None, shown: str) -> None:
    assert show("{{ x|ceiling }}", x=None if amount is None else Decimal(amount)) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "–"),
        ("0", "$0"),
        ("0.004", "&lt;$0.01"),
        ("4.2", "$4.20"),
        ("5", "$5"),
        ("804.5", "$805"),
        ("2199.05", "$2,199"),
        ("-12.3", "−$12"),
    ],
)
def test_narrow_places_show_whole_dollars(amount: str | None, shown: str) -> None:
    assert show("{{ x|dollars }}", x=None if amount is None else Decimal(amount)) == shown


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        ("0.9", "2.6", "$0.90–$2.60"),
        ("0.001", "0.02", "&lt;$0.01–$0.02"),
        ("1.591", "1.592", "$1.59"),
        (None, "2.6", "–"),
        (None, None, "–"),
    ],
)
def test_a_range_reads_as_one_figure_where_it_is_one(low: str | None, high: str | None, shown: str) -> None:
    values = [None if end is None else Decimal(end) for end in (low, high)]
    assert show("{% money_range x y %}", x=values[0], y=values[1]) == shown


# ---- counts and spans ----


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "–"),
        (0, "0"),
        (640, "640"),
        (949, "949"),
        (1_000, "1.0k"),
        (17_920, "17.9k"),
        (999_949, "999.9k"),
        (999_950, "1.0M"),
        (1_234_567, "1.2M"),
    ],
)
def test_tokens_fit_a_narrow_column(count: int | None, shown: str) -> None:
    assert show("{{ x|tokens }}", x=count) == shown


def test_a_number_has_separators() -> None:
    assert show("{{ x|number }}", x=40_000) == "40,000"
    assert show("{{ x|number }}", x=None) == "–"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),
        (0, "0s"),
        (52.9, "52s"),
        (Decimal("98.2"), "1m 38s"),
        (554, "9m 14s"),
        (3_900, "1h 05m"),
        (dt.timedelta(days=2, hours=3, minutes=4), "2d 3h"),
        (-5, "0s"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: object, shown: str) -> None:
    assert show("{{ x|duration }}", x=seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(7, "0:07"), (462, "7:42"), (3_661.9, "1:01:01"), (dt.timedelta(minutes=1), "1:00")],
)
def test_a_clock_starts_where_the_server_says(seconds: object, shown: str) -> None:
    html = show('{% elapsed x "clock" %}', x=seconds)
    assert f">{shown}</time>" in html
    assert html.startswith('<time class="clock" datetime="PT')


@pytest.mark.parametrize(
    ("percent", "after", "width"),
    [
        (61.084, 0, "61.08"),
        (None, 0, "0.00"),
        (-3, 0, "0.00"),
        (140, 0, "100.00"),
        (30, 90, "10.00"),
        (5, 120, "0.00"),
    ],
)
def test_a_meter_never_leaves_its_bar(percent: float | None, after: float, width: str) -> None:
    assert show("{{ x|bar:y }}", x=percent, y=after) == width


# ---- times ----


@pytest.mark.parametrize(
    ("moment", "variant", "shown"),
    [
        (NOON, "", "13:00"),
        (NOON - dt.timedelta(days=1), "", "21 Nov"),
        (NOON - dt.timedelta(days=365), "", "22 Nov 2025"),
        (NOON, "long", "Today, 13:00"),
        (NOON - dt.timedelta(days=1), "long", "21 November, 13:00"),
        (NOON - dt.timedelta(days=365), "long", "22 November 2025, 13:00"),
        (NOON, "clock", "13:00:07"),
        (dt.datetime(2026, 11, 21, 23, 30, tzinfo=dt.UTC), "", "00:30"),
    ],
)
@time_machine.travel(dt.datetime(2026, 11, 22, 20, 0, tzinfo=dt.UTC), tick=False)
def test_a_moment_is_shown_in_the_readers_zone(moment: dt.datetime, variant: str, shown: str) -> None:
    with timezone.override(ZoneInfo("Europe/Stockholm")):
        html = show("{% when x variant %}", x=moment, variant=variant)
    assert f">{shown}</time>" in html
    assert re.search(r'datetime="202\d-11-2\dT\d\d:\d\d:\d\d\+01:00"', html)


def test_a_moment_that_has_not_come_is_a_dash() -> None:
    assert show("{% when x %}{% ago x %}", x=None) == "––"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "just now"),
        (4, "just now"),
        (20, "20 s ago"),
        (240, "4 min ago"),
        (7_200, "2 h ago"),
        (86_400, "1 day ago"),
        (260_000, "3 days ago"),
        (-3, "now"),
        (-20, "in 20 s"),
        (-90_000, "in 1 day"),
    ],
)
@time_machine.travel(NOON, tick=False)
def test_how_long_ago_has_one_unit(seconds: int, shown: str) -> None:
    assert f">{shown}</time>" in show("{% ago x %}", x=NOON - dt.timedelta(seconds=seconds))


# ---- statuses, models, people ----

STATUSES = (
    "awaiting_approval waiting sending queued in_progress slow requires_action unconfirmed completed "
    "incomplete failed cancelled paused"
)


def test_every_status_has_its_word_colour_and_icon() -> None:
    symbols = set(re.findall(r'<symbol id="([a-z0-9-]+)"', (STATIC / "icons.svg").read_text()))
    sheet = (STATIC / "components.css").read_text()
    assert set(BADGES) == set(STATUSES.split())
    for badge in BADGES.values():
        assert badge.icon in symbols
        assert f"&.{badge.colour} " in sheet
    assert BADGES["in_progress"].word == "Running"
    assert BADGES["awaiting_approval"].word == "Needs approval"


def test_the_word_of_a_status_is_always_there_for_screen_readers() -> None:
    assert ">Completed</span>" in show('{% badge "completed" "fill" %}')
    assert '<span class="lbl">Completed</span>' in show('{% badge "completed" "list" %}')
    assert '<span class="vh">Completed</span>' in show('{% badge "completed" "icon" %}')


def test_only_what_runs_turns() -> None:
    assert "spin" in show('{% badge "in_progress" %}')
    assert "spin" not in show('{% badge "queued" %}')


def test_a_status_we_do_not_know_is_shown_as_it_came() -> None:
    html = show("{% badge x %}", x=f"odd_word{ATTACK}")
    assert "Odd word&quot;&gt;" in html
    assert "<script" not in html


def test_an_effort_has_as_many_bars_as_it_is_high() -> None:
    assert 'class="pips e2"' in show('{% model "o3" "medium" %}')
    assert 'class="pips e3"' in show('{% model "o3" "high" %}')
    assert "pips" not in show('{% model "gpt" "" %}')
    assert "pips" not in show('{% model "gpt" x %}', x=None)
    assert "odd" in show('{% model "gpt" "odd" %}')


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("Mira Okafor", "MO"),
        ("Ana María Lindqvist", "AL"),
        ("ci-prover", "CP"),
        ("mira@example.com", "mi"),
        ("m.okafor@example.com", "MO"),
        ("é", "é"),
        ("", "?"),
        (" - ", "?"),
    ],
)
def test_a_person_has_initials(name: str, letters: str) -> None:
    assert show("{{ x|initials }}", x=name) == letters


def test_an_icon_is_hidden_from_screen_readers() -> None:
    assert show('{% i "plus" "spin" %}') == (
        '<svg class="i spin" aria-hidden="true"><use href="/static/icons.svg#plus"/></svg>'
    )


@pytest.mark.parametrize(
    "markup",
    [
        "{% i x %}",
        '{% i "plus" x %}',
        "{% badge x %}",
        '{% badge "completed" x %}',
        "{% model x x %}",
        '{% model x "high" %}',
        "{% elapsed 1 x %}",
        "{{ x|initials }}",
        "{% avatar x %}",
    ],
)
def test_what_people_and_models_wrote_is_escaped(markup: str) -> None:
    assert "<script" not in show(markup, x=ATTACK)


def test_text_marked_safe_never_stands_for_the_same_text_that_is_not() -> None:
    """What a list shows again and again is kept."""
    for markup in ("{% avatar x %}", "{% model x 'high' %}", "{% badge x %}"):
        show(markup, x=SafeString("<b>kept</b>"))
        assert "<b>" not in show(markup, x="<b>kept</b>")


def test_a_time_of_day_stands_without_its_day() -> None:
    with timezone.override(ZoneInfo("Europe/Stockholm")):
        assert (
            show("{% time_of_day x %}", x=NOON) == '<time datetime="2026-11-22T13:00:07+01:00">13:00</time>'
        )


def test_a_link_knows_whether_the_page_stands_at_it_or_below_it() -> None:
    def here(path: str) -> str:
        return show('{% here "/projects/a/" %}', request=RequestFactory().get(path))

    assert here("/projects/a/") == ' aria-current="page"'
    assert here("/projects/a/cap/") == ' aria-current="true"'
    assert here("/projects/ab/") == ""
    assert show('{% here "/jobs/" %}') == ""
