"""Says money, tokens, times and statuses the same way on every page."""

import datetime as dt
import re
from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from functools import cache, lru_cache
from html import escape
from typing import Any, NamedTuple

from django import template
from django.template.context import Context
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()

NONE = "–"
CENT = Decimal("0.01")
PIPS = {"none": 0, "minimal": 0, "low": 1, "medium": 2, "high": 3, "xhigh": 3, "max": 3}

_MARK = (SafeString(""), SafeString("")), (SafeString("<mark>"), SafeString("</mark>"))

type Seconds = int | float | Decimal | dt.timedelta


class Badge(NamedTuple):
    """How a status looks: colour class, icon and the word on the screen."""

    colour: str
    icon: str
    word: str


BADGES = {
    "awaiting_approval": Badge("hold", "lock", "Needs approval"),
    "waiting": Badge("idle", "circle-dashed", "Waiting"),
    "sending": Badge("run", "send", "Sending"),
    "queued": Badge("idle", "circle-dashed", "Queued"),
    "in_progress": Badge("run", "loader-circle", "Running"),
    "slow": Badge("warn", "hourglass", "Slow"),
    "requires_action": Badge("hold", "hand", "Needs action"),
    "unconfirmed": Badge("warn", "circle-question-mark", "Unconfirmed"),
    "completed": Badge("ok", "circle-check", "Completed"),
    "incomplete": Badge("warn", "triangle-alert", "Incomplete"),
    "failed": Badge("bad", "circle-x", "Failed"),
    "cancelled": Badge("idle", "circle-slash", "Cancelled"),
    "paused": Badge("warn", "circle-pause", "Paused"),
}


@register.simple_tag(name="i")
def icon(name: str, css_class: str = "") -> SafeString:
    """Return the icon `name` of icons.svg; it is decoration, so a word must stand beside it."""
    return _icon(name, css_class)


@register.simple_tag
def badge(status: str, variant: str = "") -> SafeString:
    """Return a status as icon, word and colour.

    Variants: "" icon and word; "fill" the same on a coloured pill; "list" and "icon" show the icon
    and leave the word to screen readers ("list" shows it again on phones). An upstream word that is
    not ours is shown as it came.
    """
    return _badge(str(status), variant)


@register.simple_tag
def model(name: str, effort: str | None = "") -> SafeString:
    """Return a model's name with its effort as up to three bars and a word."""
    return _model(name, effort or "")


@register.simple_tag(takes_context=True)
def here(context: Context, path: str) -> SafeString:
    """Return aria-current for a link to `path`, if the page is at it or below it."""
    current: str = context["request"].path if "request" in context else ""
    if not current.startswith(path):
        return SafeString("")
    return SafeString(' aria-current="page"' if current == path else ' aria-current="true"')


@register.simple_tag(takes_context=True)
def beside(context: Context, projects: Iterable[Any]) -> SafeString:
    """Return the side bar's links to projects, each with its USD of this month; at once, for every page."""
    return SafeString(
        "".join(
            f'<a href="{(url := project.get_absolute_url())}"{here(context, url)}>'
            f'<span class="swatch b{project.swatch}"></span>'
            f'<span class="nm" title="{(name := escape(project.name))}">{name}</span>'
            f'<span class="end">{escape(dollars(project.spent or 0))}</span></a>'
            for project in projects
        )
    )


@register.filter
def money(amount: Decimal | int | None) -> str:
    """Return USD to the nearest cent: $1.59, $2,199.05, <$0.01 for a part of a cent, – for none."""
    return NONE if amount is None else _dollars_and_cents(Decimal(amount), ROUND_HALF_UP)


@register.filter
def ceiling(amount: Decimal | int | None) -> str:
    """Return USD rounded up to the cent, so that 'never more than' stays true."""
    if amount is None:
        return NONE
    return _dollars_and_cents(Decimal(amount).quantize(CENT, ROUND_CEILING), ROUND_CEILING)


@register.filter
def dollars(amount: Decimal | int | None) -> str:
    """Return USD for narrow places: whole dollars from $10 on or when there are no cents."""
    if amount is None:
        return NONE
    amount = Decimal(amount)
    if abs(amount) < 10 and amount != amount.to_integral_value():
        return money(amount)
    return _signed(amount, f"${abs(amount).quantize(Decimal(1), ROUND_HALF_UP):,}")


@register.simple_tag
def money_range(low: Decimal | int | None, high: Decimal | int | None) -> str:
    """Return a likely range in USD, $0.90–$2.60, or one figure when both ends read the same."""
    ends = list(dict.fromkeys((money(low), money(high))))
    return NONE if NONE in ends else "–".join(ends)


@register.filter
def number(count: int | None) -> str:
    """Return a whole number with thousands separators."""
    return NONE if count is None else f"{count:,}"


@register.filter
def tokens(count: int | None) -> str:
    """Return a number of tokens in at most five characters: 640, 17.9k, 1.2M."""
    if count is None:
        return NONE
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if abs(count) >= size - size // 20_000:  # 999,950 reads 1.0M, never 1000.0k
            return f"{count / size:.1f}{unit}"
    return str(count)


@register.filter
def duration(seconds: Seconds | None) -> str:
    """Return a time span by its two largest units: 52s, 9m 14s, 1h 05m, 2d 3h."""
    if seconds is None:
        return NONE
    total = _whole_seconds(seconds)
    minutes, rest = divmod(total, 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days}d {hours_left}h"
    if hours:
        return f"{hours}h {minutes_left:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


@register.simple_tag
def elapsed(seconds: Seconds, css_class: str = "") -> SafeString:
    """Return a clock that starts at `seconds`; app.js lets it run on."""
    total = _whole_seconds(seconds)
    hours, minutes, rest = total // 3600, total // 60 % 60, total % 60
    shown = f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
    return format_html(
        '<time class="{}" datetime="PT{}S" data-elapsed="{}">{}</time>', css_class, total, total, shown
    )


@register.simple_tag
def when(moment: dt.datetime | None, variant: str = "") -> SafeString:
    """Return a moment in the reader's zone: 13:52 today, else 21 Nov, with the year when it is another.

    Variants: "long" Today, 13:52 or 21 November, 13:52; "clock" 13:52:07, for a timeline of one day.
    """
    if moment is None:
        return SafeString(NONE)
    local, today = timezone.localtime(moment), timezone.localdate()
    day = local.date()
    if variant == "clock":
        shown = f"{local:%H:%M:%S}"
    elif variant == "long":
        named = "Today" if day == today else f"{day.day} {day:%B}{_year(day, today)}"
        shown = f"{named}, {local:%H:%M}"
    else:
        shown = f"{local:%H:%M}" if day == today else f"{day.day} {day:%b}{_year(day, today)}"
    return _time(local, shown)


@register.simple_tag
def time_of_day(moment: dt.datetime) -> SafeString:
    """Return a moment's time in the reader's zone, 13:52, where the day stands above it."""
    local = timezone.localtime(moment)
    return SafeString(f'<time datetime="{local.isoformat()}">{local:%H:%M}</time>')


@register.simple_tag
def ago(moment: dt.datetime | None) -> SafeString:
    """Return how long ago a moment was, or how far off it is: just now, 4 min ago, in 20 s."""
    if moment is None:
        return SafeString(NONE)
    seconds = (timezone.now() - moment).total_seconds()
    size = abs(int(seconds))
    if size < 5:
        return _time(timezone.localtime(moment), "just now" if seconds >= 0 else "now")
    for unit, length, plural in (("day", 86_400, "s"), ("h", 3_600, ""), ("min", 60, ""), ("s", 1, "")):
        if size >= length:
            count = size // length
            span = f"{count} {unit}{plural if count > 1 else ''}"
            break
    return _time(timezone.localtime(moment), f"{span} ago" if seconds >= 0 else f"in {span}")


@register.simple_tag
def avatar(person: object) -> SafeString:
    """Return a person as initials, the name being their title and said to screen readers."""
    return _avatar(str(person))


@register.filter
def initials(name: object) -> str:
    """Return one or two letters for an avatar: MO for Mira Okafor, mi for mira@example.com."""
    return _initials(str(name))


@register.simple_tag
def options(choices: Iterable[tuple[str, str]], chosen: str | None = "") -> SafeString:
    """Return choices, each a value and its name, as options of a select; a long list at once is cheap."""
    # Not by format_html_join: three hundred names would take it longer than the rest of a page.
    return SafeString(
        "".join(
            f'<option value="{escape(value)}"{" selected" * (value == chosen)}>{escape(name)}</option>'
            for value, name in choices
        )
    )


@register.simple_tag
def marked(parts: Iterable[tuple[str, bool]]) -> SafeString:
    """Return a text in parts, each with whether it is marked."""
    return format_html_join(
        "", "{}{}{}", ((_MARK[is_hit][0], part, _MARK[is_hit][1]) for part, is_hit in parts)
    )


@register.filter
def bar(percent: Decimal | float | None, after: Decimal | float = 0) -> str:
    """Return the width of a meter's part in percent, cut to what is left of 100 after `after`."""
    taken = min(max(float(after), 0.0), 100.0)
    return f"{min(max(float(percent or 0), 0.0), 100.0 - taken):.2f}"


@register.simple_tag
def meter(percent: Decimal | float | None, held: Decimal | float | None = None, fill: str = "") -> SafeString:
    """Return a bar of `percent`, of which `held` more is not spent yet. The words beside it say the same."""
    fill, width = fill or "facc", bar(percent)
    rest = ""
    if held:
        rest = f'<rect class="{fill} held" x="{width}" width="{bar(held, percent or 0)}" height="6" />'
    return SafeString(
        '<svg class="meter" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="t" width="100" height="6" />'
        f'<rect class="{fill}" width="{width}" height="6" />{rest}</svg>'
    )


def _dollars_and_cents(amount: Decimal, rounding: str) -> str:
    if 0 < abs(amount) < CENT:
        return "<$0.01" if amount > 0 else ">−$0.01"
    return _signed(amount, f"${abs(amount.quantize(CENT, rounding)):,}")


def _signed(amount: Decimal, text: str) -> str:
    return f"−{text}" if amount < 0 else text


def _whole_seconds(seconds: Seconds) -> int:
    value: Any = seconds.total_seconds() if isinstance(seconds, dt.timedelta) else seconds
    return max(0, int(value))


def _year(day: dt.date, today: dt.date) -> str:
    return "" if day.year == today.year else f" {day.year}"


def _time(local: dt.datetime, shown: str) -> SafeString:
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(timespec="seconds"),
        f"{local.day} {local:%b %Y, %H:%M:%S %Z}",
        shown,
    )


# A list shows the same few icons, statuses, models and people in every row. The caches are typed: text that
# is marked safe must never stand for the same text that is not.
_kept = lru_cache(maxsize=512, typed=True)


@cache
def _sprite() -> str:
    """Return where the icons are; a process serves one build of them."""
    return static("icons.svg")


@_kept
def _icon(name: str, css_class: str) -> SafeString:
    classes = f"i {css_class}".strip()
    return format_html(
        '<svg class="{}" aria-hidden="true"><use href="{}#{}"/></svg>', classes, _sprite(), name
    )


@_kept
def _badge(status: str, variant: str) -> SafeString:
    known = BADGES.get(status)
    colour, symbol, word = known or Badge("idle", "circle-dashed", status.replace("_", " ").capitalize())
    drawing = _icon(symbol, "spin" if symbol == "loader-circle" else "")
    if variant in {"list", "icon"}:
        hidden = "lbl" if variant == "list" else "vh"
        return format_html(
            '<span class="badge {}" title="{}">{}<span class="{}">{}</span></span>',
            colour,
            word,
            drawing,
            hidden,
            word,
        )
    return format_html('<span class="{}">{}{}</span>', f"badge {colour} {variant}".strip(), drawing, word)


@_kept
def _model(name: str, effort: str) -> SafeString:
    if effort not in PIPS:
        return format_html('<span class="model"><span class="name">{}</span> {}</span>', name, effort)
    return format_html(
        '<span class="model"><span class="name">{}</span><span class="pips e{}" aria-hidden="true">'
        '<i></i><i></i><i></i></span><span class="eff">{}</span></span>',
        name,
        PIPS[effort],
        effort,
    )


@_kept
def _avatar(name: str) -> SafeString:
    return format_html(
        '<span class="who"><span class="av" title="{}" aria-hidden="true">{}</span>'
        '<span class="vh">{}</span></span>',
        name,
        _initials(name),
        name,
    )


@_kept
def _initials(name: str) -> str:
    words = [word for word in re.split(r"[\s._\-]+", name.split("@")[0]) if word]
    if not words:
        return "?"
    return (words[0][0] + words[-1][0]).upper() if len(words) > 1 else words[0][:2]
