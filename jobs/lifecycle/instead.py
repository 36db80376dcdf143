"""Finds what else a job could run on where its own choice does not fit: standard mode, or a smaller model."""

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping
from decimal import Decimal

from jobs.lifecycle.before import Before
from jobs.lifecycle.spec import JobSpec, ceiling_at, is_offered, windows_of
from jobs.models import Price
from jobs.models.catalogue import SOONEST

STANDARD = "standard"


def settled(wanted: JobSpec, price: Price) -> JobSpec:
    """Return `wanted` with an effort, a mode and a completion window that the price's model has."""
    spec = price.model
    allowed = wanted.project.allowed_efforts or spec.efforts_offered()
    efforts = [effort for effort in spec.efforts_offered() if effort in allowed]
    effort, mode, window = wanted.effort, wanted.mode, wanted.window
    if window not in windows_of(price, wanted.project.connection):
        window = SOONEST
    if effort not in efforts:
        effort = spec.default_effort if spec.default_effort in efforts or not efforts else efforts[-1]
    if mode not in spec.modes:
        mode = spec.modes[0]
    return dataclasses.replace(wanted, effort=effort, mode=mode, window=window)


def instead(wanted: JobSpec, prices: Mapping[str, Price], room: Decimal, today: dt.date) -> JobSpec | None:
    """Return the job as it would fit into `room` USD with the same output limit; None where it would not.

    Its own model in standard mode comes before the next smaller of the models in `prices`, each by its id.
    """
    before = Before(wanted.previous)  # read once for them all
    for other in _lesser(wanted, prices):
        price = prices[other.model]
        ceiling = ceiling_at(other, price.model, price, before=before)
        if not (ceiling and ceiling.worst_case <= room and is_offered(other, price, today)):
            continue
        # A send does not ask for this: whoever chose such a model may know better.
        if other.schema is None or "structured" in price.model.capabilities:
            return other
    return None


def _lesser(wanted: JobSpec, prices: Mapping[str, Price]) -> Iterator[JobSpec]:
    """Yield the job at each lesser choice, the dearest first."""
    own = prices.get(wanted.model)
    if own is None:
        return
    smaller = [price for price in prices.values() if price.model.rung < own.model.rung]
    for price in (own, *sorted(smaller, key=lambda price: -price.model.rung)):
        other = settled(dataclasses.replace(wanted, model=price.model_id), price)
        if price is not own:
            yield other
        if other.mode != STANDARD:
            yield dataclasses.replace(other, mode=STANDARD)
