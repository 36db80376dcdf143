"""Reads JSON schemas, checks them by OpenAI's strict rules, and validates answers against them."""

from jobs.schemas.answers import Validation, validate
from jobs.schemas.reading import SchemaTextError, parse
from jobs.schemas.strict import Problem, name_ok, problems

__all__ = ["Problem", "SchemaTextError", "Validation", "name_ok", "parse", "problems", "validate"]
