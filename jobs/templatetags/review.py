"""Leads from a figure of the budget to what it is made of, and says by how much it has changed."""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol
from urllib.parse import quote

from django import template
from django.urls import reverse
from django.utils.safestring import SafeString

from jobs.models import Refusal, User
from jobs.templatetags.ui import NONE, ceiling, dollars

register = template.Library()


class Addressed(Protocol):
    """What a page of the budget was asked for."""

    rows: str
    rows_before: str

    def address(self, **more: str) -> str: ...

    def rows_in(self, month: dt.date) -> str: ...


@register.simple_tag
def rows_of(wanted: Addressed, **filters: object) -> str:
    """Return the address of the ledger rows that a figure sums."""
    return wanted.rows + _narrowed(filters)


def rows_before(wanted: Addressed, **filters: object) -> str:
    """Return the address of those that it sums of the month before."""
    return wanted.rows_before + _narrowed(filters)


@register.simple_tag
def missing(refusal: Refusal, reader: User) -> str:
    """Return the USD by which a refused job (a row of `newest_of`) did not fit, – where that is not told."""
    return ceiling(refusal.shortfall) if refusal.tells_missing(reader) else NONE


def month_of(wanted: Addressed, month: dt.date) -> str:
    """Return the address of the same in another month."""
    return f"{reverse('budget')}?{wanted.address(month=f'{month:%Y-%m}')}"


@register.filter
def change(percent: Decimal | None) -> SafeString:
    """Return a change in whole percent with its sign, without a colour: to spend more is not wrong."""
    if percent is None:
        return SafeString('<span class="mut">–</span>')
    whole = round(percent)
    return SafeString(f"{'+' if whole > 0 else '−' if whole < 0 else ''}{abs(whole):,}%")


@register.filter
def held(amount: Decimal) -> str:
    """Return USD rounded up, to whole dollars from $10 on: what is held is never less."""
    return dollars(amount.to_integral_value("ROUND_CEILING")) if amount >= 10 else ceiling(amount)


@register.filter
def exact(amount: Decimal) -> str:
    """Return USD with every digit that is not a trailing zero, at least the cents: −$0.0312."""
    whole, _, part = f"{abs(amount):,f}".partition(".")
    return f"{'−' if amount < 0 else ''}${whole}.{part.rstrip('0').ljust(2, '0')}"


def _narrowed(filters: Mapping[str, object]) -> str:
    # A project that is asked for twice is the last one.
    return "".join(f"&{name}={quote(str(value))}" for name, value in filters.items() if value)
