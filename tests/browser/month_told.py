"""What the page of a month must say, worked out from the ledger's rows alone, and what it does say."""

import datetime as dt
import re
from calendar import monthrange
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from django.db import connection
from django.template.defaultfilters import floatformat
from playwright.sync_api import Page

from jobs import clock, forecast, pricing
from jobs.models import BudgetPeriod, Price
from jobs.models.catalogue import SOONEST, WINDOWS
from jobs.templatetags import review, ui
from jobs.views import month_charts
from jobs.views.month_costs import Bar

ZERO = Decimal(0)
LATELY = 20  # answered jobs of a project that tell what part of a hold is charged
# Every row of real money, with what it may be shared out by.
FACTS = """
SELECT entry.month, entry.kind, entry.basis, entry.amount, project.slug, entry.spent_on::text,
    entry.user_id::text, coalesce(entry.token_id::text, 'none'), person.name, coalesce(token.name, ''),
    job.model_id, job.effort, job.tags, job.short_id, prompt.title, entry.attempt_id,
    entry.input_tokens, entry.cached_tokens, entry.output_tokens, entry.reasoning_tokens
FROM jobs_ledgerentry entry
JOIN jobs_project project ON project.id = entry.project_id
JOIN jobs_connection connection ON connection.id = project.connection_id
LEFT JOIN jobs_user person ON person.id = entry.user_id
LEFT JOIN jobs_apitoken token ON token.id = entry.token_id
LEFT JOIN jobs_job job ON job.id = entry.job_id
LEFT JOIN jobs_prompt prompt ON prompt.job_id = job.id
WHERE NOT connection.is_practice ORDER BY entry.id
"""
JUDGED = """
SELECT verdict.value, job.short_id FROM jobs_verdict verdict JOIN jobs_job job ON job.id = verdict.job_id
WHERE verdict.at >= %s AND verdict.at < %s
"""
ANSWERED = """
SELECT project.slug, job.short_id FROM jobs_job job JOIN jobs_project project ON project.id = job.project_id
WHERE job.status IN ('completed', 'incomplete') ORDER BY job.created_at DESC, job.id DESC
"""
REFUSED = """
SELECT person.name, project.name, refusal.ceiling, refusal.shortfall FROM jobs_refusal refusal
JOIN jobs_user person ON person.id = refusal.user_id
JOIN jobs_project project ON project.id = refusal.project_id
WHERE refusal.month = %s ORDER BY refusal.at DESC, refusal.id DESC
"""
KINDS = {"spent": ("charge", "adjust"), "held": ("hold", "release"), "grant": ("grant",)}
# Each card of the page by its heading: its text, its tables by their first column's head, its items.
SECTIONS = """() => {
    const said = node => node.textContent.replace(/\\s+/g, " ").trim();
    const table = one => [said(one.querySelector("th")),
        [...one.querySelectorAll("tbody tr")].map(row => [...row.children].map(said))];
    return Object.fromEntries([...document.querySelectorAll("main section h2")].map(head => {
        const box = head.closest("section.kpis") ? head.parentElement : head.closest("section");
        return [said(head), {
            text: said(box),
            tables: Object.fromEntries([...box.querySelectorAll("table")].map(table)),
            heads: [...box.querySelectorAll("thead th")].map(said),
            items: [...box.querySelectorAll("ul.rows > li")].map(said),
        }];
    }));
}"""

type Table = list[list[str]]


@dataclass(frozen=True)
class Fact:
    """A row of the ledger, with what an address may ask of it under the address's own names."""

    in_month: dt.date
    kind: str
    basis: str
    amount: Decimal
    project: str
    day: str
    person: str
    token: str
    name: str
    token_name: str
    model: str
    effort: str
    tags: list[str]
    job: str
    title: str
    attempt: int
    input: int
    cached: int
    output: int
    reasoning: int

    @property
    def month(self) -> str:
        return f"{self.in_month:%Y-%m}"

    def fits(self, asked: dict[str, str]) -> bool:
        if "tag" in asked and asked["tag"] not in self.tags:
            return False
        return all(str(getattr(self, name)) == value for name, value in asked.items() if name != "tag")


def facts() -> list[Fact]:
    """Read the real money of all months from the ledger, by a question of the tests' own."""
    return [Fact(*row) for row in _rows(FACTS)]


def total(of: Iterable[Fact], kind: str, **asked: str) -> Decimal:
    return sum((one.amount for one in of if one.kind in KINDS[kind] and one.fits(asked)), ZERO)


def jobs_of(of: Iterable[Fact], **asked: str) -> int:
    """Count the charges that rest on something; nothing of these months is corrected."""
    return sum(one.kind == "charge" and one.basis != "none" and one.fits(asked) for one in of)


@dataclass(frozen=True)
class Standing:
    """A project in the month: USD of its cap and grants, spent and held, and how it will likely end."""

    slug: str
    room: Decimal
    spent: Decimal
    held: Decimal
    end: forecast.Outlook | None

    @property
    def left(self) -> Decimal:
        return self.room - self.spent - self.held


class Told:
    """A month that is not over, of all projects, as an operator is shown it."""

    def __init__(self, today: dt.date, gone: float, periods: list[BudgetPeriod]) -> None:
        """`gone` is the part of today that is over; `periods` are this month's, with the workspace's."""
        self.today, self.gone = today, gone
        self.first = clock.month_of(today)
        self.before = clock.month_of(self.first - dt.timedelta(days=1))
        self.length = monthrange(today.year, today.month)[1]
        self.ever = facts()
        self.facts = [one for one in self.ever if one.in_month == self.first]
        self.earlier = [one for one in self.ever if one.in_month == self.before]
        self.periods = {period.budget.project_id: period for period in periods}
        self.cap = self.periods[None].room
        self.spent, self.held = total(self.facts, "spent"), total(self.facts, "held")

    @cached_property
    def end(self) -> forecast.Outlook | None:
        return self._outlook(_by_day(self.ever), self.held, None)

    @cached_property
    def models(self) -> list[str]:
        """The models, dearest first."""
        return self._dearest("model")

    def lead(self) -> list[str]:
        likely = [ui.dollars(self.end.likely)] if self.end else []
        held = [review.held(self.held)] if self.held else []
        return [ui.dollars(self.spent), ui.dollars(self.cap), *held, *likely]

    def so_far(self) -> list[str]:
        used, gone = self.spent * 100 / self.cap, Decimal(self.today.day * 100) / self.length
        return [ui.money(self.spent), ui.dollars(self.cap), _percent(used), _percent(gone)]

    def forecast(self) -> list[str]:
        if self.end is None:
            return []
        held = [review.held(self.held)] if self.held else []
        return [*map(ui.dollars, (self.end.likely, self.end.low, self.end.high)), *held]

    def median(self) -> list[str]:
        """The middle of the bucket of the dearest model's job in the middle, and of the month before."""
        costs = [self._costs(of) for of in (self.facts, self.earlier)]
        return [ui.money(pricing.middle(pricing.bucket(_nth(own, Decimal("0.5"))))) for own in costs if own]

    def hidden(self) -> list[str]:
        out, thought = (sum(getattr(one, name) for one in self.facts) for name in ("output", "reasoning"))
        return [_percent(Decimal(thought * 100) / out)]

    def to_date(self) -> Table:
        rows, so_far = [], ZERO
        for day in self._days():
            spent = total(self.facts, "spent", day=str(day))
            so_far += spent
            rows.append([_day(day), ui.money(spent), ui.money(so_far)])
        ahead = self.end.ahead if self.end else ()
        return rows + [
            [f"{_day(one.on)}, likely", ui.money(one.likely), ui.money(one.so_far)] for one in ahead
        ]

    def to_date_said(self) -> list[str]:
        pace = self.cap * self.today.day / self.length
        said = list(map(ui.money, (self.spent, self.cap, pace)))
        return said + [ui.dollars(usd) for usd in (self.end.likely, self.end.low, self.end.high)] * bool(
            self.end
        )

    def by_project(self) -> Table:
        parts = [
            [total(self.facts, "spent", day=str(day), project=slug) for slug in self._dearest("project")]
            for day in self._days()
        ]
        return [
            [_day(day), *map(ui.money, own), ui.money(sum(own, ZERO))]
            for day, own in zip(self._days(), parts, strict=True)
        ]

    def by_project_said(self) -> list[str]:
        dearest = max(total(self.facts, "spent", day=str(day)) for day in self._days())
        return [ui.money(dearest), ui.money(self.cap / self.length)]

    def projects(self) -> dict[str, list[str]]:
        """Return the figures of each project by its name."""
        return {name: self._line(one) for name, one in self._standing.items()}

    def note(self) -> str:
        """Return what is said above the figures of the cap that is reached first; nothing here is overrun."""
        whole = Standing("", self.cap, self.spent, self.held, self.end)
        found = [
            (on, f"{name} has used {_percent(one.spent * 100 / one.room)} of its cap and reaches it around ")
            for name, one in [*self._standing.items(), ("The workspace", whole)]
            if one.end is not None and (on := one.end.reaches(one.room))
        ]
        if not found:
            return ""
        on, said = min(found, key=lambda pair: pair[0])
        return f"{said}{on:%A} {on.day} {on:%B}."

    def spenders(self) -> Table:
        named = {(one.person, one.token): one for one in self.facts if one.kind == "charge"}
        return self._table(
            {
                f"{one.token_name} (token of {one.name})" if one.token_name else one.name: {
                    "person": one.person,
                    "token": one.token,
                }
                for one in named.values()
            }
        )

    def tags(self) -> Table:
        names = {tag for one in self.facts if one.kind == "charge" for tag in one.tags}
        return self._table({tag: {"tag": tag} for tag in names})

    def by_model(self) -> Table:
        return self._table({name: {"model": name} for name in self.models}, before=ui.dollars)

    def models_said(self) -> list[str]:
        part = total(self.facts, "spent", model=self.models[0]) * 100 / self.spent
        return [f"{part:.0f}%", ui.money(self.spent)]

    def efforts(self) -> dict[str, list[str]]:
        return {name: [ui.money(total(self.facts, "spent", effort=name))] for name in self._dearest("effort")}

    def waiting(self) -> list[str]:
        """What all jobs would have cost less, for none of them waited; nothing without a discount."""
        saved = ZERO
        for price in Price.objects.in_force(self.today).filter(model__in=self.models):
            longest = max(
                price.windows_offered, key=lambda name: WINDOWS[name] if name != SOONEST else dt.timedelta(0)
            )
            if longest != SOONEST:
                spent = total(self.facts, "spent", model=price.model_id)
                saved += spent * (1 - price.rates.windows[longest])
        return [ui.money(saved)] if saved else []

    def costs(self) -> Table:
        """How many jobs of the dearest model are in each bucket of cost, and a neighbour on each side."""
        numbers = [pricing.bucket(cost) for cost in self._costs(self.facts)]
        edges = (ZERO, *pricing.BUCKET_EDGES)
        return [
            [month_charts.span(Bar(edges[number], edges[number + 1], 0)), str(numbers.count(number))]
            for number in range(max(min(numbers) - 1, 0), max(numbers) + 2)
        ]

    def costs_said(self) -> list[str]:
        costs = self._costs(self.facts)
        parts = (pricing.middle(pricing.bucket(_nth(costs, Decimal(part)))) for part in ("0.5", "0.95"))
        return [*map(ui.money, parts)]

    def costliest(self) -> Table:
        jobs = {one.job: one for one in self.facts if one.kind == "charge"}
        costs = {job: total(self.facts, "spent", job=job) for job in jobs}
        dearest = sorted((job for job in jobs if costs[job]), key=lambda job: -costs[job])[:5]
        return [
            [
                f"{jobs[job].title} {jobs[job].model} {jobs[job].effort}",
                jobs[job].name,
                ui.money(costs[job]),
            ]
            for job in dearest
        ]

    def judged(self) -> str:
        zone = dt.UTC  # the workspace's, here
        after = (self.first + dt.timedelta(days=32)).replace(day=1)
        begin, end = (dt.datetime.combine(day, dt.time(), zone) for day in (self.first, after))
        found = _rows(JUDGED, begin, end)
        if not found:
            return "Nobody has marked an answer yet, so nothing can be said of what a right one costs."
        cost = sum((total(self.ever, "spent", job=job) for _, job in found), ZERO)
        right = sum(value == "right" for value, _ in found)
        return (
            f"{ui.money(cost / right)} for each right one: {right} of {len(found)} judged answers was right, "
            f"and all of them cost {ui.money(cost)}."
        )

    def in_flight(self) -> Table:
        """Title with name, and USD, of each job that holds money."""
        jobs = {one.job: one for one in self.facts if one.job and total(self.facts, "held", job=one.job)}
        return [
            [f"{one.title} {one.name}", ui.ceiling(total(self.facts, "held", job=job))]
            for job, one in jobs.items()
        ]

    def refused(self) -> Table:
        return [
            [who, what, ui.ceiling(ceiling), ui.ceiling(short)]
            for who, what, ceiling, short in _rows(REFUSED, self.first)[:5]
        ]

    def months(self) -> Table:
        """The months before, newest first: USD, change, what was forecast on the tenth, and how it ended."""
        days = _by_day([one for one in self.ever if one.in_month < self.first])
        sums = {
            month: total(self.ever, "spent", month=f"{month:%Y-%m}") for month in map(clock.month_of, days)
        }
        told = {one.month: one for one in forecast.kept(days, sorted(sums))}
        rows = []
        for month in sorted(sums, reverse=True):
            last = sums.get(clock.month_of(month - dt.timedelta(days=1)))
            change = _signed((sums[month] - last) * 100 / last) if last else "–"
            row = [f"{month:%B %Y}", ui.money(sums[month]), change]
            if month in told:
                one = told[month]
                word = "within" if one.is_within else "below" if one.ended < one.low else "above"
                row += [f"{ui.dollars(one.low)} to {ui.dollars(one.high)}", word]
            else:
                row += ["too early", "–"]
            rows.append(row)
        return rows

    def sheet(self) -> dict[tuple[str, ...], list[Any]]:
        """Return jobs, USD and tokens by the columns of the spreadsheet that a charge is shared out by."""
        found: dict[tuple[str, ...], list[Any]] = defaultdict(lambda: [0, ZERO, 0, 0, 0, 0])
        for one in self.facts:
            if one.kind in KINDS["spent"]:
                key = one.day, one.project, one.model, one.effort, one.name, one.token_name
                counted = one.kind == "charge" and one.basis != "none"
                more = (counted, one.amount, one.input, one.cached, one.output, one.reasoning)
                found[key] = [have + add for have, add in zip(found[key], more, strict=True)]
        return dict(found)

    def _days(self) -> list[dt.date]:
        return [self.first + dt.timedelta(days=number) for number in range(self.today.day)]

    def _dearest(self, name: str) -> list[str]:
        values = {getattr(one, name) for one in self.facts if one.kind == "charge"}
        return sorted(values, key=lambda value: -total(self.facts, "spent", **{name: value}))

    def _table(
        self, named: dict[str, dict[str, str]], *, before: Callable[[Decimal], str] = ui.money
    ) -> Table:
        """Return name, jobs, USD and USD of the month before, dearest first."""
        rows = [
            (total(self.facts, "spent", **asked), total(self.earlier, "spent", **asked), name, asked)
            for name, asked in named.items()
        ]
        return [
            [name, str(jobs_of(self.facts, **asked)), ui.money(now), before(then)]
            for now, then, name, asked in sorted(rows, key=lambda row: (-row[0], -row[1]))
        ]

    def _costs(self, of: list[Fact]) -> list[Decimal]:
        """Return what each charged attempt of the dearest model cost, the cheapest first."""
        costs: dict[int, Decimal] = defaultdict(Decimal)
        for one in of:
            if one.kind in KINDS["spent"] and one.model == self.models[0]:
                costs[one.attempt] += one.amount
        return sorted(costs.values())

    @cached_property
    def _standing(self) -> dict[str, "Standing"]:
        """Each project by its name, the dearest first."""
        found = {}
        for period in self.periods.values():
            if period.budget.project is not None:
                slug = period.budget.project.slug
                since = clock.month_of(self.today - forecast.WINDOW)
                own = [one for one in self.ever if one.project == slug and one.in_month >= since]
                held = total(self.facts, "held", project=slug)
                found[period.budget.project.name] = Standing(
                    slug=slug,
                    room=period.cap + total(self.facts, "grant", project=slug),
                    spent=total(self.facts, "spent", project=slug),
                    held=held,
                    end=self._outlook(_by_day(own), held, slug),
                )
        return dict(sorted(found.items(), key=lambda pair: -pair[1].spent))

    def _line(self, one: "Standing") -> list[str]:
        said = [ui.money(one.spent), ui.dollars(one.room)]
        said += [ui.ceiling(one.held)] if one.held else []
        said.append(ui.money(one.left))
        if one.end is not None and one.end.reaches(one.room) is None:
            spare = (one.room - one.end.likely) * 100 / one.room
            said += [ui.dollars(one.end.likely), _percent(spare)]
        before = total(self.earlier, "spent", project=one.slug)
        return said + ([ui.dollars(before)] if before else [])

    def _outlook(self, days: dict[dt.date, Decimal], held: Decimal, slug: str | None) -> Any:
        return forecast.outlook(
            days, self.today, held=held, share=self._charged_of_held(slug), gone=self.gone
        )

    def _charged_of_held(self, slug: str | None) -> Decimal:
        """What part of a hold was charged lately, in a project or in all that hold money together."""
        holding = {one.project for one in self.facts if total(self.facts, "held", project=one.project)}
        lately: dict[str, list[str]] = defaultdict(list)
        for project, job in _rows(ANSWERED):
            if project in holding and len(lately[project]) < LATELY:
                lately[project].append(job)
        jobs = lately[slug] if slug in lately else [job for own in lately.values() for job in own]
        holds = (one.amount for one in self.ever if one.kind == "hold" and one.job in set(jobs))
        charged = sum((total(self.ever, "spent", job=job) for job in jobs), ZERO)
        most = sum(holds, ZERO)
        return min(charged / most, Decimal(1)) if most else Decimal(1)


def sections_of(page: Page) -> dict[str, dict[str, Any]]:
    """Read every card by its heading, as `SECTIONS` says."""
    found: dict[str, dict[str, Any]] = page.evaluate(SECTIONS)
    return found


def figures(text: str) -> list[str]:
    """Return the money and the percentages of a text, in their order."""
    return re.findall(r"<?\$\d{1,3}(?:,\d{3})*(?:\.\d+)?|[−-]?\d+%", text)


def _by_day(of: Iterable[Fact]) -> dict[dt.date, Decimal]:
    found: dict[dt.date, Decimal] = defaultdict(Decimal)
    for one in of:
        if one.kind in KINDS["spent"]:
            found[dt.date.fromisoformat(one.day)] += one.amount
    return dict(found)


def _nth(costs: list[Decimal], part: Decimal) -> Decimal:
    """Return the cost that the cheapest part of all ends in; of an even number's half the lower one."""
    return costs[max(-int(-len(costs) * part // 1), 1) - 1]


def _percent(value: Decimal) -> str:
    return f"{floatformat(value, 0)}%"


def _signed(percent: Decimal) -> str:
    whole = round(percent)
    return f"{'+' if whole > 0 else '−' if whole < 0 else ''}{abs(whole):,}%"


def _day(day: dt.date) -> str:
    return f"{day.day} {day:%b}"


def _rows(query: str, *values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()
