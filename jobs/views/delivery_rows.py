"""What pages show of webhooks: a connection's own, and the log of deliveries; never a secret."""

from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlencode

from django.conf import settings

from jobs.forms import DeliveryFilter, WebhookSecretForm
from jobs.models import Connection, Shown, WebhookDelivery

PAGE = 50
EVENTS = ("response.completed", "response.failed", "response.incomplete", "response.cancelled")


@dataclass(frozen=True)
class Webhook:
    """Where the ends of a connection's jobs are announced, and how that goes."""

    connection: Connection
    form: WebhookSecretForm

    @property
    def address(self) -> str:
        """What is registered at OpenAI; '' where nobody outside can reach us."""
        base: str = settings.PONDER_URL
        return f"{base}{self.connection.webhook_path}" if base else ""

    @property
    def events(self) -> tuple[str, ...]:
        return EVENTS

    @property
    def is_set_here(self) -> bool:
        """Whether people give its secret, rather than the environment or `start`."""
        return not (self.connection.is_practice or self.connection.is_webhook_secret_from_environment)

    @cached_property
    def last(self) -> WebhookDelivery | None:
        return WebhookDelivery.objects.latest_of(self.connection.pk)

    @cached_property
    def last_refused(self) -> WebhookDelivery | None:
        return WebhookDelivery.objects.latest_of(self.connection.pk, refused=True)


class DeliveryLog:
    """A page of the log, as an address asks for it."""

    def __init__(self, form: DeliveryFilter) -> None:
        asked = form.cleaned_data if form.is_valid() else {}
        self.connection: Connection | None = asked.get("connection")
        self.state: Shown | None = asked.get("state")
        self.before: int | None = asked.get("before")

    @cached_property
    def rows(self) -> list[WebhookDelivery]:
        return self._found[:PAGE]

    @property
    def older(self) -> str:
        """The query of the next page; '' on the last."""
        return self._query(before=self.rows[-1].pk) if len(self._found) > PAGE else ""

    @property
    def here(self) -> str:
        return self._query(before=self.before or 0)

    @property
    def first(self) -> str:
        return self._query()

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(one.value, one.name.title()) for one in Shown]

    @cached_property
    def connections(self) -> list[tuple[str, str]]:
        return [(str(one.pk), one.name) for one in Connection.objects.order_by("name").only("name")]

    @property
    def chosen(self) -> str:
        return str(self.connection.pk) if self.connection else ""

    @cached_property
    def _found(self) -> list[WebhookDelivery]:
        found = WebhookDelivery.objects.all()
        if self.connection:
            found = found.filter(connection=self.connection)
        if self.state:
            found = found.shown_as(self.state)
        return list(found.page(PAGE + 1, before=self.before))

    def _query(self, **more: int) -> str:
        asked = {"connection": self.chosen, "state": self.state or "", **more}
        return urlencode({name: value for name, value in asked.items() if value})
