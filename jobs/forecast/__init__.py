"""Says what will likely come: what a job costs, whether less would do, and where a month ends."""

from jobs.forecast.ends import charged_of_held, ends_together, month_ends, shares_in
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
from jobs.forecast.waiting import Waited, Waiting

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
    "Waited",
    "Waiting",
    "charged_of_held",
    "ends_together",
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
    "shares_in",
]
