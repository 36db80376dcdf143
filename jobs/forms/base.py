"""What forms of one row are made of, typed: Django's own cannot say at run time of which record they are."""

from typing import TYPE_CHECKING, Any

from django import forms

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Any]
else:
    ModelForm = forms.ModelForm

__all__ = ["ModelForm"]
