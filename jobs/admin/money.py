"""Money, for staff to look at: only `spend` writes these, and the ledger's rows are never deleted."""

from typing import ClassVar, override

from django.contrib import admin

from jobs.admin.base import REACH, ViewOnly, exact, months_of
from jobs.models import (
    Alert,
    Budget,
    BudgetPeriod,
    BudgetRequest,
    Chat,
    DailySpend,
    DailyTagSpend,
    LedgerEntry,
    MonthlySpend,
    MonthlyTagSpend,
    Refusal,
)


@admin.register(Budget)
class BudgetAdmin(ViewOnly):
    """Caps as they stand; they are set on the project's page."""

    list_display = ("__str__", "scope", "project", "user", "token", "a_month", "is_hard", "lifted_at")
    list_filter = ("scope", "is_hard")
    show_facets = admin.ShowFacets.ALLOW
    list_select_related = ("project", "user", "token")
    ordering = ("pk",)

    @admin.display(description="USD a month", ordering="cap")
    def a_month(self, budget: Budget) -> str:
        """USD."""
        return exact(budget.cap)

    @override
    def view_on_site(self, obj: Budget) -> str:
        """Return the page the cap is shown on."""
        return obj.project.get_absolute_url() if obj.project else "/budget/"


@admin.register(BudgetPeriod)
class BudgetPeriodAdmin(ViewOnly):
    """What admission looks at."""

    list_display = ("budget", "month", "the_cap", "the_granted", "the_spent", "the_held", "the_left")
    list_filter = ("budget__scope",)
    list_select_related = ("budget__project", "budget__user", "budget__token")
    date_hierarchy = "month"
    ordering = ("-month", "budget")

    @admin.display(description="cap", ordering="cap")
    def the_cap(self, period: BudgetPeriod) -> str:
        """USD."""
        return exact(period.cap)

    @admin.display(description="granted", ordering="granted")
    def the_granted(self, period: BudgetPeriod) -> str:
        """USD."""
        return exact(period.granted)

    @admin.display(description="spent", ordering="spent")
    def the_spent(self, period: BudgetPeriod) -> str:
        """USD."""
        return exact(period.spent)

    @admin.display(description="held", ordering="held")
    def the_held(self, period: BudgetPeriod) -> str:
        """USD."""
        return exact(period.held)

    @admin.display(description="left")
    def the_left(self, period: BudgetPeriod) -> str:
        """USD."""
        return exact(period.left)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ViewOnly):
    """The ledger, newest first; a trigger refuses what this page does not offer."""

    list_display = (
        "id",
        "kind",
        "usd",
        "basis",
        "project",
        "user",
        "job",
        "month",
        "spent_on",
        "reason",
        "created_at",
    )
    list_display_links = ("id", "kind")
    list_filter = ("kind", "basis", months_of("month"), "project", "created_at")
    list_select_related = ("project", "user", "job")
    ordering = ("-id",)
    search_fields = ("job__short_id__exact", "user__email__iexact", "idempotency_key__exact")
    search_help_text = f"A job's short id, an e-mail address or an idempotency key, in full. {REACH}"

    @admin.display(description="USD", ordering="amount")
    def usd(self, entry: LedgerEntry) -> str:
        """The signed amount."""
        return exact(entry.amount)

    @override
    def view_on_site(self, obj: LedgerEntry) -> str | None:
        """Return the job's page."""
        return obj.job.get_absolute_url() if obj.job else None


class Rollup(ViewOnly):
    """Sums of a day or a month."""

    list_select_related: ClassVar[tuple[str, ...]] = ("project", "user")

    @admin.display(description="USD", ordering="cost")
    def usd(self, row: DailySpend | DailyTagSpend | MonthlySpend | MonthlyTagSpend) -> str:
        """What it adds up to."""
        return exact(row.cost)


@admin.register(DailySpend)
class DailySpendAdmin(Rollup):
    """Sums by project, model, effort, person and token."""

    list_display = (
        "spent_on",
        "project",
        "model",
        "effort",
        "user",
        "token",
        "usd",
        "jobs",
        "output_tokens",
        "reasoning_tokens",
    )
    list_filter = (months_of("spent_on"), "project", "model")
    list_select_related = ("project", "model", "user", "token")
    ordering = ("-spent_on", "-cost")


@admin.register(MonthlySpend)
class MonthlySpendAdmin(Rollup):
    """What a page of a month reads: each project by day, by model and effort, by person and token."""

    list_display = ("month", "project", "spent_on", "model", "effort", "user", "token", "usd", "jobs")
    list_filter = (months_of("month"), "project", "model")
    list_select_related = ("project", "model", "user", "token")
    ordering = ("-month", "-cost")


@admin.register(DailyTagSpend)
class DailyTagSpendAdmin(Rollup):
    """Sums by project, person and tag."""

    list_display = ("spent_on", "project", "user", "tag", "usd", "jobs")
    list_filter = (months_of("spent_on"), "project")
    ordering = ("-spent_on", "-cost")
    search_fields = ("tag__exact",)
    search_help_text = f"A tag, in full. {REACH}"


@admin.register(MonthlyTagSpend)
class MonthlyTagSpendAdmin(Rollup):
    """Sums by project and tag, in small."""

    list_display = ("month", "project", "tag", "usd", "jobs")
    list_select_related = ("project",)
    list_filter = (months_of("month"), "project")
    ordering = ("-month", "-cost")
    search_fields = ("tag__exact",)
    search_help_text = f"A tag, in full. {REACH}"


@admin.register(Alert)
class AlertAdmin(ViewOnly):
    """What was told of caps that are nearly used, and whether it arrived."""

    list_display = ("at", "budget", "month", "threshold", "measure", "mail", "chat", "chat_error", "tries")
    list_filter = ("measure", "mail", "chat")
    list_select_related = ("budget__project", "budget__user", "budget__token")
    ordering = ("-at", "-id")


@admin.register(Chat)
class ChatAdmin(ViewOnly):
    """Where alerts are posted, without the addresses."""

    exclude = ("address",)
    list_display = ("__str__", "set_by", "set_at")
    list_select_related = ("project", "set_by")
    ordering = ("pk",)


@admin.register(BudgetRequest)
class BudgetRequestAdmin(ViewOnly):
    """What people asked for beyond a cap; it is decided on the page of requests."""

    list_display = (
        "budget",
        "the_amount",
        "until",
        "asked_by",
        "asked_at",
        "decision",
        "decided_by",
        "ended_at",
    )
    list_filter = ("decision", "asked_at")
    list_select_related = ("budget__project", "budget__user", "budget__token", "asked_by")
    exclude = ("why", "note")
    ordering = ("-asked_at",)

    @admin.display(description="amount", ordering="amount")
    def the_amount(self, request: BudgetRequest) -> str:
        """USD."""
        return exact(request.amount)


@admin.register(Refusal)
class RefusalAdmin(ViewOnly):
    """Jobs that were not admitted, without their prompts."""

    list_display = ("at", "project", "user", "budget", "month", "the_ceiling", "the_shortfall")
    list_filter = ("project", "month")
    list_select_related = ("project", "user", "budget__project", "budget__user", "budget__token")
    date_hierarchy = "at"

    @admin.display(description="ceiling", ordering="ceiling")
    def the_ceiling(self, refusal: Refusal) -> str:
        """USD."""
        return exact(refusal.ceiling)

    @admin.display(description="short by", ordering="shortfall")
    def the_shortfall(self, refusal: Refusal) -> str:
        """USD."""
        return exact(refusal.shortfall)
