"""Reads JSON schemas, checks them by OpenAI's strict rules, mends them, and validates answers by them."""

from jobs.schemas.answers import Validation, validate
from jobs.schemas.fixing import fixed
from jobs.schemas.places import Spot, line_of, scan
from jobs.schemas.reading import SchemaTextError, parse
from jobs.schemas.strict import Problem, Steps, name_ok, problems

__all__ = [
    "Problem",
    "SchemaTextError",
    "Spot",
    "Steps",
    "Validation",
    "fixed",
    "line_of",
    "name_ok",
    "parse",
    "problems",
    "scan",
    "validate",
]
