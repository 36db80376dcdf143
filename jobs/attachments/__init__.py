"""Looks into attached files: what they are by their content, and the most input tokens they can cost."""

from jobs.attachments.found import (
    MOST_BYTES,
    MOST_BYTES_A_JOB,
    MOST_BYTES_A_THREAD,
    MOST_FILES,
    Found,
    Unreadable,
    digest_of,
    too_large,
    too_large_in_thread,
    too_large_together,
)
from jobs.attachments.inspection import inspect
from jobs.attachments.names import clean_name
from jobs.attachments.tokens import bound, guess, rule_of

__all__ = [
    "MOST_BYTES",
    "MOST_BYTES_A_JOB",
    "MOST_BYTES_A_THREAD",
    "MOST_FILES",
    "Found",
    "Unreadable",
    "bound",
    "clean_name",
    "digest_of",
    "guess",
    "inspect",
    "rule_of",
    "too_large",
    "too_large_in_thread",
    "too_large_together",
]
