"""Reads all that the product keeps of money in one trip, and holds it against the books as they should be."""

from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection

from jobs.models import EntryKind
from tests.jobs.spend.books import TOKENS, Books

type Rows = list[tuple[Any, ...]]

_TOKENS = ", ".join(TOKENS)
# By hand: a test reads them after each of two thousand steps, and the ORM takes ten times as long.
_READ = f"""
SELECT attempt_id, kind, amount, month, spent_on, {_TOKENS}, basis FROM jobs_ledgerentry ORDER BY id;
SELECT id, cost FROM jobs_attempt;
SELECT budget_id, month, cap, granted, spent, held FROM jobs_budgetperiod;
SELECT spent_on, project_id, model_id, effort, user_id, token_id, cost, jobs, {_TOKENS}, buckets
FROM jobs_dailyspend;
SELECT month, project_id, spent_on, model_id, effort, user_id, token_id, cost, jobs, {_TOKENS}, buckets
FROM jobs_monthlyspend;
SELECT spent_on, project_id, user_id, tag, cost, jobs FROM jobs_dailytagspend;
SELECT month, project_id, tag, cost, jobs FROM jobs_monthlytagspend
"""


class Kept(NamedTuple):
    """The rows of every table with money in it; the ledger's in their order."""

    ledger: Rows
    attempts: Rows
    periods: Rows
    daily: Rows
    monthly: Rows
    daily_tags: Rows
    monthly_tags: Rows


def read() -> Kept:
    """Read them as they are now."""
    with connection.cursor() as cursor:
        cursor.execute(_READ)
        found = [cursor.fetchall()]
        while cursor.nextset():
            found.append(cursor.fetchall())
    return Kept(*found)


def assert_right(kept: Kept, books: Books) -> None:
    """Hold each total against what it should be, and the ledger's rows against what they may be."""
    _assert_ledger_is_right(kept, books)
    assert {row[:2]: row[2:] for row in kept.periods} == books.periods()
    assert {row[:6]: row[6:] for row in kept.daily} == books.daily()
    assert {row[:7]: row[7:] for row in kept.monthly} == books.monthly()
    assert _some(kept.daily_tags, 4) == _some(books.tags(by_day=True))
    assert _some(kept.monthly_tags, 3) == _some(books.tags(by_day=False))


def _assert_ledger_is_right(kept: Kept, books: Books) -> None:
    kinds: dict[int, Counter[str]] = defaultdict(Counter)
    sums: dict[int, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    places = set()
    for attempt, kind, amount, month, spent_on, *_ in kept.ledger:
        if kind != EntryKind.GRANT:
            kinds[attempt][kind] += 1
            sums[attempt][kind] += amount
            places.add((attempt, month, spent_on))
    costs = dict(kept.attempts)
    for send in books.sends:
        of, said = kinds[send.pk], sums[send.pk]
        assert of[EntryKind.HOLD] == 1
        assert of[EntryKind.CHARGE] <= 1, "nothing is charged twice"
        assert said[EntryKind.HOLD] + said[EntryKind.RELEASE] == send.held >= 0
        assert said[EntryKind.CHARGE] + said[EntryKind.ADJUST] == send.cost == costs[send.pk] >= 0
    assert places == {(send.pk, send.month, send.day) for send in books.sends}, "those of the hold"


def _some(rows: Any, key: int = 0) -> dict[Any, Any]:
    """Leave out what is nothing: of a tag that was given and taken again a row may be there or not."""
    found = {row[:key]: row[key:] for row in rows} if key else rows
    return {name: values for name, values in found.items() if any(values)}
