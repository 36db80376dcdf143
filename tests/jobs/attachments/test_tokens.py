"""Tokens of files: the most they can be is never below what the published formulas charge."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import attachments

O_SERIES = {"base": 75, "tile": 150}
GPT_6 = {"budget": 2500, "multiplier": "1.2"}
O4_MINI = {"budget": 1536, "multiplier": "1.72"}
RULES = [O_SERIES, GPT_6, O4_MINI, {}]

sides = st.integers(1, 20_000)


@dataclass
class File:
    width: int | None = None
    height: int | None = None
    pages: int | None = None
    text_bytes: int = 0


def bound(rule: dict[str, Any], **file: int) -> int:
    return attachments.bound(attachments.rule_of(rule), File(**file))


def guess(rule: dict[str, Any], **file: int) -> int:
    return attachments.guess(attachments.rule_of(rule), File(**file))


def charged_by_patches(width: int, height: int, *, budget: int, multiplier: float) -> int:
    """The guide's formula in its own words, with its worst rounding."""
    if math.ceil(width / 32) * math.ceil(height / 32) > budget:
        shrink = math.sqrt(32**2 * budget / (width * height))
        shrink *= min(
            math.floor(width * shrink / 32) / (width * shrink / 32),
            math.floor(height * shrink / 32) / (height * shrink / 32),
        )
        width, height = math.ceil(width * shrink) or 1, math.ceil(height * shrink) or 1
    patches = min(budget, math.ceil(width / 32) * math.ceil(height / 32))
    return math.ceil(patches * multiplier) + 1


def charged_by_tiles(width: int, height: int, *, enlarged: bool) -> int:
    """The guide's formula: its older copy enlarges a small picture, its newer one does not."""
    scale = min(1.0, 2048 / max(width, height))
    shortest = min(width, height) * scale
    if shortest > 768 or enlarged:
        scale = min(scale * 768 / shortest, 2048 / max(width, height))
    return 75 + 150 * math.ceil(width * scale / 512 - 1e-9) * math.ceil(height * scale / 512 - 1e-9)


@given(sides, sides)
def test_no_picture_is_charged_more_than_its_bound(width: int, height: int) -> None:
    size = {"width": width, "height": height}
    for enlarged in (True, False):
        assert charged_by_tiles(width, height, enlarged=enlarged) <= bound(O_SERIES, **size)
    assert charged_by_patches(width, height, budget=2500, multiplier=1.2) <= bound(GPT_6, **size)
    assert charged_by_patches(width, height, budget=1536, multiplier=1.72) <= bound(O4_MINI, **size)


@given(sides, sides)
def test_a_rule_nobody_has_established_is_bound_above_all_others(width: int, height: int) -> None:
    size = {"width": width, "height": height}
    assert bound({}, **size) >= max(bound(rule, **size) for rule in RULES)
    assert bound({}, **size) >= charged_by_patches(width, height, budget=4096, multiplier=1.2)


@given(st.sampled_from(RULES), sides, sides)
def test_a_guess_is_within_the_bound(rule: dict[str, Any], width: int, height: int) -> None:
    assert 0 < guess(rule, width=width, height=height) <= bound(rule, width=width, height=height)


@given(st.sampled_from(RULES), st.integers(1, 500), st.integers(0, 2_000_000))
def test_a_guess_of_a_pdf_is_within_its_bound(rule: dict[str, Any], pages: int, text: int) -> None:
    likely, most = guess(rule, pages=pages, text_bytes=text), bound(rule, pages=pages, text_bytes=text)
    assert pages * guess(rule, width=1240, height=1754) + text // 4 == likely <= most
    # Its text is counted whole, and each page as the largest picture there is.
    assert most >= text + pages * bound(rule, width=2048, height=2048)


@pytest.mark.parametrize(
    ("rule", "size", "tokens"),
    [
        # The guide's own examples.
        (GPT_6, (1024, 1024), 1229 + 1),
        (GPT_6, (2048, 2048), 3000 + 1),
        (O_SERIES, (1024, 1024), 75 + 4 * 150),
        (O_SERIES, (2048, 4096), 75 + 6 * 150),
        (O_SERIES, (500, 300), 75 + 150),
        (O_SERIES, (1240, 880), 75 + 6 * 150),
    ],
)
def test_the_guess_is_the_formula(rule: dict[str, Any], size: tuple[int, int], tokens: int) -> None:
    assert guess(rule, width=size[0], height=size[1]) == tokens


def test_the_most_of_every_rule_is_known() -> None:
    assert bound(O_SERIES, width=9000, height=9000) == 75 + 8 * 150 + 100
    assert bound(GPT_6, width=9000, height=9000) == 3_001 + 100
    assert bound(GPT_6, width=32, height=33) == 4 + 100  # two patches: 2.4 tokens, and one for their rounding
    assert bound({}, width=9000, height=9000) == 73_801 + 100
    assert bound(O_SERIES, pages=3, text_bytes=400) == 1_000 + 3 * (1_275 + 100) + 800
    assert bound({}, pages=1, text_bytes=0) == 1_000 + 10_078 + 100


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"tile": 150},
        {"base": -1, "tile": 150},
        {"base": 1, "tile": 0},
        {"budget": 0, "multiplier": 1},
        {"budget": 9, "multiplier": "x"},
        {"budget": 9, "multiplier": 0},
        {"budget": None, "multiplier": 1},
        [],
    ],
)
def test_a_rule_that_cannot_be_read_is_not_established(stored: Any) -> None:
    assert attachments.rule_of(stored) is None
