"""People and what is known of their signing in; nobody is deleted, since the ledger names them."""

from typing import TYPE_CHECKING, Any, override

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from jobs.admin.base import Kept, ViewOnly
from jobs.models import Invitation, Membership, SignInFailure, SignInLink, User

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelForm, TabularInline = forms.ModelForm, admin.TabularInline


class MembershipInline(TabularInline):
    """Roles, on the page of a person or a project."""

    model = Membership
    extra = 0
    autocomplete_fields = ("user", "project")


class UserForm(ModelForm):
    """A person without a password: a sign-in link lets them set one."""

    class Meta:
        model = User
        fields = ("email", "name", "is_active", "is_staff", "groups")
        help_texts = {
            "email": "Signs in with it. `manage.py sign_in_link` makes the link that sets a password."
        }

    def clean_email(self) -> str:
        """Return the address as it is stored: lower case, nobody else's."""
        email: str = self.cleaned_data["email"].strip().lower()
        if User.objects.filter(email__iexact=email).exclude(pk=self.instance.pk).exists():
            raise ValidationError("There is someone with this address already.")
        return email


@admin.register(User)
class UserAdmin(Kept):
    """People. Operators are made with `manage.py create_user --operator`."""

    form = UserForm
    fields = ("email", "name", "is_active", "is_staff", "groups", "is_superuser", "last_login", "date_joined")
    filter_horizontal = ("groups",)
    inlines = (MembershipInline,)
    list_display = ("email", "name", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "project")
    ordering = ("email",)
    search_fields = ("email", "name")
    search_help_text = "Part of an e-mail address or a name."

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Let nobody lock themselves out, and nobody but an operator give rights away."""
        shown: tuple[str, ...] = ("is_superuser", "last_login", "date_joined")
        if obj is not None and obj.pk == request.user.pk:
            shown += ("is_active", "is_staff")
        if not request.user.is_superuser:
            shown += ("is_staff", "groups")
        return shown

    @override
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """An operator is changed by operators only."""
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    @override
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save; someone new has no password yet."""
        if not change:
            obj.set_unusable_password()
        super().save_model(request, obj, form, change)


@admin.register(Invitation)
class InvitationAdmin(ViewOnly):
    """Ways in that were given out; their secrets are not stored."""

    list_display = ("email", "project", "role", "invited_by", "created_at", "expires_at", "used_at")
    list_filter = (("used_at", admin.EmptyFieldListFilter), "role")
    list_select_related = ("project", "invited_by")
    ordering = ("-created_at",)
    search_fields = ("email__iexact",)
    search_help_text = "An e-mail address, in full."


@admin.register(SignInLink)
class SignInLinkAdmin(ViewOnly):
    """Links that were made and not used; their secrets are not stored."""

    list_display = ("user", "expires_at")
    list_select_related = ("user",)
    ordering = ("-expires_at",)


@admin.register(SignInFailure)
class SignInFailureAdmin(ViewOnly):
    """Failed sign-ins, counted to slow down guessing."""

    list_display = ("at", "key")
    ordering = ("-at",)
