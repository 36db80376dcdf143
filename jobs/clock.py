"""Tells the day on which money and models are judged; leases and due times use the database's clock."""

import datetime as dt
from zoneinfo import ZoneInfo

from django.conf import settings


def now() -> dt.datetime:
    """Return the moment (UTC) by which models, price rows, months and `spent_on` are chosen.

    `PONDER_TODAY` moves its date and keeps the time of day.
    """
    moment = dt.datetime.now(dt.UTC)
    day: dt.date | None = settings.PONDER_TODAY
    return moment if day is None else dt.datetime.combine(day, moment.time(), tzinfo=dt.UTC)


def shift() -> dt.timedelta:
    """Return by how many whole days the clock here stands from the database's."""
    day: dt.date | None = settings.PONDER_TODAY
    return dt.timedelta(0) if day is None else day - dt.datetime.now(dt.UTC).date()


def today(zone: ZoneInfo) -> dt.date:
    """Return the day in `zone`. A shifted date is that date in every zone."""
    if settings.PONDER_TODAY is not None:
        day: dt.date = settings.PONDER_TODAY
        return day
    return now().astimezone(zone).date()


def zone_now(zone: str, following: str, since: dt.date | None) -> ZoneInfo:
    """Return the zone that counts now, where another may follow it on a day; '' for none."""
    current = ZoneInfo(zone)
    if following and since and today(current) >= since:
        return ZoneInfo(following)
    return current


def gone(zone: ZoneInfo) -> float:
    """Return the part of today in `zone` that is over, 0 to 1."""
    at = now().astimezone(zone)
    return (at.hour * 60 + at.minute) / (24 * 60)


def month_of(day: dt.date) -> dt.date:
    """Return the first day of the month of `day`: the key of budgets and ledger rows."""
    return day.replace(day=1)
