"""Writes the rows of the budget's tables, each with figures that lead to what they are made of.

All rows of a table at once: a template takes several times as long.
"""

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from html import escape
from typing import Any

from django import template
from django.template.defaultfilters import floatformat, truncatechars
from django.utils.safestring import SafeString

from jobs.models import Basis, EntryKind
from jobs.models.money import LedgerRow
from jobs.templatetags.review import Addressed, change, exact, month_of, rows_before, rows_of
from jobs.templatetags.ui import ceiling, dollars, meter, money, number

register = template.Library()

LONGEST_TITLE = 60  # characters
# What is shown of a row's kind and of what it rests on.
_KINDS, _BASES = dict(EntryKind.choices), dict(Basis.choices)


@register.simple_tag
def project_lines(wanted: Addressed, month: Any, end: Any) -> SafeString:
    """Return an item for each project that is listed: USD spent of its cap, held and left, and its end."""
    return _joined(_project_line(wanted, one, f"{month.before:%B}") for one in end.listed)


@register.simple_tag
def own_line(wanted: Addressed, end: Any) -> SafeString:
    """Return an item for the reader's own cap; nothing without one."""
    if end.own is None:
        return SafeString("")
    period = end.own.period
    rows = {kind: rows_of(wanted, kind=kind, person=period.budget.user_id) for kind in ("spent", "held")}
    said = _how_it_stands(end.own)
    if period.held:
        said = f"{_figure(f'{ceiling(period.held)} held', rows['held'])}, {said}"
    warned = " warn" if end.own.reached_on or period.is_over else ""
    bar = meter(period.spent_percent, period.held_percent, "fwarn" if warned else "")
    return SafeString(
        '<li class="own"><div class="l"><span class="n">Your own cap, in all projects</span>'
        f'<span class="v">{_figure(money(period.spent), rows["spent"])}'
        f' <span class="of">of {dollars(period.room)}</span></span></div>'
        f'{bar}<div class="s{warned}">{said}</div></li>'
    )


@register.simple_tag
def other_lines(wanted: Addressed, month: Any) -> SafeString:
    """Return an item for each project that is not listed and cost something, with its USD."""
    # There may be many of them: the address is written once.
    rows = escape(rows_of(wanted, kind="spent"))
    return _joined(
        f'<li class="l"><a class="n" href="{escape(line.project.get_absolute_url())}">'
        f'{escape(line.project.name)}</a><span class="v">'
        f'<a class="fig" href="{rows}&amp;project={line.project.slug}">{money(line.spent)}</a></span></li>'
        for line in month.unlisted
        if line.spent
    )


@register.simple_tag
def spender_rows(wanted: Addressed, month: Any) -> SafeString:
    """Return a row for each person and token: jobs, USD, and USD of the month before."""
    rows = []
    for one in month.spenders:
        name = escape(one.name)
        if one.token:
            name = f'{escape(one.token_name)} <span class="mut">(token of {name})</span>'
        # What was sent by no token is told from what was by any.
        rows.append(_sums(wanted, name, one, inside="b", person=one.user, token=one.token or "none"))
    return _joined(rows)


@register.simple_tag
def tag_rows(wanted: Addressed, month: Any) -> SafeString:
    """Return a row for each tag: jobs, USD, and USD of the month before."""
    return _joined(_sums(wanted, escape(one.tag), one, tag=one.tag) for one in month.tags)


@register.simple_tag
def model_rows(wanted: Addressed, month: Any) -> SafeString:
    """Return a row for each model: jobs, USD, and USD of the month before."""
    rows = []
    for one in month.models:
        name = f'<span class="swatch bm{one.depth}"></span>{escape(one.name)}'
        rows.append(_sums(wanted, name, one, written=dollars, css_class="mut off-paper", model=one.name))
    return _joined(rows)


@register.simple_tag
def effort_lines(wanted: Addressed, month: Any) -> SafeString:
    """Return an item for each effort: USD, and its part of the month."""
    return _joined(
        f'<li><div class="l"><span>{escape(one.name)}</span><span class="v">'
        f"{_figure(money(one.cost), rows_of(wanted, kind='spent', effort=one.name))}</span></div>"
        f"{meter(one.percent)}</li>"
        for one in month.efforts
    )


@register.simple_tag
def days_to_date(wanted: Addressed, month: Any, end: Any) -> SafeString:
    """Return a row for each day with its USD, which lead to their rows, and the month's until then."""
    rows = [
        f'<tr><th scope="row">{_day(day.on)}</th>{_cell(day.spent, _rows_of_day(wanted, day.on))}'
        f'<td class="r">{money(day.so_far)}</td></tr>'
        for day in month.days
    ]
    rows += [
        f'<tr class="mut"><th scope="row">{_day(day.on)}, likely</th>'
        f'<td class="r">{money(day.likely)}</td><td class="r">{money(day.so_far)}</td></tr>'
        for day in (end.ahead if end else ())
    ]
    return SafeString("".join(rows))


@register.simple_tag
def parts_of_days(wanted: Addressed, month: Any) -> SafeString:
    """Return a row for each day with the USD of each series, which lead to their rows."""
    rows = []
    for day in month.days:
        url = _rows_of_day(wanted, day.on)
        cells = [
            _cell(amount, f"{url}&project={series.slug}" if amount and series.slug else "")
            for series, amount in zip(month.series, day.parts, strict=True)
        ]
        cells.append(_cell(day.spent, url))
        rows.append(f'<tr><th scope="row">{_day(day.on)}</th>{"".join(cells)}</tr>')
    return SafeString("".join(rows))


@register.simple_tag
def month_rows(wanted: Addressed, months: Iterable[Any]) -> SafeString:
    """Return a row for each month that is over: USD, change, and what was forecast of it."""
    return _joined(_month_row(wanted, ended) for ended in months)


@register.simple_tag
def ledger_rows(entries: Iterable[LedgerRow]) -> SafeString:
    """Return each row of a page of the ledger; one that says so where there is none."""
    return _joined(map(_ledger_row, entries)) or SafeString('<tr><td colspan="7">No rows here.</td></tr>')


def _month_row(wanted: Addressed, ended: Any) -> str:
    told = ended.told
    if told is None:
        forecast, how = _right("too early", "mut"), '<td class="mut">–</td>'
    else:
        forecast = _right(escape(f"{dollars(told.low)} to {dollars(told.high)}"))
        how = f"<td>{'within' if told.is_within else 'below' if told.ended < told.low else 'above'}</td>"
    name = _figure(f"{ended.month:%B %Y}", month_of(wanted, ended.month))
    rows = f"{wanted.rows_in(ended.month)}&kind=spent"
    spent = _cell(ended.spent, rows) + _right(change(ended.change))
    return f'<tr><th scope="row">{name}</th>{spent}{forecast}{how}</tr>'


def _ledger_row(row: LedgerRow) -> str:
    job = "–"
    if row.job:
        title = truncatechars(row.title or row.job, LONGEST_TITLE)
        job = f'<a class="n" href="/jobs/{row.job}/">{escape(title)}</a>'
    who = escape(row.person or "–")
    if row.token:
        who += f' <span class="mut">({escape(row.token)})</span>'
    return (
        f"<tr><td>{_day(row.spent_on)}</td><td>{_KINDS[row.kind]}</td>{_right(exact(row.amount))}"
        f'<td class="clip">{job}</td><td>{escape(row.project or "the workspace")}</td><td>{who}</td>'
        f'<td class="hide-s">{escape(_BASES.get(row.basis) or row.reason or "–")}</td></tr>'
    )


def _project_line(wanted: Addressed, one: Any, before: str) -> str:
    line, period = one.line, one.line.period
    project = line.project
    spent = _figure(money(line.spent), rows_of(wanted, kind="spent", project=project.slug))
    of = f' <span class="of">of {dollars(period.room)}</span>' if period else ""
    head = (
        f'<div class="l"><span class="swatch b{line.swatch}"></span>'
        f'<a class="n" href="{escape(project.get_absolute_url())}">{escape(project.name)}</a>'
        f'<span class="v">{spent}{of}</span></div>'
    )
    if period is None:
        return f'<li>{head}<div class="s">No cap yet: nothing can be sent</div></li>'
    said = _how_it_stands(one)
    if period.held:
        held = rows_of(wanted, kind="held", project=project.slug)
        said = f"{_figure(f'{ceiling(period.held)} held', held)}, {said}"
    if one.before:
        spent_before = rows_before(wanted, kind="spent", project=project.slug)
        said += f'. <span class="nb">{before}: {_figure(dollars(one.before), spent_before)}</span>'
    warned = " warn" if line.is_near or one.reached_on else ""
    bar = meter(period.spent_percent, period.held_percent, line.fill)
    return f'<li>{head}{bar}<div class="s{warned}">{said}</div></li>'


def _how_it_stands(one: Any) -> str:
    """Return in words what is left of a project's cap, and how its month ends."""
    period = one.period
    if period.is_over:
        after = ": nothing more is admitted until it fits" if period.is_closed else ", a soft cap"
        return f"over by {escape(money(period.over))}{after}"
    left = f"{escape(money(period.left))} left"
    if one.reached_on:
        return f"{left}, reaches its cap around {one.reached_on:%a} {_day(one.reached_on)}"
    if one.end is None:
        return left
    told = f"{left}. Forecast {escape(dollars(one.end.likely))}"
    if one.spare_percent is None:
        return told
    if one.spare_percent < 0:
        return f"{told}, over its cap"
    return f"{told}, {floatformat(one.spare_percent, 0)}% to spare"


def _sums(
    wanted: Addressed,
    name: str,
    one: Any,
    *,
    written: Callable[[Decimal], str] = money,
    inside: str = "",
    css_class: str = "mut",
    **filters: object,
) -> str:
    """Return a row: a name, jobs and USD of the month, and USD before, all of which lead to their rows."""
    spent = rows_of(wanted, kind="spent", **filters)
    before = escape(written(one.before))
    if one.before:
        before = _figure(written(one.before), rows_before(wanted, kind="spent", **filters))
    cells = _right(_figure(number(one.jobs), spent)) + _right(_figure(money(one.cost), spent, inside))
    return f"<tr><td>{name}</td>{cells}{_right(before, css_class)}</tr>"


def _joined(rows: Iterable[str]) -> SafeString:
    return SafeString("".join(rows))


def _figure(shown: str, url: str, inside: str = "") -> str:
    """Return a figure that leads to what it is made of, in an element of its own where one is named."""
    text = f"<{inside}>{escape(shown)}</{inside}>" if inside else escape(shown)
    return f'<a class="fig" href="{escape(url)}">{text}</a>'


def _right(content: str, css_class: str = "") -> str:
    return f'<td class="{f"r {css_class}".strip()}">{content}</td>'


def _rows_of_day(wanted: Addressed, day: dt.date) -> str:
    return f"{wanted.rows}&kind=spent&day={day}"


def _cell(amount: Decimal, url: str) -> str:
    """Return USD as a cell that leads somewhere, '' for nowhere."""
    return _right(_figure(money(amount), url) if url else escape(money(amount)))


def _day(day: dt.date) -> str:
    return f"{day.day} {day:%b}"
