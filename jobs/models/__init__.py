"""The records, their QuerySets and what the database itself enforces."""

from jobs.models.attempt import Attempt, AttemptState, RawResponse
from jobs.models.catalogue import ModelSpec, Price
from jobs.models.connections import Connection, KeySource, Kind
from jobs.models.job import (
    FINAL,
    IN_FLIGHT,
    UNFINISHED,
    Answer,
    Event,
    Job,
    Notice,
    Prompt,
    PumpLease,
    Status,
)
from jobs.models.money import (
    Basis,
    Budget,
    BudgetPeriod,
    DailySpend,
    DailyTagSpend,
    EntryKind,
    LedgerEntry,
    Refusal,
    Scope,
)
from jobs.models.people import SignInFailure, SignInLink, User
from jobs.models.projects import ApiToken, Membership, Project, Workspace
from jobs.models.secret import Secret, SecretUnreadable

__all__ = [
    "FINAL",
    "IN_FLIGHT",
    "UNFINISHED",
    "Answer",
    "ApiToken",
    "Attempt",
    "AttemptState",
    "Basis",
    "Budget",
    "BudgetPeriod",
    "Connection",
    "DailySpend",
    "DailyTagSpend",
    "EntryKind",
    "Event",
    "Job",
    "KeySource",
    "Kind",
    "LedgerEntry",
    "Membership",
    "ModelSpec",
    "Notice",
    "Price",
    "Project",
    "Prompt",
    "PumpLease",
    "RawResponse",
    "Refusal",
    "Scope",
    "Secret",
    "SecretUnreadable",
    "SignInFailure",
    "SignInLink",
    "Status",
    "User",
    "Workspace",
]
