"""Translates what someone decides about a job."""

from typing import Any

from django import forms

from jobs.lifecycle import Decision


class DecisionForm(forms.Form):
    """What an approver says to a job, which a refusal needs, and the ceiling (USD) that the page showed."""

    note = forms.CharField(max_length=500, required=False)
    ceiling = forms.DecimalField(required=False)

    def __init__(self, data: Any = None, *, needs_note: bool = False) -> None:
        super().__init__(data)
        self.fields["note"].required = needs_note
        self.fields["note"].error_messages["required"] = "Say why: whoever asked reads it."

    @property
    def said(self) -> str:
        """What is wrong with it, in a sentence."""
        return " ".join(str(error) for errors in self.errors.values() for error in errors)


class ResolveForm(forms.Form):
    """What to do about a job of which nobody knows whether it was accepted; 'wait' changes nothing."""

    WAIT = "wait"

    decision = forms.ChoiceField(choices=[(WAIT, WAIT), *((choice, choice) for choice in Decision)])
    response_id = forms.RegexField(
        r"^[A-Za-z0-9_-]{4,128}$",
        required=False,
        error_messages={"invalid": "A response id has letters, digits, - and _ only."},
    )
    reason = forms.CharField(max_length=500, required=False)

    def clean(self) -> dict[str, Any]:
        """Ask for the response id and the reason where the decision rests on them."""
        found: dict[str, Any] = super().clean() or self.cleaned_data
        decision = found.get("decision")
        if decision == Decision.ADOPT and not found.get("response_id") and "response_id" not in self.errors:
            self.add_error("response_id", "Paste the response id.")
        if decision in (Decision.LOST, Decision.PAID) and not found.get("reason"):
            self.add_error("reason", "Say why; it is kept in the ledger.")
        return found
