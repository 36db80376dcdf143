"""Mends in a schema's text what strict mode refuses, where that needs no thought; the rest stays as typed."""

import json
from collections.abc import Collection, Iterable
from itertools import groupby
from typing import Any

from jobs.schemas.places import Spot, scan
from jobs.schemas.strict import Problem

type Edit = tuple[int, int, str]  # from, to, instead


def fixed(text: str, problems: Iterable[Problem]) -> str:
    """Return a text without the problems given of its schemas; those that nothing fixes by itself stay."""
    mendable = sorted((one for one in problems if one.fixable), key=lambda one: json.dumps(one.at))
    root, edits = scan(text), list[Edit]()
    for at, together in groupby(mendable, key=lambda one: one.at):
        edits += _of_schema(text, root.inside(at), list(together))
    # From the end: what comes before stays where it is.
    for begin, end, instead in sorted(edits, reverse=True):
        text = f"{text[:begin]}{instead}{text[end:]}"
    return text


def _of_schema(text: str, schema: Spot, problems: Collection[Problem]) -> list[Edit]:
    edits: list[Edit] = []
    added = []
    names = [one.name for one in problems if one.rule == "required"]
    dropped = {one.keyword for one in problems if one.rule == "keyword"}
    if names:
        required = schema.member("required")
        if required is None:
            added.append(f'"required": {_json(names)}')
        else:
            named = [json.loads(text[spot.value : spot.end]) for _place, spot in required.items]
            extra = {place for place, name in enumerate(named) if name in names}
            missing = [_json(name) for name in names if name not in named]
            edits += _changed(text, required, extra, missing)
    if any(one.rule == "additionalProperties" for one in problems):
        others = schema.member("additionalProperties")
        if others is None:
            added.append('"additionalProperties": false')
        else:
            edits.append((others.value, others.end, "false"))
    gone = {place for place, (name, _spot) in enumerate(schema.items) if name in dropped}
    return edits + _changed(text, schema, gone, added)


def _changed(text: str, spot: Spot, gone: Collection[int], added: list[str]) -> list[Edit]:
    """Return the edits that leave out items of an object or list, by place, and put others at its end."""
    items = [item for _name, item in spot.items]
    kept = [place for place in range(len(items)) if place not in gone]
    if not kept:
        inside = (items[0].start, items[-1].end) if items else (spot.value + 1, spot.end - 1)
        return [(*inside, ", ".join(added))] if gone or added else []
    edits = [(items[0].start, items[kept[0]].start, "")] if kept[0] else []
    edits += [(items[place - 1].end, items[place].end, "") for place in gone if place > kept[0]]
    if added:
        last = items[-1]
        begin = last.start
        while text[begin - 1].isspace():
            begin -= 1
        # As the last item stands: on a line of its own, or behind the one before it.
        gap = text[begin : last.start]
        gap = gap if gap or len(items) > 1 else " "
        edits.append((last.end, last.end, "".join(f",{gap}{item}" for item in added)))
    return edits


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
