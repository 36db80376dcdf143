"""Translates what operators decide about a difference."""

from django import forms


class BookForm(forms.Form):
    """Why the ledger is adjusted."""

    reason = forms.CharField(max_length=300)


class AccountForm(forms.Form):
    """Whose bill is looked at: the organization's, or the sandbox's."""

    practice = forms.BooleanField(required=False)
