"""Translates what operators do about webhooks; a secret goes in here and never comes out."""

from django import forms

from jobs.forms.connections import KeyInput
from jobs.models import Connection, Shown
from jobs.models.connections import is_webhook_secret

MOST = 2**63 - 1


class WebhookSecretForm(forms.Form):
    """The secret that OpenAI shows once."""

    webhook_secret = forms.CharField(
        label="Secret",
        max_length=500,
        help_text="whsec_… as OpenAI shows it once. Encrypted, and never shown again.",
        widget=KeyInput(attrs={"autocomplete": "off", "spellcheck": "false", "class": "in mono mask"}),
    )

    def clean_webhook_secret(self) -> str:
        """Refuse what no signature could be checked with; never repeat it."""
        secret = str(self.cleaned_data["webhook_secret"]).strip()
        if not is_webhook_secret(secret):
            raise forms.ValidationError("The secret that OpenAI shows: whsec_ and base64.")
        return secret


class DeliveryFilter(forms.Form):
    """What a log of deliveries is narrowed to, and from where on."""

    connection = forms.ModelChoiceField(Connection.objects.order_by("name"), required=False)
    state = forms.TypedChoiceField(
        choices=[(one.value, one.name) for one in Shown],
        coerce=Shown,
        required=False,
        empty_value=None,
    )
    before = forms.IntegerField(min_value=1, max_value=MOST, required=False)
