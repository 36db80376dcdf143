"""Lets in who was invited: someone new by making their account, someone known after they sign in."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from jobs.forms import JoinForm, JoinWithPasswordForm, LinkForm
from jobs.models import Invitation, InvitationGone, User
from jobs.views import sign_in


@login_not_required
@never_cache
@sensitive_post_parameters("token", "password", "new_password1", "new_password2")
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: HttpRequest) -> HttpResponse:
    """Use an invitation: say what it is for, and take what is needed to be let in.

    A GET never looks at an invitation, so a preview of its link does no harm.
    """
    link = LinkForm(request.POST or None)
    if not link.is_valid():
        return render(request, "join.html", {"form": link})
    token = link.cleaned_data["token"]
    invitation = Invitation.objects.peek(token)
    if invitation is None:
        return _gone(request)
    try:
        if request.user.is_authenticated:
            return _signed_in(request, invitation, token)
        if User.objects.filter(email__iexact=invitation.email).exists():
            return _known(request, invitation, token)
        return _new(request, invitation, token)
    except InvitationGone:
        return _gone(request)


def link_of(request: HttpRequest, token: str) -> str:
    """Return where an invitation is used; its secret stands in the part that no server and no log sees."""
    base = settings.PONDER_URL or request.build_absolute_uri("/").rstrip("/")
    return f"{base}{reverse('join')}#{token}"


def _signed_in(request: HttpRequest, invitation: Invitation, token: str) -> HttpResponse:
    person = request.user
    assert isinstance(person, User)
    is_theirs = person.email.lower() == invitation.email.lower()
    if is_theirs and "join" in request.POST:
        Invitation.objects.accept(token, person=person)
        return _welcome(request, invitation)
    context = {"invitation": invitation, "token": token, "person": person, "is_theirs": is_theirs}
    return render(request, "join.html", context)


def _known(request: HttpRequest, invitation: Invitation, token: str) -> HttpResponse:
    form = JoinWithPasswordForm(request.POST if "password" in request.POST else None)
    if form.is_valid():
        person, refusal = sign_in.check(request, invitation.email, form.cleaned_data["password"])
        if person is not None:
            Invitation.objects.accept(token, person=person)
            login(request, person, backend=sign_in.BACKEND)
            return _welcome(request, invitation)
        form.add_error("password", refusal)
    return render(request, "join.html", {"form": form, "invitation": invitation, "token": token})


def _new(request: HttpRequest, invitation: Invitation, token: str) -> HttpResponse:
    form = JoinForm(invitation.email, request.POST if "new_password1" in request.POST else None)
    if form.is_valid():
        person = Invitation.objects.accept(
            token, name=form.cleaned_data["name"], password=form.cleaned_data["new_password1"]
        )
        login(request, person, backend=sign_in.BACKEND)
        return _welcome(request, invitation)
    context = {"form": form, "invitation": invitation, "token": token, "is_new": True}
    return render(request, "join.html", context)


def _welcome(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    if invitation.project is None:
        return redirect("home")
    role = invitation.get_role_display().lower()
    messages.success(request, f"You are in {invitation.project} now, as {role}.")
    return redirect(invitation.project)


def _gone(request: HttpRequest) -> HttpResponse:
    return render(request, "join_gone.html", status=410)
