"""Translates what managers and operators decide about caps."""

from decimal import Decimal
from typing import Any

from django import forms
from django.db import transaction

from jobs import spend
from jobs.models import Budget, Project, Scope, User, trail


def cap_field(help_text: str = "") -> forms.DecimalField:
    """Return a field for an amount of USD a month."""
    return forms.DecimalField(
        label="Cap a month, USD",
        min_value=Decimal(0),
        max_digits=12,
        decimal_places=2,
        widget=forms.NumberInput(attrs={"class": "in", "step": "0.01"}),
        help_text=help_text,
    )


class CapForm(forms.Form):
    """A monthly cap: hard unless it is said to be soft."""

    cap = cap_field("From this month on. Below what is spent and held, nothing more is admitted.")
    is_soft = forms.BooleanField(
        label="Soft: shown as over, and everything is admitted all the same", required=False
    )

    @transaction.atomic
    def keep(self, *, by: User, project: Project | None = None, user: User | None = None) -> Budget:
        """Set the cap of a project, a person or (neither given) the workspace, from this month on."""
        scope = Scope.PROJECT if project else Scope.MEMBER if user else Scope.WORKSPACE
        before = Budget.objects.standing().filter(scope=scope, project=project, user=user).first()
        cap, is_hard = self.cleaned_data["cap"], not self.cleaned_data["is_soft"]
        budget = spend.set_cap(cap, project=project, user=user, is_hard=is_hard)
        trail.note(by, project or budget, f"Cap a month: {_said(before)} → {_said(budget)}")
        return budget


class MemberCapForm(CapForm):
    """A monthly cap for everything one person submits."""

    email = forms.EmailField(
        label="Email", max_length=254, widget=forms.EmailInput(attrs={"class": "in", "autocomplete": "off"})
    )
    field_order = ["email", "cap", "is_soft"]

    def clean_email(self) -> str:
        """Find the person, whom `keep_for` then caps."""
        email = str(self.cleaned_data["email"])
        self.person = User.objects.filter(email__iexact=email).first()
        if self.person is None:
            raise forms.ValidationError("Nobody here has this address.")
        return email

    def keep_for(self, *, by: User) -> Budget:
        """Set the cap of the person who was named."""
        return self.keep(by=by, user=self.person)


@transaction.atomic
def lift(budget: Budget, *, by: User) -> bool:
    """Refuse nothing by a cap from now on; False if it was lifted already."""
    if not spend.lift_cap(budget):
        return False
    trail.note(by, budget, f"Cap a month: {_said(budget)} → none")
    return True


def usd(amount: Decimal) -> str:
    """Return USD as the trail writes them."""
    return f"${amount:,.2f}"


def initial_of(budget: Budget | None) -> dict[str, Any]:
    """Return a cap as the form's fields hold it."""
    return {"cap": round(budget.cap, 2), "is_soft": not budget.is_hard} if budget else {}


def _said(budget: Budget | None) -> str:
    if budget is None:
        return "none"
    return usd(budget.cap) if budget.is_hard else f"{usd(budget.cap)}, soft"
