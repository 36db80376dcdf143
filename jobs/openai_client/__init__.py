"""Speak with the API on the wire: create, retrieve, cancel, count, models, costs; alone imports openai."""

from .bills import Cost, costs
from .chat import ChatRefused
from .chat import post as post_chat
from .endpoint import Endpoint, models
from .errors import (
    THREAD_FORGOTTEN,
    WINDOW_REFUSED,
    Blocked,
    BorderError,
    NotFound,
    NotSent,
    OutcomeUnknown,
    Rejected,
    Retryable,
    classify,
)
from .guard import is_private_host
from .sdk import load
from .session import Outcome, Session

__all__ = [
    "THREAD_FORGOTTEN",
    "WINDOW_REFUSED",
    "Blocked",
    "BorderError",
    "ChatRefused",
    "Cost",
    "Endpoint",
    "NotFound",
    "NotSent",
    "Outcome",
    "OutcomeUnknown",
    "Rejected",
    "Retryable",
    "Session",
    "classify",
    "costs",
    "is_private_host",
    "load",
    "models",
    "post_chat",
]
