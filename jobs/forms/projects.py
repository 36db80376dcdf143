"""Translates what managers and operators decide about a project."""

from decimal import Decimal
from typing import Any

from django import forms
from django.db import transaction
from django.utils.text import slugify

from jobs import spend
from jobs.forms.base import ModelForm
from jobs.forms.caps import cap_field, usd
from jobs.forms.new_job import TokensField
from jobs.models import Connection, ModelSpec, Project, UnconfirmedRule, User, trail

# What the trail calls each setting.
SETTINGS = {
    "name": "Name",
    "cost_centre": "Cost centre",
    "connection": "Connection",
    "default_model": "Default model",
    "default_mode": "Default mode",
    "default_effort": "Default effort",
    "default_max_output_tokens": "Default output limit",
    "allowed_models": "Allowed models",
    "allowed_efforts": "Allowed efforts",
    "job_limit": "Limit per job",
    "unconfirmed_rule": "UnconfirmedRule for unconfirmed jobs",
}
STAYS_PRACTICE = "This project has practice jobs: it cannot become real. Make a new one."
STAYS_REAL = "This project has jobs that cost money: it cannot become practice. Make a new one."


class NewProjectForm(ModelForm):
    """A new project with its cap."""

    cap = cap_field()

    class Meta:
        model = Project
        fields = ("name", "slug", "connection", "cost_centre")
        labels = {"slug": "Short name", "cost_centre": "Cost centre"}
        help_texts = {"slug": "Stands in addresses and commands, and stays. Empty: made from the name."}

    field_order = ["name", "slug", "connection", "cap", "cost_centre"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["slug"].required = False

    def clean_slug(self) -> str:
        slug = self.cleaned_data["slug"] or slugify(self.cleaned_data.get("name", ""))[:60]
        if not slug:
            raise forms.ValidationError("Write one: the name has no letters that an address can carry.")
        return str(slug)

    @transaction.atomic
    def keep(self, *, by: User) -> Project:
        """Make the project and open its budget."""
        project: Project = self.save()
        spend.set_cap(self.cleaned_data["cap"], project=project)
        said = f"On {project.connection}, cap a month {usd(self.cleaned_data['cap'])}"
        trail.note(by, project, said, is_new=True)
        return project


class ProjectForm(ModelForm):
    """A project's settings: what a new job starts from, what it may use, and where it goes."""

    default_max_output_tokens = TokensField(label="Output limit, tokens")
    allowed_models = forms.ModelMultipleChoiceField(
        ModelSpec.objects.none(), label="Models", required=False, widget=forms.CheckboxSelectMultiple
    )
    allowed_efforts = forms.MultipleChoiceField(
        label="Efforts", required=False, widget=forms.CheckboxSelectMultiple
    )
    default_mode = forms.ChoiceField(label="Mode")
    default_effort = forms.ChoiceField(label="Effort", required=False)
    job_limit = forms.DecimalField(
        label="Limit per job, USD",
        required=False,
        min_value=Decimal("0.01"),
        max_digits=12,
        decimal_places=2,
        widget=forms.NumberInput(attrs={"step": "0.01"}),
        help_text="A job whose ceiling is above it needs an approver. Empty: no limit but the cap.",
    )
    unconfirmed_rule = forms.ChoiceField(
        label="What is done then",
        choices=UnconfirmedRule,
        widget=forms.RadioSelect,
        help_text="Fifteen minutes after it was sent perhaps, unless the journal or a webhook tells of it. "
        "Jobs that are unconfirmed now are included. What is unconfirmed once more, or cannot be sent again, "
        "is left to people.",
    )

    class Meta:
        model = Project
        fields = tuple(SETTINGS)
        labels = {"default_model": "Model", "cost_centre": "Cost centre"}

    def __init__(self, data: Any = None, *, instance: Project, models: list[ModelSpec], by: User) -> None:
        """`models` are those that can be chosen today."""
        super().__init__(data, instance=instance)
        self.by = by
        if instance.job_limit is not None:
            # With all its stored decimals the field would refuse what it shows.
            self.initial["job_limit"] = round(instance.job_limit, 2)
        names = [spec.pk for spec in models]
        rows, named = ModelSpec.objects.filter(pk__in=names), [(spec.pk, spec.name) for spec in models]
        efforts = list(dict.fromkeys(effort for spec in models for effort in spec.efforts_offered()))
        modes = list(dict.fromkeys(mode for spec in models for mode in spec.modes))
        self._offer("allowed_models", named, rows=rows)
        self._offer("default_model", [("", "The workspace’s default"), *named], rows=rows)
        self._offer("allowed_efforts", _twice(efforts))
        self._offer("default_effort", [("", "The model’s default"), *_twice(efforts)])
        self._offer("default_mode", _twice(modes))
        if not by.is_superuser:
            del self.fields["connection"]

    def clean_connection(self) -> Connection:
        """Keep a project on its side once it has a job: practice money is never real money."""
        found: Connection = self.cleaned_data["connection"]
        refusal = _stays(self.instance.pk, found)
        if refusal:
            raise forms.ValidationError(refusal)
        return found

    def clean(self) -> dict[str, Any]:
        """Refuse defaults with which no job could be sent."""
        found: dict[str, Any] = super().clean() or self.cleaned_data
        spec: ModelSpec | None = found.get("default_model")
        effort, mode = found.get("default_effort"), found.get("default_mode")
        if effort and found.get("allowed_efforts") and effort not in found["allowed_efforts"]:
            self.add_error("default_effort", "This effort is not among those allowed below.")
        if spec is None:
            return found
        if found.get("allowed_models") and spec not in found["allowed_models"]:
            self.add_error("default_model", "This model is not among those allowed below.")
        if effort and effort not in spec.efforts:
            self.add_error("default_effort", f"{spec.pk} has the efforts {', '.join(spec.efforts)}.")
        if mode and mode not in spec.modes:
            self.add_error("default_mode", f"{spec.pk} has the modes {', '.join(spec.modes)}.")
        if found.get("default_max_output_tokens", 0) > spec.max_output_tokens:
            most = f"{spec.max_output_tokens:,}"
            self.add_error("default_max_output_tokens", f"At most {most} tokens for {spec.pk}.")
        return found

    @transaction.atomic
    def keep(self) -> Project:
        """Save on top of the row as it is now, with what changed in the trail."""
        row = (
            Project.objects.select_for_update(of=("self",))
            .select_related("connection")
            .get(pk=self.instance.pk)
        )
        # Asked again under the lock, which the first job of a project waits for.
        if "connection" in self.fields and _stays(row.pk, self.cleaned_data["connection"]):
            self.cleaned_data["connection"] = row.connection
        wanted = {name: self.cleaned_data[name] for name in SETTINGS if name in self.fields}
        models = wanted.pop("allowed_models")
        before = {name: getattr(row, name) for name in wanted}
        before["allowed_models"] = sorted(row.allowed_models.values_list("pk", flat=True))
        for name, value in wanted.items():
            setattr(row, name, value)
        row.save(update_fields=list(wanted))
        row.allowed_models.set(models)
        after = {**wanted, "allowed_models": sorted(spec.pk for spec in models)}
        said = trail.changes(
            before, after, {name: label for name, label in SETTINGS.items() if name in after}
        )
        if said:
            trail.note(self.by, row, said)
        return row

    def _offer(self, name: str, choices: list[tuple[str, str]], *, rows: Any = None) -> None:
        field: Any = self.fields[name]
        if rows is not None:
            field.queryset = rows
        # Known already: a field of rows would ask for them once more to show them.
        field.choices = choices


def _stays(project_id: int, connection: Connection) -> str:
    """Return why a project may not go to a connection, or nothing."""
    project = Project.objects.select_related("connection").get(pk=project_id)
    if project.is_practice == connection.is_practice or not project.has_jobs:
        return ""
    return STAYS_PRACTICE if project.is_practice else STAYS_REAL


def _twice(values: list[str]) -> list[tuple[str, str]]:
    return [(value, value) for value in values]
