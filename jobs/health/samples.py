"""Makes Prometheus' metrics of what the database holds, anew at each scrape: one truth for all processes."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from django.utils import timezone
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from jobs import VERSION, lifecycle
from jobs.health import questions
from jobs.models import Counted, Installation, Tally
from jobs.models.tally import BOUNDS, Sum, cumulative

# What is surely or perhaps wrong with a send or a poll, in the words in which they are counted.
ERRORS = ("retryable", "blocked", "rejected", "outcome_unknown", "not_found")


def scrape(accept: str) -> tuple[bytes, str]:
    """Return all metrics and their content type, in a format that a scraper accepts."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Everything())
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type


class _Everything(Collector):
    """Asks each question once."""

    def collect(self) -> Iterator[Metric]:
        """Yield every metric. Labels are names of things that people make few of; never ids or content."""
        now = timezone.now()
        info = GaugeMetricFamily("ponder_info", "The version that answers.", labels=["version"])
        info.add_metric([VERSION], 1)
        yield info
        connections = questions.in_use()
        yield from _jobs()
        yield from _counts(connections)
        yield from _ages(now, connections)
        yield from _connections(connections)
        yield from _webhooks(now)
        yield from _money()
        yield from _database()


def _jobs() -> Iterator[Metric]:
    found = GaugeMetricFamily(
        "ponder_jobs",
        f"Jobs that are not final, by status; counted up to {questions.MOST_COUNTED}.",
        labels=["status", "practice"],
    )
    for status, is_practice, number in questions.number_unfinished():
        found.add_metric([status, _word(is_practice)], number)
    yield found


def _counts(connections: Iterable[Any]) -> Iterator[Metric]:
    """Yield what was added up since the beginning; what belongs to no connection any more is left out."""
    known = {one.pk: one for one in connections}
    sums: dict[str, list[Sum]] = defaultdict(list)
    for one in Tally.objects.sums():
        if one.connection_id in known:
            sums[one.counted].append(one)
    ended = CounterMetricFamily(
        "ponder_jobs_ended", "Jobs that ended, by status.", labels=["status", "connection", "practice"]
    )
    for one in sums[Counted.END]:
        where = known[one.connection_id or 0]
        ended.add_metric([one.word, where.name, _word(where.is_practice)], one.number)
    yield ended
    errors = CounterMetricFamily(
        "ponder_errors", "Sends and polls that failed, by class.", labels=["connection", "doing", "error"]
    )
    for counted, name, about in (
        (Counted.SEND, "ponder_sends", "Sends, by what became of them."),
        (Counted.POLL, "ponder_polls", "Polls, by the status or the error that they found."),
    ):
        family = CounterMetricFamily(name, about, labels=["connection", "result"])
        for one in sums[counted]:
            place = known[one.connection_id or 0].name
            family.add_metric([place, one.word], one.number)
            if one.word in ERRORS:
                errors.add_metric([place, str(counted), one.word], one.number)
        yield family
    yield errors
    for counted, name, about in (
        (Counted.SENT, "ponder_send_latency_seconds", "From being due to being accepted."),
        (Counted.DETECTED, "ponder_detection_latency_seconds", "From the end upstream to the end here."),
    ):
        histogram = HistogramMetricFamily(name, about, labels=["connection"])
        for pk, where in known.items():
            buckets = [one for one in sums[counted] if one.connection_id == pk]
            if buckets:
                limits = [*(str(bound) for bound in BOUNDS), "+Inf"]
                counts = list(zip(limits, cumulative(buckets), strict=True))
                histogram.add_metric([where.name], counts, sum(one.seconds for one in buckets))
        yield histogram


def _ages(now: dt.datetime, connections: list[Any]) -> Iterator[Metric]:
    due = GaugeMetricFamily(
        "ponder_oldest_due_seconds", "How far behind the oldest of what is to be done is.", labels=["doing"]
    )
    for doing, since in questions.oldest_due(connections)._asdict().items():
        due.add_metric([doing], _age(since, now))
    yield due
    unsettled = questions.unsettled()
    yield GaugeMetricFamily(
        "ponder_oldest_unsettled_seconds",
        "Since the oldest of what is not booked was sent.",
        value=_age(unsettled.sent_at, now),
    )
    yield GaugeMetricFamily(
        "ponder_oldest_unbooked_end_seconds",
        "Since the oldest end upstream that is not booked.",
        value=_age(unsettled.ended_at, now),
    )
    watched = lifecycle.last_watch()
    if watched is not None:
        yield GaugeMetricFamily(
            "ponder_watchdog_age_seconds", "Since a worker ran the watchdog.", value=_age(watched, now)
        )
    beats: dict[str, float] = {}
    for host, beat_at in Installation.objects.at_work().values_list("host", "beat_at"):
        beats[host] = max(beats.get(host, 0.0), _age(beat_at, now))
    heart = GaugeMetricFamily(
        "ponder_heartbeat_age_seconds",
        "Since a worker of an installation answered; the oldest of each machine.",
        labels=["host"],
    )
    for host, age in sorted(beats.items()):
        heart.add_metric([host], age)
    yield heart


def _webhooks(now: dt.datetime) -> Iterator[Metric]:
    lag = GaugeMetricFamily(
        "ponder_webhook_lag_seconds", "From the event to us, of the last one.", labels=["connection"]
    )
    age = GaugeMetricFamily("ponder_webhook_age_seconds", "Since the last one.", labels=["connection"])
    for one in questions.webhooks():
        lag.add_metric([one.connection], one.lag.total_seconds())
        age.add_metric([one.connection], _age(one.received_at, now))
    yield from (lag, age)


def _connections(connections: Iterable[Any]) -> Iterator[Metric]:
    paused = GaugeMetricFamily("ponder_connection_paused", "1 while paused.", labels=["connection"])
    open_now = GaugeMetricFamily(
        "ponder_connection_open_sends", "Sends on the wire or running there.", labels=["connection"]
    )
    most = GaugeMetricFamily(
        "ponder_connection_open_sends_limit", "How many there may be.", labels=["connection"]
    )
    for one in connections:
        paused.add_metric([one.name], one.paused_at is not None)
        open_now.add_metric([one.name], one.open_now)
        most.add_metric([one.name], one.max_in_flight)
    yield from (paused, open_now, most)


def _money() -> Iterator[Metric]:
    """Yield USD by project; practice by names of its own, so that no sum mixes both."""
    rows = questions.project_periods()
    for is_practice, prefix in ((False, "ponder"), (True, "ponder_practice")):
        for name, about, column in (
            ("held_usd", "Held for jobs that are not settled, in all months.", "all_held"),
            ("spent_month_usd", "Spent this month.", "month_spent"),
            ("cap_month_usd", "This month's cap with its grants.", "month_room"),
        ):
            family = GaugeMetricFamily(f"{prefix}_{name}", about, labels=["project"])
            for row in rows:
                if row["budget__project__connection__is_practice"] == is_practice:
                    family.add_metric([row["budget__project__slug"]], float(row[column]))
            yield family


def _database() -> Iterator[Metric]:
    size = questions.size()
    yield GaugeMetricFamily("ponder_database_size_bytes", "The database's size.", value=size.bytes)
    yield GaugeMetricFamily(
        "ponder_database_connections", "Connections in use, whoever's.", value=size.connections
    )
    yield GaugeMetricFamily("ponder_database_connections_limit", "How many there may be.", value=size.most)


def _age(moment: dt.datetime | None, now: dt.datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0


def _word(is_practice: bool) -> str:
    return "true" if is_practice else "false"
