"""The records, their QuerySets and what the database itself enforces."""

from jobs.models.alerts import Alert, Chat, Delivery, Measure
from jobs.models.approval import Approval, AskedBecause, Ruling
from jobs.models.attachments import Attachment, AttachmentContent, Given, JobAttachment
from jobs.models.attempt import DECLARED, Attempt, AttemptState, RawResponse
from jobs.models.catalogue import ModelSpec, Price
from jobs.models.connections import Connection, KeySource, Kind
from jobs.models.deliveries import DeliveryState, Shown, WebhookDelivery
from jobs.models.installation import Installation
from jobs.models.job import Job
from jobs.models.job_text import JobText
from jobs.models.money import (
    Basis,
    Budget,
    BudgetPeriod,
    EntryKind,
    LedgerEntry,
    Refusal,
    Scope,
)
from jobs.models.payloads import Answer, Prompt
from jobs.models.people import Invitation, InvitationGone, SignInFailure, SignInLink, User, month_end_of
from jobs.models.projects import ApiToken, LastManager, Membership, Project, UnconfirmedRule, Workspace
from jobs.models.pump import PumpLease
from jobs.models.reading import JobNote, Verdict, VerdictValue
from jobs.models.reconciliation import Cause, Reconciliation, ReconciliationLine, ReconciliationPart
from jobs.models.replies import SavedReplies
from jobs.models.requests import BudgetRequest, RequestDecision
from jobs.models.rollups import DailySpend, DailyTagSpend, MonthlySpend, MonthlyTagSpend
from jobs.models.secret import Secret, SecretUnreadable
from jobs.models.status import FINAL, IN_FLIGHT, UNASKABLE, UNFINISHED, Status
from jobs.models.tally import Counted, Tally
from jobs.models.timeline import Event, Notice

__all__ = [
    "DECLARED",
    "FINAL",
    "IN_FLIGHT",
    "UNASKABLE",
    "UNFINISHED",
    "Alert",
    "Answer",
    "ApiToken",
    "Approval",
    "AskedBecause",
    "Attachment",
    "AttachmentContent",
    "Attempt",
    "AttemptState",
    "Basis",
    "Budget",
    "BudgetPeriod",
    "BudgetRequest",
    "Cause",
    "Chat",
    "Connection",
    "Counted",
    "DailySpend",
    "DailyTagSpend",
    "Delivery",
    "DeliveryState",
    "EntryKind",
    "Event",
    "Given",
    "Installation",
    "Invitation",
    "InvitationGone",
    "Job",
    "JobAttachment",
    "JobNote",
    "JobText",
    "KeySource",
    "Kind",
    "LastManager",
    "LedgerEntry",
    "Measure",
    "Membership",
    "ModelSpec",
    "MonthlySpend",
    "MonthlyTagSpend",
    "Notice",
    "Price",
    "Project",
    "Prompt",
    "PumpLease",
    "RawResponse",
    "Reconciliation",
    "ReconciliationLine",
    "ReconciliationPart",
    "Refusal",
    "RequestDecision",
    "Ruling",
    "SavedReplies",
    "Scope",
    "Secret",
    "SecretUnreadable",
    "Shown",
    "SignInFailure",
    "SignInLink",
    "Status",
    "Tally",
    "UnconfirmedRule",
    "User",
    "Verdict",
    "VerdictValue",
    "WebhookDelivery",
    "Workspace",
    "month_end_of",
]
