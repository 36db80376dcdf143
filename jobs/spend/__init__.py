"""Admits, settles, releases and adjusts: alone writes the ledger, the budget periods and the rollups."""

from jobs.spend.admission import BudgetRefused, NoCap, admit, record_refusal, refusal_of
from jobs.spend.audit import Finding, audit
from jobs.spend.caps import lift_cap, open_periods, periods_now, set_cap
from jobs.spend.grants import end_grant, grant
from jobs.spend.settlement import (
    NotAdjustable,
    Part,
    adjust,
    held_for,
    is_charged,
    release_part,
    release_parts,
    settle,
)
from jobs.spend.tagging import retag

__all__ = [
    "BudgetRefused",
    "Finding",
    "NoCap",
    "NotAdjustable",
    "Part",
    "adjust",
    "admit",
    "audit",
    "end_grant",
    "grant",
    "held_for",
    "is_charged",
    "lift_cap",
    "open_periods",
    "periods_now",
    "record_refusal",
    "refusal_of",
    "release_part",
    "release_parts",
    "retag",
    "set_cap",
    "settle",
]
