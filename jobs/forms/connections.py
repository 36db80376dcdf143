"""Translates what operators decide about a connection; its key goes in here and never comes out."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.db import transaction

from jobs.forms.base import ModelForm
from jobs.models import Connection, KeySource, Kind, ModelSpec, Secret, User, trail
from jobs.openai_client import is_private_host

OPENAI_ADDRESS = "https://api.openai.com/v1"
LABELS = {
    "name": "Name",
    "kind": "Kind",
    "base_url": "Address",
    "organization": "Organization",
    "openai_project": "Project at the API",
    "bill_keys": "Its keys in the bill",
    "max_in_flight": "Most jobs in flight",
}
SOURCES = {
    KeySource.STORED: "A key, set here",
    KeySource.COMMAND: "An Entra token, from the command that is set where Ponder runs",
}
NAME_THERE = re.compile(r"[!-~]{1,100}")
DEPLOYMENT = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class PauseForm(forms.Form):
    """Why a connection is paused by hand."""

    reason = forms.CharField(max_length=200, required=False)


class RelieveForm(forms.Form):
    """Through which connection the projects of a paused one go on."""

    through = forms.IntegerField()


class KeyInput(forms.PasswordInput):
    """A field whose value is hidden by the sheet and never sent back; password managers leave it alone."""

    input_type = "text"


class ConnectionForm(ModelForm):
    """A connection; an empty key leaves the one that is set, unless kind or address change."""

    new_key = forms.CharField(
        label="Key",
        max_length=500,
        required=False,
        help_text="Encrypted, and never shown again. Another kind or address clears it.",
        widget=KeyInput(attrs={"autocomplete": "off", "spellcheck": "false", "class": "mono mask"}),
    )
    key_source = forms.ChoiceField(label="Signs in with", choices=list(SOURCES.items()))
    deployments = forms.CharField(
        label="Deployments",
        max_length=10_000,
        required=False,
        help_text="For Azure and servers of your own: one a line, a model and its deployment’s name, as in "
        "o3-pro = think-hard. A model that is not named here is asked for by its own name.",
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "class": "mono"}),
    )
    field_order = ["name", "kind", "base_url", "key_source", "new_key", "deployments"]

    class Meta:
        model = Connection
        fields = tuple(LABELS)
        labels = LABELS
        help_texts = {
            "base_url": "With its path, such as https://api.openai.com/v1 or "
            "https://NAME.openai.azure.com/openai/v1.",
            "organization": "Sent along where it is set.",
            "openai_project": "Sent along where it is set.",
            "bill_keys": "Ids such as key_abc, with commas; those of keys it had before too. By them a "
            "reconciliation tells what was used here.",
            "max_in_flight": "More wait here until one has ended.",
        }

    def __init__(self, data: Any = None, *, instance: Connection | None = None) -> None:
        super().__init__(data, instance=instance, initial=None if instance else {"base_url": OPENAI_ADDRESS})
        self.fields["max_in_flight"].widget.attrs["min"] = 1
        source = instance.key_source if instance else KeySource.STORED
        if not (settings.PONDER_AZURE_TOKEN_COMMAND or source == KeySource.COMMAND):
            del self.fields["key_source"]
            self.fields["new_key"].required = instance is None
        if instance is not None:
            self.fields["new_key"].label = "New key" if instance.key else "Key"
            self.initial.update(key_source=source, deployments=_as_lines(instance.deployments))
            if not instance.is_set_here:
                for name in ("kind", "base_url", "key_source", "new_key"):
                    self.fields.pop(name, None)

    def clean_base_url(self) -> str:
        """Refuse an address that cannot be one of an API, or that is private as it is written."""
        address = str(self.cleaned_data["base_url"]).rstrip("/")
        parts = urlsplit(address)
        is_bare = not (parts.username or parts.password or parts.query or parts.fragment)
        if parts.scheme not in {"http", "https"} or not is_bare or not parts.hostname:
            raise forms.ValidationError("An address such as https://api.openai.com/v1.")
        if is_private_host(parts.hostname) and not settings.PONDER_ALLOW_PRIVATE_ADDRESSES:
            raise forms.ValidationError(
                "A private address. Whoever runs Ponder can allow it with PONDER_ALLOW_PRIVATE_ADDRESSES=1."
            )
        return address

    def clean_new_key(self) -> str:
        """Refuse what cannot stand in a header; never repeat it."""
        key = str(self.cleaned_data["new_key"]).strip()
        if not re.fullmatch(r"[!-~]*", key):
            raise forms.ValidationError("A key has no blanks and no characters outside ASCII.")
        return key

    def clean_deployments(self) -> dict[str, str]:
        """Read the names of models there: a name is one model's, for its price is."""
        found: dict[str, str] = {}
        for line in filter(None, map(str.strip, str(self.cleaned_data["deployments"]).splitlines())):
            model, sign, name = (part.strip() for part in line.partition("="))
            if not (sign and NAME_THERE.fullmatch(name)):
                raise forms.ValidationError(f"“{line[:60]}” is not a line such as o3-pro = think-hard.")
            if model in found:
                raise forms.ValidationError(f"{model} has two names here.")
            if not ModelSpec.objects.named(model).exists():
                raise forms.ValidationError(f"There is no model “{model[:60]}” in the catalogue.")
            found[model] = name
        used: dict[str, str] = {}
        for model in ModelSpec.objects.values_list("pk", flat=True):
            name = found.get(model, model)
            if name.lower() in used:  # whether case counts there is the server's affair
                both = " and ".join(sorted([model, used[name.lower()]]))
                raise forms.ValidationError(f"“{name}” would be both {both}, which cost differently.")
            used[name.lower()] = model
        return {model: name for model, name in found.items() if name != model}

    def clean_max_in_flight(self) -> int:
        found: int = self.cleaned_data["max_in_flight"]
        if not found:
            raise forms.ValidationError("At least 1. To send nothing, pause the connection.")
        return found

    def clean(self) -> dict[str, Any]:
        """Refuse a new connection where the date is shifted: real money would be counted at other prices."""
        found: dict[str, Any] = super().clean() or self.cleaned_data
        self._check_names(found)
        self._check_key(found)
        if self.instance.pk is None and settings.PONDER_TODAY:
            self.add_error(None, "PONDER_TODAY shifts the date here, so only the practice API can be used.")
        return found

    def _check_names(self, found: dict[str, Any]) -> None:
        kind, names = found.get("kind", self.instance.kind), found.get("deployments") or {}
        if kind == Kind.OPENAI and names:
            self.add_error("deployments", "At OpenAI models go by their own names.")
        wrong = [name for name in names.values() if not DEPLOYMENT.fullmatch(name)]
        if kind == Kind.AZURE and wrong:
            self.add_error(
                "deployments",
                f"“{wrong[0]}” is no name of a deployment: up to 64 letters, digits, - _ or dots.",
            )

    def _check_key(self, found: dict[str, Any]) -> None:
        """Refuse a token anywhere but at Azure, which alone may see it, and a key where it is of no use."""
        if found.get("key_source") != KeySource.COMMAND:
            if self.instance.pk is None and found.get("new_key") == "":
                self.add_error("new_key", self.fields["new_key"].error_messages["required"])
            return
        if found.get("new_key"):
            self.add_error("new_key", "Leave this empty: an Entra token takes its place.")
        at = Connection(kind=found.get("kind", ""), base_url=found.get("base_url", ""))
        if at.base_url and not (at.kind == Kind.AZURE and at.is_at_azure):
            self.add_error(
                "key_source",
                "Entra tokens are sent to Azure only: choose that kind, and an address such as "
                "https://NAME.openai.azure.com/openai/v1.",
            )

    @transaction.atomic
    def keep(self, *, by: User) -> Connection:
        """Save on top of what a pump may have set meanwhile, with a line in the trail that shows no key."""
        is_new = self.instance.pk is None
        row = self.instance if is_new else Connection.objects.select_for_update().get(pk=self.instance.pk)
        wanted = {name: self.cleaned_data[name] for name in LABELS if name in self.cleaned_data}
        before = {name: getattr(row, name) for name in wanted}
        had_key, key = bool(row.key), self.cleaned_data.get("new_key", "")
        for name, value in wanted.items():
            setattr(row, name, value)
        moved = any(before[name] != wanted[name] for name in ("kind", "base_url") if name in wanted)
        signs_in = self.cleaned_data.get("key_source", row.key_source)
        if signs_in != row.key_source:
            labelled = {source.value: label for source, label in SOURCES.items()}
            wanted["key_source"], before["key_source"] = labelled[signs_in], labelled[row.key_source]
            row.key_source, row.key, row.key_set_at, row.key_set_by = signs_in, Secret(""), None, None
            row.forget_test()
        wanted["deployments"] = _as_lines(self.cleaned_data["deployments"], "; ")
        before["deployments"] = _as_lines(row.deployments, "; ")
        row.deployments = self.cleaned_data["deployments"]
        if key:
            row.set_key(key, by=by)
        elif moved:
            row.forget_test()
        row.save()
        labels = {name: LABELS.get(name) or str(self.fields[name].label) for name in wanted}
        said = [] if is_new else [trail.changes(before, wanted, labels)]
        said.append("Key set" if key else "Key cleared" if had_key and not row.key else "")
        trail.note(by, row, "; ".join(filter(None, said)) or "Saved unchanged", is_new=is_new)
        return row


def _as_lines(names: Mapping[str, str], between: str = "\n") -> str:
    return between.join(f"{model} = {name}" for model, name in sorted(names.items()))
