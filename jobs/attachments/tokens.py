"""Counts what a file costs in input tokens by its model's rule: the most it can be, and what is likely.

Rules and numbers: OpenAI's guide 'Images and vision', Calculating costs, as of September 2026. Every image is
sent at detail high, for which each documented model has a finite budget.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

PATCH = 32  # pixels a side
TILE = 512  # pixels a side
LONGEST, SHORTEST = 2048, 768  # pixels a picture is scaled down to before it is tiled
MOST_TILES = 8  # that cover 2,048 × 768 pixels
# What wraps a picture or a page in the model's context, and a file with its name, which we do not see.
WRAPPING_TOKENS, FILE_TOKENS = 100, 1_000
# A page as the API may draw it, which no document says: A4 at 150 dpi.
PAGE_WIDTH, PAGE_HEIGHT = 1240, 1754
# Text is bound by its UTF-8 bytes; the API's own reading of a PDF may find more of it than ours.
TEXT_FACTOR = 2
BYTES_A_TOKEN = 4  # as English runs


@dataclass(frozen=True, slots=True)
class Tiles:
    """A picture costs `base` tokens and `tile` for each 512-pixel square it still covers when scaled down."""

    base: int
    tile: int

    @property
    def most(self) -> int:
        """The most tokens of any picture."""
        return self.base + MOST_TILES * self.tile

    def bound(self, width: int, height: int) -> int:  # noqa: ARG002 (one method for every rule)
        """Return the most: the guide's two copies differ in whether a small picture is enlarged."""
        return self.most

    def guess(self, width: int, height: int) -> int:
        """Return the tokens of a picture that is scaled down and never enlarged."""
        scale = min(1.0, LONGEST / max(width, height))
        scale = min(scale, SHORTEST / min(width, height))
        columns, rows = (math.ceil(max(1, int(side * scale)) / TILE) for side in (width, height))
        return self.base + columns * rows * self.tile


@dataclass(frozen=True, slots=True)
class Patches:
    """A picture costs `multiplier` tokens for each 32-pixel square, of which it has at most `budget`."""

    budget: int
    multiplier: Decimal

    @property
    def most(self) -> int:
        """The most tokens of any picture."""
        return self._tokens(self.budget)

    def bound(self, width: int, height: int) -> int:
        """Return the tokens of a picture as it is, cut at the budget: scaling down only makes it less."""
        return self._tokens(min(math.ceil(width / PATCH) * math.ceil(height / PATCH), self.budget))

    def guess(self, width: int, height: int) -> int:
        """Return the same: the last patches that scaling down loses are not worth another formula."""
        return self.bound(width, height)

    def _tokens(self, patches: int) -> int:
        # One more: the guide warns that its own rounding may differ by one.
        return math.ceil(patches * self.multiplier) + 1


type Rule = Tiles | Patches

# For a model whose rule is not established, the dearest of those that are: 2.46 tokens for each of the 30,000
# patches above which every model refuses, or the tiles of gpt-4.1. A page is drawn by the API, with at most
# the patches of 2,048 × 2,048 pixels.
UNKNOWN, UNKNOWN_SMALL = Patches(30_000, Decimal("2.46")), Tiles(85, 170)
UNKNOWN_PAGE = Patches(4_096, Decimal("2.46"))
USUAL = Patches(2_500, Decimal("1.2"))


class Measured(Protocol):
    """A picture has `width` and `height` in pixels; a PDF has `pages`, and `text_bytes` of UTF-8."""

    @property
    def width(self) -> int | None: ...
    @property
    def height(self) -> int | None: ...
    @property
    def pages(self) -> int | None: ...
    @property
    def text_bytes(self) -> int: ...


def rule_of(stored: Mapping[str, Any]) -> Rule | None:
    """Read a model's rule: {"base", "tile"} or {"budget", "multiplier"}. None where it is not established."""
    try:
        if "tile" in stored:
            tiles = Tiles(int(stored["base"]), int(stored["tile"]))
            return tiles if tiles.base >= 0 and tiles.tile > 0 else None
        patches = Patches(int(stored["budget"]), Decimal(str(stored["multiplier"])))
        return patches if patches.budget > 0 and patches.multiplier > 0 else None
    except (KeyError, TypeError, ValueError, InvalidOperation):
        return None


def bound(rule: Rule | None, file: Measured) -> int:
    """Return the most input tokens a file can be charged for."""
    if file.pages is not None:
        page = (rule or UNKNOWN_PAGE).most + WRAPPING_TOKENS
        return FILE_TOKENS + file.pages * page + TEXT_FACTOR * file.text_bytes
    width, height = file.width or 0, file.height or 0
    most = rule.bound(width, height) if rule else max(UNKNOWN.bound(width, height), UNKNOWN_SMALL.most)
    return most + WRAPPING_TOKENS


def guess(rule: Rule | None, file: Measured) -> int:
    """Return the input tokens a file will likely cost."""
    likely = rule or USUAL
    if file.pages is None:
        return likely.guess(file.width or 1, file.height or 1)
    return file.pages * likely.guess(PAGE_WIDTH, PAGE_HEIGHT) + file.text_bytes // BYTES_A_TOKEN
