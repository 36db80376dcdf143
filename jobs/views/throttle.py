"""Counts failed sign-ins and mails asked for, by the address typed and the client's; says when to pause."""

import datetime as dt
import ipaddress

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from jobs.models import SignInFailure

WINDOW = dt.timedelta(minutes=15)
MOST_FOR_ONE_ADDRESS = 5
# An office may have one client address, so one person must not lock the others out too soon.
MOST_FROM_ONE_CLIENT = 50
MOST_MAILS_TO_ONE_ADDRESS = 3


def client_of(request: HttpRequest) -> str:
    """Return the address that a request came from; where a proxy stands before us, the one it was asked from.

    Only a proxy of this machine or its network is believed, and only the address that it added itself.
    """
    direct = str(request.META.get("REMOTE_ADDR", ""))
    named = str(request.META.get("HTTP_X_FORWARDED_FOR", "")).rpartition(",")[2].strip()
    try:
        is_near = ipaddress.ip_address(direct).is_private
    except ValueError:
        return direct
    return named if named and is_near and settings.PONDER_URL else direct


def must_pause(email: str, client: str) -> bool:
    """Tell whether so many sign-ins failed of late that this one is not even checked."""
    by_email, by_client = _counted(_keys(email, client))
    return by_email >= MOST_FOR_ONE_ADDRESS or by_client >= MOST_FROM_ONE_CLIENT


def note_failure(email: str, client: str) -> None:
    """Count a failed sign-in; nothing that is kept shows the address or the client."""
    SignInFailure.objects.note(_keys(email, client), keep=2 * WINDOW)


def may_mail(email: str, client: str) -> bool:
    """Count a mail that someone asks for, whether they are known or not, and tell whether it may be sent."""
    keys = _keys(email, client, of="mail")
    by_email, by_client = _counted(keys)
    SignInFailure.objects.note(keys, keep=2 * WINDOW)
    return by_email < MOST_MAILS_TO_ONE_ADDRESS and by_client < MOST_FROM_ONE_CLIENT


def forget_failures(email: str) -> None:
    """Start afresh for an address whose owner has signed in."""
    SignInFailure.objects.forget(_keys(email, "")[0])


def _counted(keys: tuple[str, str]) -> tuple[int, int]:
    recent = SignInFailure.objects.within(WINDOW).filter(key__in=keys)
    found = list(recent.values_list("key", flat=True)[: MOST_FROM_ONE_CLIENT * 2])
    return found.count(keys[0]), found.count(keys[1])


def _keys(email: str, client: str, *, of: str = "sign-in") -> tuple[str, str]:
    def digest(kind: str, value: str) -> str:
        return salted_hmac(f"ponder.{of}.{kind}", value, algorithm="sha256").hexdigest()

    return digest("address", email.strip().lower()), digest("client", client)
