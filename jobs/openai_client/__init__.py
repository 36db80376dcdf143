"""Speak the Responses API on the wire: create, retrieve, cancel, count, models; alone imports openai."""

from .endpoint import Endpoint, models
from .errors import Blocked, BorderError, NotFound, OutcomeUnknown, Rejected, Retryable, classify
from .sdk import load
from .session import Outcome, Session

__all__ = [
    "Blocked",
    "BorderError",
    "Endpoint",
    "NotFound",
    "Outcome",
    "OutcomeUnknown",
    "Rejected",
    "Retryable",
    "Session",
    "classify",
    "load",
    "models",
]
