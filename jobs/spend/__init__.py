"""Admits, settles, releases and adjusts: alone writes the ledger, the budget periods and the rollups."""

from jobs.spend.admission import BudgetRefused, NoCap, admit, record_refusal
from jobs.spend.audit import Finding, audit
from jobs.spend.caps import open_periods, periods_now, set_cap
from jobs.spend.settlement import held_for, is_charged, release_part, settle
from jobs.spend.tagging import retag

__all__ = [
    "BudgetRefused",
    "Finding",
    "NoCap",
    "admit",
    "audit",
    "held_for",
    "is_charged",
    "open_periods",
    "periods_now",
    "record_refusal",
    "release_part",
    "retag",
    "set_cap",
    "settle",
]
