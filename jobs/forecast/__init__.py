"""Says what will likely come: what a job costs, and whether less would do."""

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
    odds_of,
    quantile,
)
from jobs.forecast.waiting import Waiting, waiting_would_have_saved

__all__ = [
    "ENOUGH",
    "RAN_OUT",
    "Experience",
    "Likely",
    "Rests",
    "Waiting",
    "experience",
    "guess_carried",
    "guess_input_tokens",
    "likely_cost",
    "odds_of",
    "quantile",
    "waiting_would_have_saved",
]
