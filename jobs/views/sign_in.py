"""Lets people in and out: by password, throttled, and by links that work once."""

from django.conf import settings
from django.contrib.auth import authenticate, login, logout
from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from jobs import lifecycle
from jobs.forms import ChoosePasswordForm, ForgotForm, LinkForm, SignInForm
from jobs.models import SignInLink, User
from jobs.views import throttle

WRONG = "Email or password is wrong."
PAUSE = "Too many sign-ins with this address have failed. Wait 15 minutes, or ask for a sign-in link."
BACKEND = "django.contrib.auth.backends.ModelBackend"


@login_not_required
@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in with e-mail and password; one sentence for every cause of refusal."""
    goal = _own_path(request, request.POST.get("next") or request.GET.get("next"))
    if request.user.is_authenticated:
        return redirect(goal)
    form, status = SignInForm(request.POST or None), 200
    if form.is_valid():
        user, refusal = check(request, form.cleaned_data["email"], form.cleaned_data["password"])
        if user is not None:
            login(request, user, backend=BACKEND)
            return redirect(goal)
        form.add_error(None, refusal)
        status = 429 if refusal == PAUSE else 200
    return render(request, "sign_in.html", {"form": form, "next": goal}, status=status)


@login_not_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def forgot(request: HttpRequest) -> HttpResponse:
    """Have a sign-in link mailed; the answer is the same whether there is such an account or not."""
    form = ForgotForm(request.POST or None)
    if not form.is_valid():
        context = {"form": form, "is_sent": "sent" in request.GET, "is_mail_sent": settings.IS_MAIL_SENT}
        return render(request, "forgot.html", context)
    email = form.cleaned_data["email"]
    if throttle.may_mail(email, throttle.client_of(request)):
        # A worker makes the link and mails it: here an unknown address takes as long as a known one.
        found = User.objects.filter(email__iexact=email, is_active=True).first()
        lifecycle.ring_for("mail_sign_in_link", found.pk if found else 0)
    return redirect(f"{reverse('forgot')}?sent")


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    logout(request)
    return redirect("login")


@login_not_required
@never_cache
@sensitive_post_parameters("token", "new_password1", "new_password2")
@require_http_methods(["GET", "HEAD", "POST"])
def enter(request: HttpRequest) -> HttpResponse:
    """Use a sign-in link: it names its owner, takes a new password, and is used up by that.

    A GET never looks at a link, so a preview of it does no harm.
    """
    if request.method != "POST":
        return render(request, "enter.html", {"form": LinkForm()})
    link = LinkForm(request.POST)
    if not link.is_valid():
        return render(request, "enter.html", {"form": link})
    token = link.cleaned_data["token"]
    owner = SignInLink.objects.peek(token)
    if owner is None:
        return _gone(request)
    has_answered = "new_password1" in request.POST
    form = ChoosePasswordForm(owner, request.POST if has_answered else None)
    if not (has_answered and form.is_valid()):
        return render(request, "enter.html", {"form": form, "owner": owner, "token": token})
    with transaction.atomic():
        if SignInLink.objects.use(token) is None:
            return _gone(request)
        user = form.save()
    throttle.forget_failures(user.email)
    login(request, user, backend=BACKEND)
    return redirect("home")


def check(request: HttpRequest, email: str, password: str) -> tuple[User | None, str]:
    """Return who it is, or the refusal. An unknown address costs as much work as a known one."""
    client = throttle.client_of(request)
    if throttle.must_pause(email, client):
        return None, PAUSE
    user = authenticate(request, username=email, password=password)
    if not isinstance(user, User):
        throttle.note_failure(email, client)
        return None, WRONG
    throttle.forget_failures(email)
    return user, ""


def confirm(request: HttpRequest, password: str) -> str:
    """Return why a password is not that of whoever is signed in, or nothing; counted as sign-ins are."""
    user, refusal = check(request, str(request.user.get_username()), password)
    if user is not None:
        return ""
    return refusal if refusal == PAUSE else "This is not your password."


def _gone(request: HttpRequest) -> HttpResponse:
    return render(request, "enter_gone.html", status=410)


def _own_path(request: HttpRequest, wanted: str | None) -> str:
    """Return the path to go on to: `wanted` if it is one of ours, else the start page."""
    wanted = wanted or ""
    is_path = wanted.startswith("/")
    is_ours = is_path and url_has_allowed_host_and_scheme(wanted, {request.get_host()}, request.is_secure())
    return wanted if is_ours else "/"
