"""Draws up half a year of a team's work: who asked what, when, where, and what it came to."""

import json
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from typing import Any

from jobs import pricing, spend
from jobs.access import Role
from jobs.models import Connection, Membership, ModelSpec, Price, Project, Secret, User, Workspace
from jobs.pricing import Usage

DAYS, PROJECTS, PEOPLE, IN_FLIGHT = 180, 50, 200, 40
TEXTS, WORDS = 2_000, 6_000  # different prompts and answers, and words they are made of
USUAL = 24  # different costs of one model
DAY = 86_400
WEEK = (1.0, 1.1, 1.1, 1.05, 0.9, 0.2, 0.15)  # how much is asked on each day of it
MODELS = {
    "gpt-6-luna": 30, "o4-mini": 15, "o3": 25, "gpt-6-sol": 12, "gpt-5.6-sol": 8, "o3-pro": 8,
    "gpt-5.5-pro": 2,
}  # fmt: skip
ENDS = {"completed": 90, "incomplete": 3, "failed": 4, "cancelled": 3}
UNDER_WAY = ("waiting", "queued", "in_progress", "in_progress", "unconfirmed")
NOUNS = [
    "lemma", "theorem", "bound", "kernel", "scheduler", "clause", "contract", "prior", "posterior", "witness",
    "tiling", "graph", "lattice", "compactness", "norm", "deadlock", "cache", "compiler", "regression",
    "estimator", "sample", "draft", "agreement", "budget", "proof", "counterexample", "sequence", "operator",
    "matrix", "gradient", "solver", "parser", "grammar", "schema", "query", "index", "ledger",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sort:
    """What a job of one model can come to: its cost and ceiling in USD, and its usage."""

    model: str
    effort: str
    price: int
    worst: str
    cost: str
    half: str
    usage: str
    tokens: tuple[int, int, int, int]
    seconds: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One row a job, by position: when, where, who, what and how it ended."""

    begun: Sequence[int]
    project: Sequence[int]
    person: Sequence[int]
    sort: Sequence[Sort]
    end: Sequence[str]
    text: Sequence[int]

    def numbers(self) -> range:
        """The jobs' ids."""
        return range(1, len(self.begun) + 1)


def team(draw: random.Random) -> dict[int, list[int]]:
    """Make people, projects and caps; return each project's members. One project is practice."""
    ModelSpec.objects.seed()
    Workspace.objects.the()
    Workspace.objects.update(default_model="gpt-6-sol")
    real, practice = (
        Connection.objects.get_or_create(
            name=name,
            defaults={
                "is_practice": name == "practice",
                "base_url": "http://127.0.0.1:9",
                "key": Secret.of("x"),
            },
        )[0]
        for name in ("bench", "practice")
    )
    numbers = range(1, PEOPLE + 1)
    people = User.objects.bulk_create(
        User(email=f"p{n}@example.com", name=f"Person {n}", password="!") for n in numbers
    )
    projects = Project.objects.bulk_create(
        Project(
            name=f"Project {n}",
            slug=f"project-{n}",
            connection=practice if n == PROJECTS else real,
            default_model_id="gpt-6-sol",
        )
        for n in range(1, PROJECTS + 1)
    )
    found = {}
    for project in projects:
        members = draw.sample(people, 20)
        found[project.pk] = [person.pk for person in members]
        Membership.objects.bulk_create(
            Membership(user=person, project=project, role=Role.SUBMITTER) for person in members
        )
        spend.set_cap(Decimal(100_000), project=project)
    spend.set_cap(Decimal(2_000_000))
    for person in people[:20]:
        spend.set_cap(Decimal(50_000), user=person)
    return found


def sorts_of_models(draw: random.Random) -> dict[str, list[Sort]]:
    found: dict[str, list[Sort]] = {}
    for spec in ModelSpec.objects.filter(pk__in=MODELS):
        price = Price.objects.filter(model=spec).latest("valid_from")
        for _ in range(USUAL):
            effort = draw.choice(spec.efforts)
            usual = spec.usual(effort)
            reasoning, answer, seconds = (
                int(draw.triangular(usual[name][0], usual[name][2], usual[name][1]))
                for name in ("reasoning", "answer", "seconds")
            )
            given = draw.randint(300, 20_000)
            body = {
                "input_tokens": given,
                "input_tokens_details": {"cached_tokens": given // 4},
                "output_tokens": reasoning + answer,
                "output_tokens_details": {"reasoning_tokens": reasoning},
                "total_tokens": given + reasoning + answer,
            }
            usage = Usage.from_wire({"usage": body})
            assert usage is not None
            cost = pricing.charge(price.rates, usage, service_tier="default", window="soonest").total
            made = Sort(
                model=spec.pk,
                effort=effort,
                price=price.pk,
                worst=f"{cost * 2 + 1:f}",
                cost=f"{cost:f}",
                half=f"{cost / 2:.10f}",
                usage=json.dumps(body),
                tokens=(given, given // 4, reasoning + answer, reasoning),
                seconds=max(1, seconds),
            )
            found.setdefault(spec.pk, []).append(made)
    return found


def plan_of(
    count: int, draw: random.Random, members: dict[int, list[int]], sorts: dict[str, list[Sort]]
) -> Plan:
    projects, models = list(members), list(MODELS)
    # A few projects ask most of all.
    weights = list(accumulate(1 / (rank + 3) for rank in range(len(projects))))
    chosen = draw.choices(projects, cum_weights=weights, k=count)
    by_model = draw.choices(models, weights=MODELS.values(), k=count)
    end = draw.choices(list(ENDS), weights=ENDS.values(), k=count)
    for n in range(1, min(IN_FLIGHT, count) + 1):
        end[-n] = UNDER_WAY[n % len(UNDER_WAY)]
    chance = draw.random
    return Plan(
        begun=_moments(count, draw),
        project=chosen,
        person=[members[project][int(chance() * 20)] for project in chosen],
        sort=[sorts[model][int(chance() * USUAL)] for model in by_model],
        end=end,
        text=[int(chance() * TEXTS) for _ in range(count)],
    )


def _moments(count: int, draw: random.Random) -> list[int]:
    """Return when each was asked, oldest first, seconds since 1970: more by day, on weekdays, and of late."""
    now = int(time.time())
    days = [now // DAY - DAYS + 1 + n for n in range(DAYS)]
    # 1 January 1970 was a Thursday.
    weights = [WEEK[(day + 3) % 7] * (1 + n / DAYS) for n, day in enumerate(days)]
    moments = [
        min(day * DAY + int(draw.triangular(6, 22, 13) * 3600), now - 1)
        for day in draw.choices(days, weights=weights, k=count - min(IN_FLIGHT, count))
    ]
    return sorted(moments) + [now - IN_FLIGHT + n for n in range(min(IN_FLIGHT, count))]


@dataclass(frozen=True, slots=True)
class Texts:
    """Prompts and answers, and the words of each as search keeps them; nouns as they are kept."""

    prompts: list[str]
    answers: list[str]
    prompt_words: list[str]
    answer_words: list[str]
    nouns: dict[str, str]


def texts_of(cursor: Any, draw: random.Random) -> Texts:
    syllables = [
        "ba",
        "ce",
        "di",
        "fo",
        "gu",
        "ka",
        "le",
        "mi",
        "no",
        "pu",
        "ra",
        "se",
        "ti",
        "vo",
        "zu",
        "qua",
    ]
    words = sorted({"".join(draw.choices(syllables, k=draw.randint(2, 4))) for _ in range(WORDS)})
    draw.shuffle(words)
    # As in speech: a few words are in every other text, most in a few.
    weights = list(accumulate(1 / (rank + 10) for rank in range(len(words))))

    def some(most: int) -> list[str]:
        return [" ".join(draw.choices(words, cum_weights=weights, k=most)) for _ in range(TEXTS)]

    def kept(texts: Iterable[str]) -> list[str]:
        cursor.execute(
            "SELECT to_tsvector('english', t)::text FROM unnest(%s::text[]) WITH ORDINALITY u(t, n)"
            " ORDER BY n",
            [list(texts)],
        )
        return [row[0] for row in cursor.fetchall()]

    prompts, answers = some(18), some(24)
    return Texts(prompts, answers, kept(prompts), kept(answers), dict(zip(NOUNS, kept(NOUNS), strict=True)))
