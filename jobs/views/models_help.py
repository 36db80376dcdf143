"""The page that helps to choose a model: when a dear one is worth it, by the catalogue and dated scores."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from jobs import pricing
from jobs.lifecycle import usual_seconds
from jobs.models import ModelSpec, Price
from jobs.pricing import Usage
from jobs.views.frame import frame_of
from jobs.views.words import usually

BENCHMARKS = Path(__file__).resolve().parents[1] / "fixtures" / "benchmarks.json"
# The question that every model of the table is priced for: a page of text.
QUESTION = 2_000  # input tokens
THOUGHT = 20_000  # reasoning tokens that a hard question easily takes, whatever the answer's length


@dataclass(frozen=True, slots=True)
class Line:
    """A living model with its price of today, and what a question of a page usually costs on it (USD)."""

    spec: ModelSpec
    price: Price
    low: Decimal
    high: Decimal
    usual: str


@require_safe
def models_help(request: HttpRequest) -> HttpResponse:
    """Explain which model to ask, with the catalogue as it stands today."""
    frame = frame_of(request)
    known = list(ModelSpec.objects.select_related("successor").order_by("rung", "id"))
    prices = {price.model_id: price for price in Price.objects.in_force(frame.today)}
    lines = [_line(spec, prices[spec.pk]) for spec in known if spec.pk in prices]
    context = {
        "lines": lines,
        "gone": [spec for spec in known if spec.is_off(frame.today)],
        "sources": list(dict.fromkeys(line.price.source for line in lines)),
        "priced_on": max((line.price.valid_from for line in lines), default=None),
        "thinking": _thinking(lines, frame.workspace.default_model_id),
        "with_modes": [line for line in lines if len(line.spec.modes) > 1],
        "benchmarks": _benchmarks(known),
        "question": QUESTION,
        "thought": THOUGHT,
    }
    return render(request, "models_help.html", context)


def _line(spec: ModelSpec, price: Price) -> Line:
    effort = spec.default_effort
    least, _, most = spec.usual_output(effort)
    low, high = pricing.likely(
        rates=price.rates,
        input_tokens=QUESTION,
        output_low=least,
        output_high=most,
        max_output_tokens=spec.max_output_tokens,
    )
    return Line(spec, price, low, high, usually(*usual_seconds(spec, effort)))


def _thinking(lines: Sequence[Line], default: str | None) -> dict[str, Any] | None:
    """Return what a hard question's reasoning costs on the default model, else on the dearest; USD."""
    if not lines:
        return None
    chosen = next((line for line in lines if line.spec.pk == default), lines[-1])
    used = Usage(output_tokens=THOUGHT, reasoning_tokens=THOUGHT)
    cost = pricing.charge(chosen.price.rates, used, service_tier="default", window="soonest").total
    return {"model": chosen.spec.pk, "cost": cost}


def _benchmarks(known: Sequence[ModelSpec]) -> dict[str, Any] | None:
    """Return the scores on record of the models in the catalogue, cheapest rung first."""
    record = _record()
    scored = [spec.pk for spec in known if any(spec.pk in row["scores"] for row in record["rows"])]
    if not scored:
        return None
    rows = [{**row, "cells": [row["scores"].get(name) for name in scored]} for row in record["rows"]]
    return {**record, "models": scored, "rows": rows}


@cache
def _record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(BENCHMARKS.read_text())
    return found
