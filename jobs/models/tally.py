"""What was counted: sends, polls, ends and how long they took, added up over every process and restart."""

import datetime as dt
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.db import connection, models
from django.utils import timezone

# Seconds up to which a latency counts in a bucket; what took longer is in one more.
BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
# Rows beyond which they are added up: a scrape reads them all.
MOST_ROWS = 500


class Counted(models.TextChoices):
    """What a row counts, each by a word of its own."""

    SEND = "send", "Sends, by what became of them"
    POLL = "poll", "Polls, by what they found"
    END = "end", "Jobs, by the status in which they ended"
    SENT = "sent", "Seconds from being due to being accepted"
    DETECTED = "detected", "Seconds from the end upstream to the end here"


class Sum(NamedTuple):
    """Everything counted of one kind: `word` says of which, `bucket` is a place among BOUNDS or None."""

    counted: str
    connection_id: int | None
    word: str
    bucket: int | None
    number: int
    seconds: float


class TallyQuerySet(models.QuerySet["Tally"]):
    """Tallies, read as phrases. They are only ever added: what counts never waits for what counts."""

    def add(self, counted: Counted, connection_id: int | None, word: str = "", *, count: int = 1) -> None:
        """Count something, in the caller's transaction: what is rolled back was never counted."""
        self.create(counted=counted, connection_id=connection_id, word=word, count=count)

    def add_all(self, counted: Counted, found: Iterable[tuple[tuple[int, str], int]]) -> None:
        """Count many things at once: connection and word, and how many."""
        self.bulk_create(
            Tally(counted=counted, connection_id=key[0], word=key[1], count=count) for key, count in found
        )

    def add_end(self, job_id: int, status: str) -> None:
        """Count the end of a job, on the connection that its project has now."""
        with connection.cursor() as cursor:
            cursor.execute(_END, [Counted.END, status, job_id])

    def add_accepted(self, sends: Iterable[tuple[int, dt.datetime]]) -> None:
        """Count accepted sends, each a connection and since when it was due."""
        timed = [_timed(Counted.SENT, connection_id, since) for connection_id, since in sends]
        counts = Counter(row.connection_id for row in timed)
        counted = [
            Tally(counted=Counted.SEND, connection_id=key, word="accepted", count=count)
            for key, count in counts.items()
        ]
        self.bulk_create([*counted, *timed])

    def time(self, counted: Counted, connection_id: int, since: dt.datetime) -> None:
        """Count how long something took until now."""
        _timed(counted, connection_id, since).save(force_insert=True)

    def sums(self) -> list[Sum]:
        """Return everything that was counted, added up."""
        kinds = ("counted", "connection_id", "word", "bucket")
        found = self.order_by().values_list(*kinds).annotate(models.Sum("count"), models.Sum("seconds"))
        return [Sum(*row) for row in found]

    def fold(self) -> int:
        """Replace many rows by their sums, in one statement; return how many are left of what it took.

        Safe beside others that count, read or fold: whoever reads sees the rows or their sum.
        """
        if len(self.order_by().values_list("pk")[: MOST_ROWS + 1]) <= MOST_ROWS:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(_FOLD)
            return int(cursor.rowcount)


class Tally(models.Model):
    """Some of what was counted. A connection that is gone leaves its rows, which nobody shows."""

    counted = models.CharField(max_length=10, choices=Counted)
    connection = models.ForeignKey(
        "jobs.Connection", on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, null=True
    )
    word = models.CharField(max_length=20, blank=True)
    bucket = models.PositiveSmallIntegerField(null=True)
    count = models.BigIntegerField()
    seconds = models.FloatField(default=0)
    objects = TallyQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "tallies"

    def __str__(self) -> str:
        return f"{self.count} × {self.counted} {self.word}".rstrip()


def cumulative(buckets: Sequence[Sum]) -> list[int]:
    """Return how many of a latency's sums took at most each of BOUNDS, and last how many there are."""
    counts = [0] * (len(BOUNDS) + 1)
    for one in buckets:
        counts[one.bucket or 0] += one.number
    return [sum(counts[: place + 1]) for place in range(len(counts))]


def _timed(counted: Counted, connection_id: int, since: dt.datetime) -> Tally:
    """Return a row for what took from `since` to now. Other machines' clocks may be ahead: never below 0."""
    seconds = max(0.0, (timezone.now() - since).total_seconds())
    bucket = bisect_left(BOUNDS, seconds)
    return Tally(counted=counted, connection_id=connection_id, bucket=bucket, count=1, seconds=seconds)


_END = """
INSERT INTO jobs_tally (counted, connection_id, word, count, seconds)
SELECT %s, p.connection_id, %s, 1, 0
FROM jobs_job j JOIN jobs_project p ON p.id = j.project_id WHERE j.id = %s"""

_FOLD = """
WITH gone AS (
  DELETE FROM jobs_tally WHERE id IN (SELECT id FROM jobs_tally FOR UPDATE SKIP LOCKED)
  RETURNING counted, connection_id, word, bucket, count, seconds
)
INSERT INTO jobs_tally (counted, connection_id, word, bucket, count, seconds)
SELECT counted, connection_id, word, bucket, sum(count), sum(seconds) FROM gone
GROUP BY counted, connection_id, word, bucket"""
