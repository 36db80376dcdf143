"""Counts failed sign-ins by the address typed and by the client's, and says when guessing must pause."""

import datetime as dt

from django.utils.crypto import salted_hmac

from jobs.models import SignInFailure

WINDOW = dt.timedelta(minutes=15)
MOST_FOR_ONE_ADDRESS = 5
# Behind a proxy every person has the same client address, so one must not lock the others out too soon.
MOST_FROM_ONE_CLIENT = 50


def must_pause(email: str, client: str) -> bool:
    """Tell whether so many sign-ins failed of late that this one is not even checked."""
    recent = SignInFailure.objects.within(WINDOW)
    found = list(
        recent.filter(key__in=_keys(email, client)).values_list("key", flat=True)[: MOST_FROM_ONE_CLIENT * 2]
    )
    by_email, by_client = (found.count(key) for key in _keys(email, client))
    return by_email >= MOST_FOR_ONE_ADDRESS or by_client >= MOST_FROM_ONE_CLIENT


def note_failure(email: str, client: str) -> None:
    """Count a failed sign-in; nothing that is kept shows the address or the client."""
    SignInFailure.objects.note(_keys(email, client), keep=2 * WINDOW)


def forget_failures(email: str) -> None:
    """Start afresh for an address whose owner has signed in."""
    SignInFailure.objects.forget(_keys(email, "")[0])


def _keys(email: str, client: str) -> tuple[str, str]:
    def digest(kind: str, value: str) -> str:
        return salted_hmac(f"ponder.sign-in.{kind}", value, algorithm="sha256").hexdigest()

    return digest("address", email.strip().lower()), digest("client", client)
