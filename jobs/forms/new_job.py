"""Translates what someone typed on the new-job page into a JobSpec."""

import re
import uuid
from collections.abc import Mapping
from typing import Any

from django import forms

from jobs import lifecycle, schemas
from jobs.lifecycle import JobSpec
from jobs.lifecycle.attaching import GONE
from jobs.models import Job, Project, User

MOST_TAGS = 20
SHOWN_PROBLEMS = 5
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
    "attachments": (),
}
_TOKENS = re.compile(r"\d{1,9}|\d{1,3}(?:[ \u00a0\u202f,._'’]\d{3}){1,2}", re.ASCII)


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
    attachments = forms.Field(required=False, widget=forms.MultipleHiddenInput)

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

        `elsewhere` is where it counts as long as no project is chosen. An attachment that is gone is an error
        from then on.
        """
        found = UNREAD | self.cleaned_data
        project, named = found.get("project", elsewhere), found["attachments"] or ()
        given = lifecycle.given_as(named, project=project, by=by)
        if len(given) < len({value.partition(" ")[0] for value in named}):
            self.refuse({"attachments": GONE})
        return JobSpec(
            attachments=given,
            by=by,
            rerun_of=rerun_of,
            project=project,
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


def _lines(text: str) -> str:
    """Undo a browser's line ends: a prompt counts the same however it was typed."""
    return text.replace("\r\n", "\n")
