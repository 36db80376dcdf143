"""Translates what people ask for beyond a cap, and what is decided about it."""

import datetime as dt
from decimal import Decimal
from typing import Any

from django import forms

from jobs import lifecycle
from jobs.models import Budget, BudgetRequest, Job, User
from jobs.models.requests import last_day


def amount_field() -> forms.DecimalField:
    """Return a field for an amount of USD that is more than nothing."""
    return forms.DecimalField(
        label="Amount, USD",
        min_value=Decimal("0.01"),
        max_digits=10,  # a hundred grants of it still fit into the column of their sum
        decimal_places=2,
        widget=forms.NumberInput(attrs={"class": "in", "step": "0.01"}),
    )


def day_field() -> forms.DateField:
    """Return a field for the last day a grant counts."""
    return forms.DateField(
        label="Until",
        widget=forms.DateInput(attrs={"class": "in", "type": "date"}, format="%Y-%m-%d"),
        help_text="A day of this month. What is committed by then stays.",
    )


class DatedForm(forms.Form):
    """An amount until a day of this month."""

    amount = amount_field()
    until = day_field()

    def __init__(self, *args: Any, today: dt.date, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.today = today

    def clean_until(self) -> dt.date:
        """Refuse a day that is over, and one of another month: each month has its own cap."""
        until: dt.date = self.cleaned_data["until"]
        if not self.today <= until <= last_day(self.today):
            raise forms.ValidationError("Choose a day of this month, from today on.")
        return until


class BudgetRequestForm(DatedForm):
    """How much more, under which cap, until when and why."""

    budget = forms.ChoiceField(label="Under", widget=forms.Select(attrs={"class": "in"}))
    why = forms.CharField(
        label="Why?", max_length=1000, widget=forms.Textarea(attrs={"class": "in", "rows": 3})
    )
    field_order = ["budget", "amount", "until", "why"]

    def __init__(self, *args: Any, budgets: list[Budget], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.budgets = {str(budget.pk): budget for budget in budgets}
        field: Any = self.fields["budget"]
        field.choices = [(pk, str(budget)) for pk, budget in self.budgets.items()]

    def keep(self, *, by: User, job: Job | None) -> BudgetRequest:
        """Ask for it; `job` is one that waits for room there."""
        found = self.cleaned_data
        return lifecycle.ask_for_budget(
            self.budgets[found["budget"]],
            found["amount"],
            until=found["until"],
            why=found["why"],
            by=by,
            job=job,
        )


class GrantForm(DatedForm):
    """How much is granted, until when, and a word to whoever asked."""

    note = forms.CharField(max_length=500, required=False)

    def keep(self, request_id: int, *, by: User) -> BudgetRequest:
        """Grant it. Raises lifecycle.AlreadyDecided."""
        found = self.cleaned_data
        return lifecycle.grant_budget(
            request_id, found["amount"], until=found["until"], by=by, note=found["note"]
        )
