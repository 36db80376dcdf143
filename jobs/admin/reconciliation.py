"""Reconciliations, for staff to look at: their own page books what they found."""

from django.contrib import admin

from jobs.admin.base import ViewOnly, exact
from jobs.models import Reconciliation, ReconciliationLine, ReconciliationPart


class BothSides(ViewOnly):
    """What was billed and what is booked."""

    @admin.display(description="billed", ordering="billed")
    def the_billed(self, row: Reconciliation | ReconciliationLine) -> str:
        """USD."""
        return exact(row.billed)

    @admin.display(description="booked", ordering="booked")
    def the_booked(self, row: Reconciliation | ReconciliationLine) -> str:
        """USD."""
        return exact(row.booked)


@admin.register(Reconciliation)
class ReconciliationAdmin(BothSides):
    """Each comparison with a bill."""

    list_display = (
        "asked_at",
        "is_practice",
        "asked_by",
        "since",
        "until",
        "the_billed",
        "the_booked",
        "problem",
    )
    list_filter = ("is_practice",)
    list_select_related = ("asked_by",)
    ordering = ("-pk",)


@admin.register(ReconciliationLine)
class ReconciliationLineAdmin(BothSides):
    """Each difference with its cause."""

    list_display = (
        "reconciliation",
        "cause",
        "day",
        "connection",
        "model",
        "the_billed",
        "the_booked",
        "booked_by",
    )
    list_filter = ("cause",)
    list_select_related = ("reconciliation", "connection")
    ordering = ("-pk",)


@admin.register(ReconciliationPart)
class ReconciliationPartAdmin(ViewOnly):
    """Each attempt that a difference is about."""

    list_display = ("line", "attempt", "was", "should_be")
    list_select_related = ("line", "attempt__job")
    ordering = ("-pk",)
