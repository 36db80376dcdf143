"""Translates how someone signs in: by a password, a link that lets them choose one, or an invitation."""

from typing import Any

from django import forms
from django.contrib.auth.forms import SetPasswordForm

from jobs.models import User

# Nobody owns an address at localhost: it is what the first operator is made with.
NOBODYS = "@localhost"


def password_field(label: str, *, required: bool = True) -> forms.CharField:
    """Return a field for a password that someone has."""
    return forms.CharField(
        label=label,
        strip=False,
        max_length=4096,
        required=required,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


def free_address(typed: str, *, of: User) -> str:
    """Return an e-mail address that nobody else has; an empty one stays empty. Raises ValidationError."""
    email = str(typed).lower()
    if email and User.objects.filter(email__iexact=email).exclude(pk=of.pk).exists():
        raise forms.ValidationError("Someone here has this address already.")
    return email


def label_new_password(form: forms.Form, label: str) -> None:
    """Say in few words what the two fields of a new password want."""
    first, again = form.fields["new_password1"], form.fields["new_password2"]
    first.label, first.help_text = label, "At least 10 characters."
    again.label, again.help_text = f"{label} again", ""


class SignInForm(forms.Form):
    """E-mail and password; whether they are right is not the form's to say."""

    email = forms.CharField(
        label="Email",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True}),
    )
    password = password_field("Password")


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
        label_new_password(self, "Password")
        if not user.email.endswith(NOBODYS):
            del self.fields["email"]
        else:
            self.fields["email"].required = False
            self.fields["email"].help_text = f"You sign in with it. Without one it stays {user.email}."

    def clean_email(self) -> str:
        return free_address(self.cleaned_data["email"], of=self.user)

    def save(self, commit: bool = True) -> User:
        if self.cleaned_data.get("email"):
            self.user.email = self.cleaned_data["email"]
        return super().save(commit)


class ForgotForm(forms.Form):
    """Whose password is lost."""

    email = forms.EmailField(
        label="Email",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True}),
    )


class JoinForm(SetPasswordForm[User]):
    """What someone new needs to join: a name and a password; the address is the invitation's."""

    name = forms.CharField(
        label="Your name", max_length=150, widget=forms.TextInput(attrs={"autocomplete": "name"})
    )
    field_order = ["name", "new_password1", "new_password2"]

    def __init__(self, email: str, data: Any = None) -> None:
        # Never saved: the password is compared with it.
        super().__init__(User(email=email), data)
        label_new_password(self, "Password")


class JoinWithPasswordForm(forms.Form):
    """The password of the account that an invitation is for."""

    password = password_field("Your password")
