"""A month as a file: the rows that the page sums, as our own columns or as those of FOCUS 1.2."""

import datetime as dt
import json
from collections.abc import Callable, Iterator
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest, StreamingHttpResponse

from jobs.models import Connection, DailySpend, Kind, Project
from jobs.models.rollups import DailySpendQuerySet
from jobs.views.downloads import stream
from jobs.views.frame import frame_of
from jobs.views.month_wanted import Wanted

COLUMNS = (
    "day", "project", "model", "effort", "person", "token", "jobs", "cost_usd",
    "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens",
)  # fmt: skip
# FOCUS 1.2, https://focus.finops.org/focus-specification/v1-2/: its 21 mandatory columns, then those that
# are told where a provider has them, then our own, which it asks to begin with x_.
FOCUS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd",
    "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
    "BillingAccountType", "ChargeFrequency", "ConsumedQuantity", "ConsumedUnit", "PricingCategory",
    "ServiceSubcategory", "SkuId", "SubAccountId", "SubAccountName", "SubAccountType", "Tags",
    "x_Model", "x_Effort", "x_Person", "x_Token", "x_Jobs", "x_InputTokens", "x_CachedTokens",
    "x_OutputTokens", "x_ReasoningTokens",
)  # fmt: skip
# Provider, publisher and who invoices.
SELLERS = {
    Kind.OPENAI: ("OpenAI", "OpenAI", "OpenAI"),
    Kind.AZURE: ("Microsoft", "OpenAI", "Microsoft"),
}


def as_csv(request: HttpRequest, wanted: Wanted) -> StreamingHttpResponse:
    """Send a row a day, project, model, effort, person and token; real money only."""
    batches = (list(rows.for_spreadsheet()) for rows in _day_by_day(wanted))
    return stream(request, COLUMNS, batches, f"ponder-{wanted.month:%Y-%m}.csv")


def as_focus(request: HttpRequest, wanted: Wanted) -> StreamingHttpResponse:
    """Send the same rows by the columns of FOCUS 1.2, times in UTC."""
    zone = frame_of(request).workspace.zone
    batches = (list(_focus(rows, wanted.month, zone)) for rows in _day_by_day(wanted))
    return stream(request, FOCUS, batches, f"ponder-focus-{wanted.month:%Y-%m}.csv")


KINDS: dict[str, Callable[[HttpRequest, Wanted], StreamingHttpResponse]] = {
    "csv": as_csv,
    "focus": as_focus,
}


def _day_by_day(wanted: Wanted) -> Iterator[DailySpendQuerySet]:
    """Yield what belongs to each day: a month of a large team is a hundred thousand rows."""
    real = DailySpend.objects.real().filter(project__in=[project.pk for project in wanted.projects])
    for number in range((_next(wanted.month) - wanted.month).days):
        yield real.filter(spent_on=wanted.month + dt.timedelta(days=number))


def _focus(rows: DailySpendQuerySet, month: dt.date, zone: ZoneInfo) -> Iterator[tuple[Any, ...]]:
    period = _utc(_next(month), zone), _utc(month, zone)
    row: Any  # with the person's name beside it
    for row in rows.with_project():
        project, connection = row.project, row.project.connection
        provider, publisher, issuer = _sellers(connection)
        day = _utc(row.spent_on + dt.timedelta(days=1), zone), _utc(row.spent_on, zone)
        tokens = row.input_tokens + row.output_tokens
        yield (
            row.cost, f"connection-{connection.pk}", connection.name, "USD", *period, "Usage", None,
            f"{row.jobs} jobs on {row.model_id}, effort {row.effort}", *day, row.cost, row.cost, issuer,
            row.cost, tokens, "Tokens", provider, publisher, "AI and Machine Learning",
            "Responses API", "Connection", "Usage-Based", tokens, "Tokens", "Standard", "Generative AI",
            row.model_id, project.slug, project.name, "Project", _tags(project), row.model_id, row.effort,
            row.person, row.token and row.token.name, row.jobs, row.input_tokens, row.cached_tokens,
            row.output_tokens, row.reasoning_tokens,
        )  # fmt: skip


def _sellers(connection: Connection) -> tuple[str, str, str]:
    """Provider, publisher and who invoices; of another server we know no more than its name."""
    return SELLERS.get(Kind(connection.kind), (connection.name,) * 3)


def _tags(project: Project) -> str:
    return json.dumps({"cost_centre": project.cost_centre} if project.cost_centre else {})


def _utc(day: dt.date, zone: ZoneInfo) -> str:
    """Return the moment a day begins in the workspace's zone."""
    return dt.datetime.combine(day, dt.time(), zone).astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _next(month: dt.date) -> dt.date:
    return (month + dt.timedelta(days=32)).replace(day=1)
