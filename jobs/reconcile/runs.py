"""Reconciles: has a worker compare a bill with our charges, keeps what differs, and books it when told to."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction
from django.db.models.functions import Now

from jobs import clock, lifecycle, openai_client, spend
from jobs.models import (
    Cause,
    Connection,
    ModelSpec,
    Reconciliation,
    ReconciliationLine,
    ReconciliationPart,
    User,
    Workspace,
)
from jobs.notify import alarm
from jobs.openai_client import BorderError, Cost
from jobs.pricing import MILLION, quantise
from jobs.reconcile import books
from jobs.reconcile.accounts import Account, NoAccount, Part, account, has_admin_key
from jobs.reconcile.books import Ours, Span
from jobs.reconcile.matching import LAG, Billed, Books, Difference, by_amount, compare

ZERO = Decimal(0)
LOOK_BACK = 35  # days: the month before is looked at until it cannot move any more
DAILY = dt.timedelta(hours=23)  # asked for by an hourly task
AT_ONCE = 200  # jobs that are adjusted while someone waits: 2 s
TOOLS = "tools"
_KINDS = (("output", 2), ("cached", 1))  # what a line's name has, by place in Tokens; all else is input
_TOOL_WORDS = ("web search", "file search")


class NotBookable(Exception):
    """A difference cannot be booked; the message says why."""


def ask(*, is_practice: bool, by: User | None = None) -> Reconciliation:
    """Have a worker reconcile the last 35 days; return the run, or the one that is under way.

    Raises NoAccount where there is no bill to read.
    """
    account(is_practice=is_practice)
    with transaction.atomic():
        Workspace.objects.lock()  # two who ask at once ask for one
        under_way = Reconciliation.objects.of(is_practice=is_practice).under_way().first()
        if under_way is not None:
            return under_way
        today = clock.now().date()
        made = Reconciliation.objects.create(
            is_practice=is_practice, asked_by=by, since=today - dt.timedelta(days=LOOK_BACK), until=today
        )
        lifecycle.ring_for("reconcile_bill", made.pk)
    return made


def ask_daily() -> None:
    """Have a worker reconcile the real account once a day, where its bill can be read."""
    lately = Reconciliation.objects.filter(is_practice=False, asked_at__gt=Now() - DAILY)
    if not has_admin_key() or lately.exists():
        return
    try:
        ask(is_practice=False)
    except NoAccount:
        return


def run(pk: int) -> None:
    """Read the bill, compare it, and keep what was found or why nothing was; once."""
    found = Reconciliation.objects.filter(pk=pk, ended_at=None).first()
    if found is None:
        return
    span = Span(found.since, found.until, clock.shift())
    margin = Span(found.since - dt.timedelta(days=LAG), found.until, span.shift)
    try:
        whose = account(is_practice=found.is_practice)
        bill = openai_client.costs(whose.endpoint, since=margin.since, until=margin.until)
    except (NoAccount, BorderError) as error:
        _end(found, problem=_sentence(error))
        return
    with transaction.atomic():
        lines = list(_lines(whose, bill, margin, since=found.since))
        # A message that is delivered again while this works has had it done twice: one of the two is kept.
        if Reconciliation.objects.select_for_update().filter(pk=pk, ended_at=None).exists():
            _keep(found, lines)


def book(pk: int, *, reason: str, by: User) -> Decimal | None:
    """Adjust the ledger to what a difference says its jobs cost; return by how much, USD.

    None where a worker does it, for many jobs take a while. Raises NotBookable without a reason, where
    nothing is to be booked, or where money has moved since.
    """
    if not reason.strip():
        raise NotBookable("Say why, for whoever reads the ledger.")
    with transaction.atomic():
        asked = ReconciliationLine.objects.bookable().filter(pk=pk)
        if not asked.update(booked_by=by, reason=reason[:500]):
            raise NotBookable("There is nothing to book any more.")
        line = ReconciliationLine.objects.get(pk=pk)
        if line.parts.count() > AT_ONCE:
            lifecycle.ring_for("book_difference", pk)
            return None
    return _book(line)


def book_on(pk: int) -> None:
    """Book a difference that someone asked for, or what is left of it; say on it why it cannot be."""
    line = ReconciliationLine.objects.filter(pk=pk, booked_at=None, booked_by__isnull=False).first()
    if line is None:
        return
    try:
        _book(line)
    except NotBookable as refused:
        ReconciliationLine.objects.filter(pk=pk).update(note=str(refused))


def _book(line: ReconciliationLine) -> Decimal:
    """Adjust each attempt in a transaction of its own: what broke off can go on."""
    moved = ZERO
    parts = line.parts.filter(should_be__isnull=False).select_related("attempt", "line__booked_by")
    for part in parts.order_by("attempt").iterator(chunk_size=500):
        try:
            with transaction.atomic():
                moved += _adjust(part)
        except spend.NotAdjustable:
            ReconciliationLine.objects.filter(pk=line.pk).update(booked_by=None, reason="")
            said = "Money has moved since. Reconcile again, and look at what it says then."
            raise NotBookable(said) from None
    ReconciliationLine.objects.filter(pk=line.pk).update(booked_at=Now())
    return moved


def _adjust(part: ReconciliationPart) -> Decimal:
    line = part.line
    assert part.should_be is not None
    assert line.booked_by is not None
    return spend.adjust(
        part.attempt,
        was=part.was,
        to=part.should_be,
        tokens={
            "input_tokens": part.input_tokens + part.cached_tokens,
            "cached_tokens": part.cached_tokens,
            "output_tokens": part.output_tokens,
        },
        reason=f"{line.get_cause_display()}: {line.reason}",
        actor=line.booked_by,
        key=f"{line.pk}:{part.attempt_id}",
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """A difference and what it is about."""

    difference: Difference
    model: str
    connection: Connection | None = None
    project: str = ""
    key: str = ""


def _lines(whose: Account, bill: Iterable[Cost], margin: Span, *, since: dt.date) -> Iterator[_Line]:
    specs = list(ModelSpec.objects.all())
    by_part: dict[Part, dict[str, list[Cost]]] = {part: defaultdict(list) for part in whose.parts}
    elsewhere: dict[tuple[str, str, str], list[Cost]] = defaultdict(list)
    for cost in bill:
        part = whose.part_of(cost)
        if part is None:
            elsewhere[cost.project, cost.key, _name(cost.item, specs)].append(cost)
        else:
            by_part[part][_name(cost.item, specs)].append(cost)
    prices = _rates(specs, margin.until)
    nothing = (ZERO, ZERO, ZERO)
    for part, billed in by_part.items():
        ours, fees = books.read(part, margin)
        for model in sorted({*billed, *ours} - {TOOLS}):
            both = _books(
                part, model, billed.get(model, ()), ours.get(model), margin, prices.get(model, nothing)
            )
            for difference in compare(both, since=since, today=margin.until):
                yield _Line(difference, model, part.only, part.project)
        if billed.get(TOOLS) or fees:
            yield _Line(_of_tools(billed.get(TOOLS, ()), fees), TOOLS, part.only, part.project)
    for (project, key, item), costs in elsewhere.items():
        both = Books(_by_day(costs), {}, (), lambda _: (), nothing, is_ours=False)
        for difference in compare(both, since=since, today=margin.until):
            yield _Line(difference, item, None, project, key)


def _books(
    part: Part,
    model: str,
    costs: Iterable[Cost],
    ours: Ours | None,
    margin: Span,
    rates: tuple[Decimal, Decimal, Decimal],
) -> Books:
    return Books(
        bill=_by_day(costs),
        booked=ours.booked if ours else {},
        silent=ours.silent if ours else (),
        sends_on=lambda day: books.sends_on(part, model, day, margin.shift),
        rates=rates,
        is_ours=ours is not None,
    )


def _by_day(costs: Iterable[Cost]) -> dict[dt.date, Billed]:
    found: dict[dt.date, Billed] = defaultdict(Billed)
    for cost in costs:
        _, _, kind = cost.item.rpartition(", ")
        place = next((place for word, place in _KINDS if word in kind), 0)
        found[cost.day].add(place, cost.quantity, cost.amount, cost.places)
    return dict(found)


def _of_tools(costs: Iterable[Cost], fees: Decimal) -> Difference:
    """Compare the calls of tools over all days: a bill has them for no model."""
    together = Billed()
    for cost in costs:
        together.add(0, cost.quantity, cost.amount, cost.places)
    return by_amount(None, quantise(together.amount), fees, together.tolerance)


def _name(item: str, specs: Iterable[ModelSpec]) -> str:
    """Return the model that a line of a bill is about, or what the bill calls it."""
    name, comma, _ = item.rpartition(", ")
    if not comma:
        return TOOLS if any(word in item.lower() for word in _TOOL_WORDS) else item or "not named"
    return next((spec.pk for spec in specs if spec.answers_to(name)), name)


def _rates(specs: Iterable[ModelSpec], day: dt.date) -> Mapping[str, tuple[Decimal, Decimal, Decimal]]:
    """Return USD a token of input, cached input and output, by model."""
    found = {}
    for spec in specs:
        if price := spec.price_on(day):
            cached = price.input if price.cached_input is None else price.cached_input
            found[spec.pk] = (price.input / MILLION, cached / MILLION, price.output / MILLION)
    return found


def _keep(found: Reconciliation, lines: list[_Line]) -> None:
    rows = [
        ReconciliationLine(
            reconciliation=found,
            cause=line.difference.cause,
            day=line.difference.day,
            connection=line.connection,
            openai_project=line.project[:100],
            api_key=line.key[:100],
            model=line.model[:200],
            billed=line.difference.billed,
            booked=line.difference.booked,
            jobs=line.difference.jobs,
            note=line.difference.note[:600],
        )
        for line in lines
    ]
    ReconciliationLine.objects.bulk_create(rows)
    parts = (
        ReconciliationPart(
            line=row,
            attempt_id=part.send.pk,
            was=part.send.cost + part.send.fee,
            should_be=None if part.should_be is None else part.should_be + part.send.fee,
            input_tokens=part.tokens.input,
            cached_tokens=part.tokens.cached,
            output_tokens=part.tokens.output,
        )
        for row, line in zip(rows, lines, strict=True)
        for part in line.difference.parts
    )
    ReconciliationPart.objects.bulk_create(parts, batch_size=1_000)
    differences = [line.difference for line in lines]
    unexplained = (one for one in differences if one.cause == Cause.UNEXPLAINED)
    residual = sum((one.billed - one.booked for one in unexplained), ZERO)
    _raise_alarm(found, residual)
    _end(
        found,
        billed=sum((one.billed for one in differences), ZERO),
        booked=sum((one.booked for one in differences), ZERO),
        residual=residual,
    )


def _raise_alarm(found: Reconciliation, residual: Decimal) -> None:
    """Raise an alarm where what nobody can explain (USD) is not what it was the last time."""
    before = Reconciliation.objects.of(is_practice=found.is_practice).filter(
        problem="", ended_at__isnull=False
    )
    known = before.values_list("residual", flat=True).first() or ZERO
    if residual and residual != known and not found.is_practice:
        alarm(
            "bill_unexplained", f"${abs(residual):,.2f} of the bill since {found.since} has no explanation."
        )


def _end(found: Reconciliation, **result: object) -> None:
    Reconciliation.objects.filter(pk=found.pk, ended_at=None).update(ended_at=Now(), **result)


def _sentence(error: NoAccount | BorderError) -> str:
    """Say what keeps the bill from being read, in words for whoever runs Ponder; never the key."""
    if isinstance(error, NoAccount):
        return str(error)
    if error.status == 401:
        return "OpenAI does not know the key in OPENAI_ADMIN_KEY. Set one that is valid, and start again."
    if error.status == 403:
        return (
            "The key in OPENAI_ADMIN_KEY may not read costs. It has to be an admin key of the organization: "
            "those begin with sk-admin."
        )
    if error.status in (404, 405):
        return "There is no Costs API at the address in OPENAI_BASE_URL."
    return f"The bill could not be read: {error.message}"[:600]
