"""A person's own settings: name, address, mails, password."""

from functools import partial

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from jobs.forms import NewPasswordForm, ProfileForm
from jobs.models import User
from jobs.views.frame import person_of
from jobs.views.sign_in import confirm


@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    """Show and change who one is here."""
    form = _profile_form(request)
    if form.is_valid():
        form.save()
        messages.success(request, "Saved.")
        return redirect("profile")
    return _page(request, form, _password_form(request, is_sent=False))


@sensitive_post_parameters("old_password", "new_password1", "new_password2")
@require_POST
def password(request: HttpRequest) -> HttpResponse:
    """Change one's password; every other session ends."""
    form = _password_form(request, is_sent=True)
    if form.is_valid():
        update_session_auth_hash(request, form.save())
        messages.success(request, "Your password is changed. You are signed out everywhere else.")
        return redirect("profile")
    return _page(request, ProfileForm(instance=person_of(request), confirm=partial(confirm, request)), form)


def _profile_form(request: HttpRequest) -> ProfileForm:
    data = request.POST if request.method == "POST" else None
    # Another object than the one the frame shows, which must not read what is only typed.
    person = User.objects.get(pk=person_of(request).pk)
    return ProfileForm(data, instance=person, confirm=partial(confirm, request))


def _password_form(request: HttpRequest, *, is_sent: bool) -> NewPasswordForm:
    data = request.POST if is_sent else None
    return NewPasswordForm(person_of(request), data, confirm=partial(confirm, request))


def _page(request: HttpRequest, form: ProfileForm, password_form: NewPasswordForm) -> HttpResponse:
    status = 422 if form.is_bound or password_form.is_bound else 200
    return render(request, "profile.html", {"form": form, "password_form": password_form}, status=status)
