"""Groups the console's records by what they are about, for its first page."""

from collections.abc import Iterator
from typing import Any


def regrouped(apps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the console's records by what they are about instead of by who wrote their code."""
    known = {model["object_name"]: model for app in apps for model in app["models"]}
    home = next((app for app in apps if app["app_label"] == "jobs"), None)
    for title, names in GROUPS.items():
        models = [known.pop(name) for name in names if name in known]
        if home and models:
            yield {**home, "name": title, "models": sorted(models, key=lambda model: model["name"])}
    for app in apps:
        left = [model for model in app["models"] if model["object_name"] in known]
        if left:
            yield {**app, "models": left}


GROUPS = {
    "Jobs": ("Approval", "Attempt", "Event", "Job", "Notice", "Verdict"),
    "Content": (
        "Answer", "Attachment", "JobAttachment", "JobNote", "Prompt", "RawResponse", "SavedReplies",
    ),
    "Money": (
        "Alert", "Budget", "BudgetPeriod", "BudgetRequest", "DailySpend", "DailyTagSpend", "LedgerEntry",
        "MonthlySpend", "MonthlyTagSpend", "Price", "Reconciliation", "ReconciliationLine",
        "ReconciliationPart", "Refusal",
    ),
    "People": (
        "ApiToken", "Group", "Invitation", "LogEntry", "Membership", "SignInFailure", "SignInLink", "User",
    ),
    "Setup": (
        "Chat", "Connection", "Installation", "ModelSpec", "Project", "PumpLease", "WebhookDelivery",
        "Workspace",
    ),
}  # fmt: skip
