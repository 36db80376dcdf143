"""Reconciles: compares what was charged here with what an organization was billed, and books it."""

from jobs.reconcile.accounts import NoAccount, account, has_admin_key, is_on_a_bill
from jobs.reconcile.runs import NotBookable, ask, ask_daily, book, book_on, run

__all__ = [
    "NoAccount",
    "NotBookable",
    "account",
    "ask",
    "ask_daily",
    "book",
    "book_on",
    "has_admin_key",
    "is_on_a_bill",
    "run",
]
