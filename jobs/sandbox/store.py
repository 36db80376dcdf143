"""Keeps what was accepted in a sqlite file of the sandbox's own; every acceptance is committed first."""

import json
import secrets
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from jobs.sandbox import life
from jobs.sandbox.bill import Line, total
from jobs.sandbox.life import Plan, State, Usage

_SCHEMA = """
CREATE TABLE IF NOT EXISTS response (
    id TEXT PRIMARY KEY, accepted_at REAL NOT NULL, cancelled_at REAL, deleted_at REAL,
    prompt_hash TEXT NOT NULL, request TEXT NOT NULL, items TEXT NOT NULL, plan TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS post (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, prompt_hash TEXT NOT NULL, result TEXT NOT NULL,
    response_id TEXT, metadata TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS post_of_prompt ON post (prompt_hash);
CREATE TABLE IF NOT EXISTS bill (
    response_id TEXT PRIMARY KEY, counts_from REAL, project_id TEXT NOT NULL, api_key_id TEXT NOT NULL,
    model TEXT NOT NULL, service_tier TEXT NOT NULL, completion_window TEXT NOT NULL, day TEXT NOT NULL,
    input_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL, amount TEXT NOT NULL, lines TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS event (
    id TEXT PRIMARY KEY, webhook_id TEXT NOT NULL, response_id TEXT NOT NULL, type TEXT NOT NULL,
    created_at REAL NOT NULL, due_at REAL NOT NULL, tries INTEGER NOT NULL DEFAULT 0, fault TEXT,
    settled_at REAL
);
CREATE INDEX IF NOT EXISTS event_due ON event (due_at) WHERE settled_at IS NULL;
"""
CACHED = 4_000  # responses kept in memory, so that a poll touches no file


@dataclass(slots=True)
class Record:
    """One accepted response with its plan; `body` caches the last state's JSON."""

    id: str
    accepted_at: float
    cancelled_at: float | None
    prompt_hash: str
    request: dict[str, Any]
    plan: Plan
    body_of: State | None = None
    body: bytes = b""

    def state(self, now: float) -> State:
        """Return what the response shows at `now` (Unix seconds)."""
        return life.state(self.plan, accepted_at=self.accepted_at, cancelled_at=self.cancelled_at, now=now)


@dataclass(frozen=True, slots=True)
class Billed:
    """One row of the bill: who pays, for which usage, from when it counts (None: never ends)."""

    project_id: str
    api_key_id: str
    model: str
    service_tier: str
    completion_window: str
    day: str
    usage: Usage
    lines: list[Line]
    counts_from: float | None


@dataclass(frozen=True, slots=True)
class Event:
    """One webhook event; `due_at` is when it is to be sent next."""

    id: str
    webhook_id: str
    response_id: str
    type: str
    created_at: float
    due_at: float
    fault: str | None
    tries: int = 0


class Store:
    """The only user of the sqlite file; one connection, used from one thread."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        # Without fsync a commit survives the death of this process, though not of the machine.
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self._records: OrderedDict[str, Record] = OrderedDict()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def reset(self) -> None:
        """Forget everything."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for table in ("response", "post", "bill", "event"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608  names from the line above
        self._records.clear()

    def posts_of(self, prompt_hash: str) -> int:
        """Count the POSTs that carried this text so far, refused ones included."""
        query = "SELECT count(*) FROM post WHERE prompt_hash = ?"
        return int(self._db.execute(query, (prompt_hash,)).fetchone()[0])

    def note_refusal(self, *, at: float, prompt_hash: str, result: str, metadata: Any) -> None:
        """Write down a POST that was not accepted and how it was answered."""
        self._note_post(at, prompt_hash, result, None, metadata)

    def accept(
        self, record: Record, items: list[dict[str, Any]], billed: Billed, events: list[Event]
    ) -> None:
        """Commit an accepted response with its POST, its bill and its events, in one transaction."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "INSERT INTO response (id, accepted_at, prompt_hash, request, items, plan)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    record.id,
                    record.accepted_at,
                    record.prompt_hash,
                    json.dumps(record.request),
                    json.dumps(items),
                    json.dumps(record.plan.to_dict()),
                ),
            )
            self._note_post(
                record.accepted_at, record.prompt_hash, "accepted", record.id, record.request.get("metadata")
            )
            self._write_bill(record.id, billed)
            self._write_events(events)
        self._remember(record)

    def get(self, response_id: str) -> Record | None:
        """Return a response unless it was deleted or never accepted."""
        record = self._records.get(response_id)
        if record is not None:
            return record
        row = self._db.execute(
            "SELECT * FROM response WHERE id = ? AND deleted_at IS NULL", (response_id,)
        ).fetchone()
        if row is None:
            return None
        record = Record(
            id=row["id"],
            accepted_at=row["accepted_at"],
            cancelled_at=row["cancelled_at"],
            prompt_hash=row["prompt_hash"],
            request=json.loads(row["request"]),
            plan=Plan.from_dict(json.loads(row["plan"])),
        )
        self._remember(record)
        return record

    def items(self, response_id: str) -> list[dict[str, Any]]:
        """Return the input items of a response, with their ids, in their order."""
        query = "SELECT items FROM response WHERE id = ?"
        return list(json.loads(self._db.execute(query, (response_id,)).fetchone()["items"]))

    def cancel(self, record: Record, *, at: float, billed: Billed, events: list[Event]) -> None:
        """Commit a cancel: the bill shrinks to what was made, other events take the place of the end's."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("UPDATE response SET cancelled_at = ? WHERE id = ?", (at, record.id))
            self._write_bill(record.id, billed)
            self._db.execute(
                "DELETE FROM event WHERE response_id = ? AND tries = 0 AND settled_at IS NULL", (record.id,)
            )
            self._write_events(events)
        record.cancelled_at = at

    def delete(self, record: Record, *, at: float) -> None:
        """Hide a response from now on; its bill stays."""
        self._db.execute("UPDATE response SET deleted_at = ? WHERE id = ?", (at, record.id))
        self._records.pop(record.id, None)

    def bill_of(self, response_id: str) -> Billed:
        """Return the bill of a response, due or not."""
        row = self._db.execute("SELECT * FROM bill WHERE response_id = ?", (response_id,)).fetchone()
        return Billed(
            project_id=row["project_id"],
            api_key_id=row["api_key_id"],
            model=row["model"],
            service_tier=row["service_tier"],
            completion_window=row["completion_window"],
            day=row["day"],
            usage=Usage(
                input=row["input_tokens"],
                cached=row["cached_tokens"],
                output=row["output_tokens"],
                reasoning=row["reasoning_tokens"],
            ),
            lines=[
                Line(line["line_item"], line["quantity"], Decimal(line["amount"]))
                for line in json.loads(row["lines"])
            ],
            counts_from=row["counts_from"],
        )

    def billed(self, *, now: float) -> Iterator[dict[str, Any]]:
        """Yield every bill that counts by now: at, project_id, api_key_id and lines."""
        rows = self._db.execute(
            "SELECT * FROM bill WHERE counts_from <= ? ORDER BY counts_from", (now,)
        ).fetchall()
        for row in rows:
            yield {
                "at": row["counts_from"],
                "project_id": row["project_id"],
                "api_key_id": row["api_key_id"],
                "lines": json.loads(row["lines"]),
            }

    def change_bill(self, response_id: str, *, factor: Decimal, seconds: float, places: int | None) -> bool:
        """Multiply what a response is billed, count it later and round its lines; False if there is none."""
        row = self._db.execute("SELECT lines FROM bill WHERE response_id = ?", (response_id,)).fetchone()
        if row is None:
            return False
        lines = json.loads(row["lines"])
        for line in lines:
            amount = Decimal(line["amount"]) * factor
            line["amount"] = str(amount if places is None else round(amount, places))
        self._db.execute(
            "UPDATE bill SET lines = ?, amount = ?, counts_from = counts_from + ? WHERE response_id = ?",
            (
                json.dumps(lines),
                str(sum(Decimal(line["amount"]) for line in lines)),
                seconds,
                response_id,
            ),
        )
        return True

    def add_bill(self, line: Line, *, at: float, project_id: str, api_key_id: str) -> None:
        """Bill something that no response here has used."""
        billed = Billed(
            project_id=project_id,
            api_key_id=api_key_id,
            model="",
            service_tier="default",
            completion_window="soonest",
            day="",
            usage=Usage(input=0, cached=0, output=0, reasoning=0),
            lines=[line],
            counts_from=at,
        )
        self._write_bill(f"elsewhere_{secrets.token_hex(8)}", billed)

    def log(self, now: float) -> tuple[list[sqlite3.Row], list[sqlite3.Row]]:
        """Return every accepted response with its bill and POSTs, and every POST."""
        responses = self._db.execute(
            "SELECT response.*, bill.amount, bill.counts_from, bill.input_tokens, bill.cached_tokens,"
            " bill.output_tokens, bill.reasoning_tokens, bill.counts_from <= ? AS is_billed,"
            " (SELECT count(*) FROM post WHERE post.prompt_hash = response.prompt_hash) AS posts"
            " FROM response JOIN bill ON bill.response_id = response.id ORDER BY accepted_at, response.rowid",
            (now,),
        ).fetchall()
        return responses, self._db.execute("SELECT * FROM post ORDER BY number").fetchall()

    def next_event(self) -> Event | None:
        """Return the unsettled event that is due first."""
        row = self._db.execute(
            "SELECT id, webhook_id, response_id, type, created_at, due_at, fault, tries FROM event"
            " WHERE settled_at IS NULL ORDER BY due_at LIMIT 1"
        ).fetchone()
        return Event(**row) if row else None

    def reschedule(self, event: Event, *, due_at: float, tries: int) -> None:
        """Set when an event is sent next."""
        self._db.execute("UPDATE event SET due_at = ?, tries = ? WHERE id = ?", (due_at, tries, event.id))

    def settle(self, event: Event, *, at: float) -> None:
        """End an event: delivered, dropped or given up."""
        self._db.execute("UPDATE event SET settled_at = ? WHERE id = ?", (at, event.id))

    def _remember(self, record: Record) -> None:
        self._records[record.id] = record
        if len(self._records) > CACHED:
            self._records.popitem(last=False)

    def _note_post(
        self, at: float, prompt_hash: str, result: str, response_id: str | None, metadata: Any
    ) -> None:
        self._db.execute(
            "INSERT INTO post (at, prompt_hash, result, response_id, metadata) VALUES (?, ?, ?, ?, ?)",
            (at, prompt_hash, result, response_id, json.dumps(metadata or {})),
        )

    def _write_bill(self, response_id: str, billed: Billed) -> None:
        lines = [
            {"line_item": line.line_item, "quantity": line.quantity, "amount": str(line.amount)}
            for line in billed.lines
        ]
        usage = billed.usage
        self._db.execute(
            "INSERT OR REPLACE INTO bill (response_id, counts_from, project_id, api_key_id, model,"
            " service_tier, completion_window, day, input_tokens, cached_tokens, output_tokens,"
            " reasoning_tokens, amount, lines) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                response_id,
                billed.counts_from,
                billed.project_id,
                billed.api_key_id,
                billed.model,
                billed.service_tier,
                billed.completion_window,
                billed.day,
                usage.input,
                usage.cached,
                usage.output,
                usage.reasoning,
                str(total(billed.lines)),
                json.dumps(lines),
            ),
        )

    def _write_events(self, events: list[Event]) -> None:
        self._db.executemany(
            "INSERT INTO event (id, webhook_id, response_id, type, created_at, due_at, fault, tries)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    event.id,
                    event.webhook_id,
                    event.response_id,
                    event.type,
                    event.created_at,
                    event.due_at,
                    event.fault,
                    event.tries,
                )
                for event in events
            ],
        )
