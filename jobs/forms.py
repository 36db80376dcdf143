"""Translates what a browser sends: sign-in, passwords, reasons, and a new job into a JobSpec."""

import re
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.auth.forms import SetPasswordForm

from jobs import schemas
from jobs.lifecycle import Decision, JobSpec
from jobs.models import Job, Project, User

MOST_TAGS = 20
SHOWN_PROBLEMS = 5
# Nobody owns an address at localhost: it is what the first operator is made with.
NOBODYS = "@localhost"
# What a field that cannot be read counts as, so that the rest of the form can be judged and priced. A schema
# that is no JSON is one all the same.
UNREAD: dict[str, Any] = {
    "prompt": "",
    "title": "",
    "tags": (),
    "instructions": "",
    "schema_name": "",
    "schema": {},
    "model": "",
    "mode": "",
    "effort": "",
    "accepts_undocumented": False,
    "max_output_tokens": 0,
    "submission_key": "",
}
_TOKENS = re.compile(r"\d{1,9}|\d{1,3}(?:[ \u00a0\u202f,._'’]\d{3}){1,2}", re.ASCII)


class SignInForm(forms.Form):
    """E-mail and password; whether they are right is not the form's to say."""

    email = forms.CharField(
        label="Email",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True}),
    )
    password = forms.CharField(
        strip=False,
        max_length=4096,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class LinkForm(forms.Form):
    """A sign-in link's secret, also where the whole link was pasted."""

    token = forms.CharField(max_length=1000, error_messages={"required": "Paste the link you were given."})

    def clean_token(self) -> str:
        return str(self.cleaned_data["token"]).rpartition("#")[2].strip()


class ChoosePasswordForm(SetPasswordForm[User]):
    """A new password for a link's owner; the first operator may choose their address too."""

    email = forms.EmailField(
        label="Your email",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "username"}),
        help_text="You sign in with it.",
    )
    field_order = ["email", "new_password1", "new_password2"]

    def __init__(self, user: User, data: Any = None) -> None:
        super().__init__(user, data)
        self.fields["new_password1"].label = "Password"
        self.fields["new_password1"].help_text = "At least 10 characters."
        self.fields["new_password2"].label = "Password again"
        self.fields["new_password2"].help_text = ""
        if not user.email.endswith(NOBODYS):
            del self.fields["email"]
        else:
            self.fields["email"].required = False
            self.fields["email"].help_text = f"You sign in with it. Without one it stays {user.email}."

    def clean_email(self) -> str:
        email = str(self.cleaned_data["email"]).lower()
        if email and User.objects.filter(email__iexact=email).exclude(pk=self.user.pk).exists():
            raise forms.ValidationError("Someone here has this address already.")
        return email

    def save(self, commit: bool = True) -> User:
        if self.cleaned_data.get("email"):
            self.user.email = self.cleaned_data["email"]
        return super().save(commit)


class PauseForm(forms.Form):
    """Why a connection is paused by hand."""

    reason = forms.CharField(max_length=200, required=False)


class TokensField(forms.CharField):
    """A whole number of tokens, with or without separators."""

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        if not _TOKENS.fullmatch(text):
            raise forms.ValidationError("Write a whole number of tokens, such as 40,000.")
        return int("".join(sign for sign in text if sign.isdecimal()))


class NewJobForm(forms.Form):
    """What someone typed on the new-job page.

    Only what can be read is checked here; whether the job can be sent is for `lifecycle` to say, with the
    same field names.
    """

    use_required_attribute = False

    prompt = forms.CharField(strip=False, required=False)
    title = forms.CharField(max_length=200, required=False)
    tags = forms.CharField(max_length=1300, required=False)
    instructions = forms.CharField(strip=False, required=False)
    schema_name = forms.CharField(max_length=200, required=False)
    schema = forms.CharField(required=False)
    project = forms.CharField(required=False)
    model = forms.CharField(max_length=80, required=False)
    mode = forms.CharField(max_length=16, required=False)
    effort = forms.CharField(max_length=16, required=False)
    accepts_undocumented = forms.BooleanField(required=False)
    max_output_tokens = TokensField(required=False)
    submission_key = forms.UUIDField(required=False)

    def __init__(self, data: Any = None, *, projects: dict[str, Project], **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        self.projects = projects
        self.schema_problems: list[schemas.Problem] = []

    def clean_prompt(self) -> str:
        return _lines(self.cleaned_data["prompt"])

    def clean_instructions(self) -> str:
        return _lines(self.cleaned_data["instructions"])

    def clean_tags(self) -> tuple[str, ...]:
        tags = tuple(
            dict.fromkeys(tag.strip() for tag in self.cleaned_data["tags"].split(",") if tag.strip())
        )
        if len(tags) > MOST_TAGS:
            raise forms.ValidationError(f"At most {MOST_TAGS} tags.")
        return tags

    def clean_project(self) -> Project:
        project = self.projects.get(self.cleaned_data["project"])
        if project is None:
            raise forms.ValidationError("Choose a project.")
        return project

    def clean_schema(self) -> object:
        """Read the schema; keeps what is wrong with it by the strict rules for the page."""
        text = self.cleaned_data["schema"]
        if not text:
            return None
        try:
            schema = schemas.parse(text)
        except schemas.SchemaTextError as error:
            raise forms.ValidationError(str(error)) from None
        if schema is None:  # None stands for no schema at all
            raise forms.ValidationError("A schema is a JSON object.")
        self.schema_problems = list(schemas.problems(schema))[:SHOWN_PROBLEMS]
        return schema

    def clean_submission_key(self) -> str:
        return str(self.cleaned_data["submission_key"] or uuid.uuid4())

    def refuse(self, errors: Mapping[str, str]) -> None:
        """Show what is in the way: field name → a sentence. A field that could not be read says only that."""
        for name, message in errors.items():
            if name not in self.errors:
                self.add_error(name if name in self.fields else None, message)

    def spec(self, by: User, *, elsewhere: Project, rerun_of: Job | None = None) -> JobSpec:
        """Return what is wanted as far as it can be read; call it after `is_valid`.

        `elsewhere` is where it counts as long as no project is chosen.
        """
        found = UNREAD | self.cleaned_data
        return JobSpec(
            by=by,
            rerun_of=rerun_of,
            project=found.get("project", elsewhere),
            prompt=found["prompt"],
            title=found["title"],
            tags=found["tags"],
            instructions=found["instructions"],
            schema_name=found["schema_name"],
            schema=found["schema"],
            model=found["model"],
            mode=found["mode"] or "standard",
            effort=found["effort"],
            accepts_undocumented=found["accepts_undocumented"],
            max_output_tokens=found["max_output_tokens"],
            submission_key=found["submission_key"],
        )


class CapForm(forms.Form):
    """A project's monthly cap."""

    cap = forms.DecimalField(
        label="Cap a month, USD",
        min_value=Decimal(0),
        max_digits=12,
        decimal_places=2,
        widget=forms.NumberInput(attrs={"class": "in", "step": "0.01"}),
        help_text="From this month on. Below what is spent and held, nothing more is admitted.",
    )


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


def _lines(text: str) -> str:
    """Undo a browser's line ends: a prompt counts the same however it was typed."""
    return text.replace("\r\n", "\n")
