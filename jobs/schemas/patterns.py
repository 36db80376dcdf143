"""Matches a schema's `pattern` against an answer only where that cannot take long.

People write the patterns and models the texts, and a backtracking matcher can take years over forty
characters. So the number of ways a pattern can be tried is bounded first, from its parsed form.
"""

import re
import warnings
from functools import lru_cache
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

LONGEST = 500  # characters of a pattern that is looked at
ENOUGH = 10**9  # beyond this many ways nothing is counted

_ONE = {_constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY, _constants.IN, _constants.CATEGORY}
_REPEATS = {_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT}


@lru_cache(maxsize=256)
def compiled(pattern: str) -> tuple[re.Pattern[str], Any] | None:
    """Return a pattern compiled and parsed, or None for what Python cannot read."""
    if len(pattern) > LONGEST:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sets that a later Python may read otherwise
            return re.compile(pattern), _parser.parse(pattern)
    except (re.PatternError, RecursionError, OverflowError, MemoryError):
        return None


def steps(pattern: str, length: int) -> int:
    """Return an upper bound of the steps to search a text of `length` characters; ENOUGH for unknown."""
    found = compiled(pattern)
    if found is None:
        return ENOUGH
    try:
        ways = _ways(found[1], length)
    except (RecursionError, TypeError, ValueError):
        return ENOUGH
    starts = 1 if pattern.startswith(("^", r"\A")) and "|" not in pattern else length + 1
    return min(ENOUGH, ways * starts * (length + len(pattern) + 1))


def matches(pattern: str, text: str) -> bool:
    """Search `text`; a pattern that Python cannot read matches everything. Ask `steps` first."""
    found = compiled(pattern)
    return found is None or found[0].search(text) is not None


def _ways(nodes: Any, length: int) -> int:
    """Bound how many ways a sequence of nodes can be tried on at most `length` characters."""
    ways = 1
    for kind, value in nodes:
        ways = min(ENOUGH, ways * _ways_of(kind, value, length))
    return ways


def _ways_of(kind: Any, value: Any, length: int) -> int:
    if kind in _ONE or kind is _constants.AT:
        return 1
    if kind is _constants.SUBPATTERN:
        return _ways(value[-1], length)
    if kind is _constants.BRANCH:
        return min(ENOUGH, sum(_ways(branch, length) for branch in value[1]))
    if kind in _REPEATS:
        least, most, body = value
        each = _ways(body, length)
        most = length + 1 if most is _constants.MAXREPEAT else int(most)
        if each == 1:
            return max(1, min(most, length + 1) - int(least) + 1)
        return int(min(ENOUGH, (most + 1) * each ** min(most, 30)))  # 2 ** 30 is past ENOUGH
    return ENOUGH  # look-around, back references, conditions: their cost is not known here
