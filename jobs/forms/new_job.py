"""Translates what someone typed on the new-job page into a JobSpec."""

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from django import forms
from django.http import QueryDict

from jobs import lifecycle, schemas
from jobs.forms.files import files_in, not_here_in
from jobs.lifecycle import JobSpec
from jobs.lifecycle.tools import BUILT_IN, built_in
from jobs.models import Job, Project, User
from jobs.models.catalogue import SOONEST

MOST_TAGS = 20
USUAL_TOOL_CALLS = 3
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
    "window": "",
    "accepts_undocumented": False,
    "max_output_tokens": 0,
    "submission_key": "",
    "attachments": (),
    "tools": (),
    "tool": (),
    "vector_stores": "",
    "mcp_label": "",
    "mcp_url": "",
    "max_tool_calls": None,
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
    window = forms.CharField(max_length=16, required=False)
    accepts_undocumented = forms.BooleanField(required=False)
    max_output_tokens = TokensField(required=False)
    submission_key = forms.UUIDField(required=False)
    why = forms.CharField(max_length=1000, required=False)
    attachments = forms.Field(required=False, widget=forms.MultipleHiddenInput)
    # Functions, and whatever else has no field of its own, as in the API.
    tools = forms.CharField(required=False)
    tool = forms.Field(required=False, widget=forms.MultipleHiddenInput)
    vector_stores = forms.CharField(max_length=2000, required=False)
    mcp_label = forms.CharField(max_length=64, required=False)
    mcp_url = forms.CharField(max_length=500, required=False)
    max_tool_calls = forms.CharField(max_length=9, required=False)

    def __init__(self, data: Any = None, *, projects: dict[str, Project], **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        self.projects = projects

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
        """Read the schema; what is wrong with it by the strict rules is for `lifecycle` to say."""
        text = _lines(self.cleaned_data["schema"])
        if not text:
            return None
        try:
            schema = schemas.parse(text)
        except schemas.SchemaTextError as error:
            raise forms.ValidationError(str(error)) from None
        if schema is None:  # None stands for no schema at all
            raise forms.ValidationError("A schema is a JSON object.")
        return schema

    def clean_tools(self) -> tuple[object, ...]:
        """Read the tools written out, in a list or alone."""
        text = _lines(self.cleaned_data["tools"])
        try:
            return tools_in(text) if text else ()
        except schemas.SchemaTextError as error:
            raise forms.ValidationError(str(error)) from None

    def clean_max_tool_calls(self) -> int | None:
        text = self.cleaned_data["max_tool_calls"]
        if not text:
            return None
        if not (text.isascii() and text.isdecimal()):
            raise forms.ValidationError("Write a whole number of calls, such as 3.")
        return int(text)

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
        from then on. A job of a thread, asked again in its project, keeps its place there.
        """
        found = UNREAD | self.cleaned_data
        project = found.get("project", elsewhere)
        again = rerun_of if rerun_of is not None and rerun_of.project_id == project.pk else None
        tools = (*found["tools"], *_built_in(found))
        given, gone = files_in(found["attachments"] or (), project=project, by=by)
        self.refuse(gone | not_here_in(cast(QueryDict, self.data)))
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
            window=found["window"] or SOONEST,
            accepts_undocumented=found["accepts_undocumented"],
            max_output_tokens=found["max_output_tokens"],
            submission_key=found["submission_key"],
            tools=tools,
            # Only the tools of the API are limited, and the field is there without any.
            max_tool_calls=found["max_tool_calls"] if built_in(tools) else None,
            previous=again.previous if again else None,
            replies=lifecycle.replies_of(again) if again and lifecycle.is_answer(again) else (),
        )


def tools_in(text: str) -> tuple[object, ...]:
    """Read tools as in the API: a list of them, or one alone. Raises schemas.SchemaTextError."""
    value = schemas.parse(text)
    return tuple(value) if isinstance(value, list) else (value,)


def tool_fields(tools: Iterable[Any], max_tool_calls: int | None) -> dict[str, Any]:
    """Return tools as the form's fields hold them: what has fields of its own there, the rest written out."""
    fields: dict[str, Any] = {"tool": [], "max_tool_calls": max_tool_calls or USUAL_TOOL_CALLS}
    rest = []
    for tool in tools:
        name, held = _fields_of(tool)
        if name and name not in fields["tool"]:
            fields["tool"].append(name)
            fields |= held
        else:
            rest.append(tool)
    fields["tools"] = json.dumps(rest, indent=2, ensure_ascii=False) if rest else ""
    return fields


def _built_in(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the tools that were ticked, as in the API."""
    for name in found["tool"] or ():
        if name == "file_search":
            yield {"type": name, "vector_store_ids": re.split(r"[\s,]+", found["vector_stores"].strip(" ,"))}
        elif name == "mcp":
            yield {
                "type": name,
                "server_label": found["mcp_label"],
                "server_url": found["mcp_url"],
                "require_approval": "always",
            }
        else:
            yield {"type": name}


def _fields_of(tool: Any) -> tuple[str, dict[str, Any]]:
    """Return which tick stands for a tool, and what its fields hold; '' for one that they cannot hold."""
    name, held = tool["type"], dict[str, Any]()
    if name == "file_search":
        held = {"vector_stores": ", ".join(tool["vector_store_ids"])}
    elif name == "mcp":
        held = {"mcp_label": tool["server_label"], "mcp_url": tool["server_url"]}
    is_whole = list(_built_in(UNREAD | held | {"tool": [name]})) == [tool]
    return (name, held) if name in BUILT_IN and is_whole else ("", {})


def _lines(text: str) -> str:
    """Undo a browser's line ends: a prompt counts the same however it was typed."""
    return text.replace("\r\n", "\n")
