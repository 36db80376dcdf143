"""Says what will likely come: what a job costs, whether less would do, and where a month ends."""

from jobs.forecast.ends import month_ends, shares_of
from jobs.forecast.likely import (
    ENOUGH,
    RAN_OUT,
    Experience,
    Likely,
    Rests,
    experience,
    guess_carried,
    guess_input_tokens,
    likely_cost,
    likely_of,
    odds_of,
    quantile,
)
from jobs.forecast.month import CHECKED_ON, WINDOW, Kept, Outlook, kept, outlook
from jobs.forecast.waiting import Waiting, waiting_would_have_saved

__all__ = [
    "CHECKED_ON",
    "ENOUGH",
    "RAN_OUT",
    "WINDOW",
    "Experience",
    "Kept",
    "Likely",
    "Outlook",
    "Rests",
    "Waiting",
    "experience",
    "guess_carried",
    "guess_input_tokens",
    "kept",
    "likely_cost",
    "likely_of",
    "month_ends",
    "odds_of",
    "outlook",
    "quantile",
    "shares_of",
    "waiting_would_have_saved",
]
