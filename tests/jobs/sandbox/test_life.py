"""Durations, tokens and states, all computed from the time."""

import math
import random
import statistics
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from jobs.sandbox import ask as asks
from jobs.sandbox import life
from jobs.sandbox.__main__ import DEFAULT_SPEED
from jobs.sandbox.directives import Directives
from jobs.sandbox.life import Plan

DAY = date(2026, 11, 30)


def make(wishes: Directives | None = None, *, speed: float = 1, seed: int = 1, **body: Any) -> Plan:
    ask = asks.check({"model": "o3-pro", "input": "Why?", "background": True} | body, DAY)
    return life.plan(
        ask,
        wishes or Directives(),
        response_id="resp_1",
        input_tokens=8,
        speed=speed,
        rng=random.Random(seed),
    )


def draws(count: int = 2000, **body: Any) -> list[Plan]:
    return [make(seed=seed, **body) for seed in range(count)]


def shown(plan: Plan, at: float, *, cancelled_at: float | None = None) -> life.State:
    return life.state(plan, accepted_at=1000.0, cancelled_at=cancelled_at, now=1000.0 + at)


@pytest.mark.parametrize(
    ("effort", "seconds", "reasoning"),
    [("low", 40, 1_500), ("medium", 120, 5_000), ("high", 360, 15_000)],
)
def test_effort_sets_the_medians(effort: str, seconds: float, reasoning: float) -> None:
    plans = draws(reasoning={"effort": effort})
    assert statistics.median(plan.seconds for plan in plans) == pytest.approx(seconds, rel=0.08)
    assert statistics.median(plan.usage.reasoning for plan in plans) == pytest.approx(reasoning, rel=0.08)
    logs = [math.log(plan.seconds) for plan in plans]
    assert statistics.stdev(logs) == pytest.approx(life.SIGMA, rel=0.08)


def test_xhigh_takes_twelve_minutes() -> None:
    plans = draws(500, model="gpt-5.5-pro", reasoning={"effort": "xhigh"})
    assert statistics.median(plan.seconds for plan in plans) == pytest.approx(720, rel=0.1)


def test_at_the_default_speed_a_newcomer_sees_an_answer_within_half_a_minute() -> None:
    plans = draws(reasoning={"effort": "high"})
    late = [plan for plan in plans if plan.seconds / DEFAULT_SPEED > 30]
    assert len(late) <= len(plans) * 0.003


def test_small_models_think_less() -> None:
    def median(model: str) -> float:
        plans = draws(300, model=model, reasoning={"effort": "high"})
        return statistics.median(plan.usage.reasoning for plan in plans)

    assert median("gpt-5-nano") < median("o3") < median("o3-pro")


def test_pro_mode_takes_more_tokens() -> None:
    standard = make(model="gpt-5.6-sol", reasoning={"effort": "high"})
    pro = make(model="gpt-5.6-sol", reasoning={"effort": "high", "mode": "pro"})
    assert pro.usage.reasoning > standard.usage.reasoning


def test_speed_shortens_what_is_drawn_but_not_what_is_asked_for() -> None:
    assert make(speed=100).seconds == pytest.approx(make().seconds / 100)
    assert make(Directives(seconds=7), speed=100).seconds == 7


def test_a_response_is_queued_then_runs_then_ends() -> None:
    plan = make(Directives(seconds=10))
    assert [shown(plan, at).status for at in (0, 0.19, 0.21, 9.99, 10, 10_000)] == [
        "queued",
        "queued",
        "in_progress",
        "in_progress",
        "completed",
        "completed",
    ]
    assert shown(plan, 50).completed_at == 1010


def test_a_limit_below_the_reasoning_leaves_nothing_but_a_bill() -> None:
    plan = make(Directives(reasoning=5000), max_output_tokens=1000)
    assert (plan.status, plan.incomplete_reason) == ("incomplete", "max_output_tokens")
    assert plan.usage.output == plan.usage.reasoning == 1000
    assert [item["type"] for item in plan.output] == ["reasoning"]


def test_a_limit_within_the_answer_leaves_a_part_of_it() -> None:
    plan = make(Directives(reasoning=64), max_output_tokens=100)
    assert plan.usage.output == 100
    whole = make(Directives(reasoning=64)).output[1]["content"][0]["text"]
    part = plan.output[1]["content"][0]["text"]
    assert part
    assert whole.startswith(part)
    assert plan.output[1]["status"] == "incomplete"


def test_a_named_outcome_may_pass_every_limit() -> None:
    plan = make(Directives(outcome="completed", reasoning=300_000), max_output_tokens=1000)
    assert plan.status == "completed"
    assert plan.usage.output > 300_000


def test_usage_is_fixed_by_directives() -> None:
    plan = make(Directives(reasoning=640, answer_tokens=60, cached=5))
    assert plan.usage.body() == {
        "input_tokens": 8,
        "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 0},
        "output_tokens": 700,
        "output_tokens_details": {"reasoning_tokens": 640},
        "total_tokens": 708,
    }


@pytest.mark.parametrize(
    ("wishes", "status", "has_output", "has_usage"),
    [
        (Directives(), "completed", True, True),
        (Directives(usage="none"), "completed", True, False),
        (Directives(outcome="incomplete"), "incomplete", True, True),
        (Directives(outcome="incomplete", usage="none"), "incomplete", True, False),
        (Directives(outcome="failed"), "failed", False, False),
        (Directives(outcome="failed", usage="full"), "failed", False, True),
        (Directives(outcome="cancelled"), "cancelled", False, False),
        (Directives(outcome="cancelled", usage="full"), "cancelled", False, True),
        (Directives(outcome="refusal"), "completed", True, True),
        (Directives(outcome="function_call"), "completed", True, True),
        (Directives(outcome="stuck"), "in_progress", False, False),
        (Directives(outcome="stuck", status="pondering"), "pondering", False, False),
    ],
)
def test_every_end_is_shown_as_the_api_would(
    wishes: Directives, status: str, has_output: bool, has_usage: bool
) -> None:
    state = shown(make(replace(wishes, seconds=5)), 60)
    assert (state.status, state.has_output, state.usage is not None) == (status, has_output, has_usage)


def test_an_unknown_word_stands_for_in_progress_only() -> None:
    plan = make(Directives(seconds=10, status="pondering"))
    assert [shown(plan, at).status for at in (0, 5, 10)] == ["queued", "pondering", "completed"]


def test_usage_may_come_late() -> None:
    plan = make(Directives(seconds=10, late_usage=5))
    assert shown(plan, 14.9).usage is None
    assert shown(plan, 15).usage == plan.usage


def test_a_cancelled_response_stays_so() -> None:
    plan = make(Directives(seconds=10))
    state = shown(plan, 10_000, cancelled_at=1004)
    assert state == life.State("cancelled")


def test_a_cancelled_response_may_show_what_it_spent() -> None:
    plan = make(Directives(seconds=100, usage="full", reasoning=1000, answer_tokens=0))
    usage = shown(plan, 60, cancelled_at=1000 + 1 + 99 / 2).usage
    assert usage is not None
    assert usage.output == 500


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_cancelled_response_may_become_completed(is_asked: bool) -> None:
    wishes = Directives(seconds=10, cancelled_then="completed", after=3)
    plan = make(wishes if is_asked else replace(wishes, outcome="cancelled"))
    cancelled_at = 1010.0 if is_asked else None
    assert shown(plan, 12.9, cancelled_at=cancelled_at).status == "cancelled"
    state = shown(plan, 13, cancelled_at=cancelled_at)
    assert (state.status, state.has_output, state.completed_at) == ("completed", True, 1013)
    assert state.usage == plan.usage


def test_a_plan_survives_being_written_down() -> None:
    plan = make(Directives(outcome="failed", code="rate_limit_exceeded", missing=3, webhook="drop"))
    assert Plan.from_dict(plan.to_dict()) == plan
