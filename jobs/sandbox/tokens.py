"""Counts the input of a request by a plain rule: bytes / 4, and 7 more for every message.

Of text the count never exceeds the UTF-8 bytes plus 1,000 a message, which is the bound clients reserve.
"""

import json
from typing import Any

from jobs.sandbox import files

PER_MESSAGE = 7


def of_text(text: str) -> int:
    """Count the tokens of a text: its UTF-8 bytes / 4, rounded up."""
    return -(-len(text.encode(errors="replace")) // 4)


def of_request(items: list[dict[str, Any]], body: dict[str, Any], chain: int) -> int:
    """Count what the model receives: instructions, items, tools, schema and the earlier turns.

    `chain` is the number of tokens the previous responses bring along.
    """
    count, model = chain, str(body.get("model") or "")
    instructions = body.get("instructions")
    if instructions:
        count += of_text(instructions) + PER_MESSAGE
    for item in items:
        count += _of_item(item, model) + PER_MESSAGE
    for tool in body.get("tools") or []:
        count += _of_json(tool) + PER_MESSAGE
    text_format = (body.get("text") or {}).get("format") or {}
    if text_format.get("schema") is not None:
        count += _of_json(text_format["schema"]) + PER_MESSAGE
    return count


def _of_item(item: dict[str, Any], model: str) -> int:
    name, parts = files.parts_of(item)
    if parts is None or item.get("type") not in ("message", "function_call_output"):
        return _of_json(item)
    rest = 0 if name == "content" else _of_json({**item, name: []})
    return rest + sum(_of_part(part, model) for part in parts)


def _of_part(part: dict[str, Any], model: str) -> int:
    if part.get("type") in ("input_image", "input_file"):
        return files.tokens_of(part, model)
    text = part.get("text")
    return of_text(text) if isinstance(text, str) else _of_json(part)


def _of_json(value: Any) -> int:
    return of_text(json.dumps(value, separators=(",", ":")))
