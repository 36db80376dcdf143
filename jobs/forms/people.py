"""Translates what people decide about each other and themselves: invitations, roles, profile, password."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib.auth.forms import SetPasswordForm
from django.db import transaction

from jobs.access import Role
from jobs.forms.base import ModelForm
from jobs.forms.sign_in import free_address, label_new_password, password_field
from jobs.models import Invitation, Membership, Project, SignInLink, User, trail

ROLES = [(role.value, role.name.capitalize()) for role in Role]

# Says why a password is not taken for someone's own, or nothing.
type Confirm = Callable[[str], str]


class RoleForm(forms.Form):
    """A member's new role."""

    role = forms.TypedChoiceField(choices=ROLES, coerce=lambda value: Role(int(value)))


class InviteForm(RoleForm):
    """Whom to invite to a project, and as what."""

    email = forms.EmailField(label="Email", max_length=254)
    field_order = ["email", "role"]

    def __init__(self, data: Any = None, *, project: Project | None = None) -> None:
        super().__init__(data, initial={"role": Role.SUBMITTER.value})
        self.project = project

    def clean_email(self) -> str:
        """Refuse whom an invitation would lead nowhere."""
        email = str(self.cleaned_data["email"]).lower()
        found = User.objects.filter(email__iexact=email).first()
        if found is not None and not found.is_active:
            raise forms.ValidationError("This account was deactivated. An operator can reactivate it.")
        return email

    def clean(self) -> dict[str, Any]:
        """Refuse who is there already, and any place that nobody can join."""
        found: dict[str, Any] = super().clean() or self.cleaned_data
        known = User.objects.filter(email__iexact=found.get("email", "")).first()
        project = self.chosen_project
        if project is not None and project.archived_at is not None:
            self.add_error(None, "This project is archived, so nobody can join it.")
        if known is not None and project is None:
            self.add_error("email", "There is an account with this address already.")
        elif known is not None and Membership.objects.filter(user=known, project=project).exists():
            self.add_error("email", f"{known} is in this project already.")
        return found

    @property
    def chosen_project(self) -> Project | None:
        return self.project

    def invite(self, *, by: User) -> tuple[Invitation, str]:
        """Make the invitation; return it with its secret."""
        token = Invitation.objects.make(
            self.cleaned_data["email"], project=self.chosen_project, role=self.cleaned_data["role"], by=by
        )
        made = Invitation.objects.peek(token)
        assert made is not None
        return made, token


class InviteToWorkspaceForm(InviteForm):
    """Whom to invite, to which project if to any."""

    to = forms.ModelChoiceField(
        Project.objects.filter(archived_at=None), label="Project", required=False, empty_label="None yet"
    )
    field_order = ["email", "to", "role"]

    @property
    def chosen_project(self) -> Project | None:
        found: Project | None = self.cleaned_data.get("to")
        return found


class ProfileForm(ModelForm):
    """Who someone is here; another address to sign in with needs the password."""

    password = password_field("Your password, to change the email", required=False)
    field_order = ["name", "email", "password", "wants_mail"]

    class Meta:
        model = User
        fields = ("name", "email", "wants_mail")
        labels = {
            "name": "Name",
            "email": "Email",
            "wants_mail": "Mail me when a job of mine that took longer than two minutes ends",
        }
        help_texts = {"email": "You sign in with it.", "wants_mail": ""}

    def __init__(self, data: Any = None, *, instance: User, confirm: Confirm) -> None:
        super().__init__(data, instance=instance)
        self.fields["name"].required = True
        self.fields["email"].widget.attrs["autocomplete"] = "username"
        self._confirm = confirm
        self._before = {name: getattr(instance, name) for name in ("name", "email")}

    def clean_email(self) -> str:
        return free_address(self.cleaned_data["email"], of=self.instance)

    def clean(self) -> dict[str, Any]:
        """Ask for the password where the address changes: with it someone else could take the account."""
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if "email" in found and found["email"] != self._before["email"].lower():
            refusal = self._confirm(found.get("password", ""))
            if refusal:
                self.add_error("password", refusal)
        return found

    @transaction.atomic
    def save(self, commit: bool = True) -> User:
        """Keep it, and what changed of name and address in the trail."""
        after = {name: self.cleaned_data[name] for name in self._before}
        said = trail.changes(self._before, after, {"name": "Name", "email": "Email"})
        person: User = super().save(commit)
        if said:
            trail.note(person, person, said)
        return person


class NewPasswordForm(SetPasswordForm[User]):
    """A new password, and the one it replaces."""

    old_password = password_field("Present password")
    field_order = ["old_password", "new_password1", "new_password2"]

    def __init__(self, user: User, data: Any = None, *, confirm: Confirm) -> None:
        super().__init__(user, data)
        label_new_password(self, "New password")
        self._confirm = confirm

    def clean_old_password(self) -> str:
        typed: str = self.cleaned_data["old_password"]
        refusal = self._confirm(typed)
        if refusal:
            raise forms.ValidationError(refusal)
        return typed

    @transaction.atomic
    def save(self, commit: bool = True) -> User:
        """Keep it; every other session of the person ends, and every sign-in link."""
        SignInLink.objects.filter(user=self.user).delete()
        trail.note(self.user, self.user, "Password changed")
        return super().save(commit)
