"""Chooses what the practice model says: one of the essays beside this file, or an instance of a schema."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from jobs.sandbox.instance import fill

_ESSAYS = tuple(path.read_text() for path in sorted(Path(__file__).parent.glob("*.md")))
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|$~])")

REFUSAL = "I'm sorry, but I can't help with that request."


def first_words(prompt: str, count: int = 9) -> str:
    """Return the first words of a prompt on one line, at most 80 characters."""
    words = prompt.split()
    text = " ".join(words[:count])[:80].strip()
    return text + " …" if len(words) > count else text


def essay(prompt: str) -> str:
    """Return a long-form answer in Markdown that mentions the prompt's first words.

    The same prompt gets the same essay.
    """
    pick = int.from_bytes(hashlib.sha256(prompt.encode(errors="replace")).digest()[:4]) % len(_ESSAYS)
    mention = _MARKUP.sub(r"\\\1", first_words(prompt)) or "nothing at all"
    return _ESSAYS[pick].replace("{{prompt}}", mention)


def structured(text_format: dict[str, Any], prompt: str) -> str:
    """Return the JSON text of an answer in that `text.format` (json_schema or json_object)."""
    schema = text_format.get("schema")
    if schema is None:
        return json.dumps({"answer": f"A practice answer about {first_words(prompt)}"}, ensure_ascii=False)
    return json.dumps(fill(schema, first_words(prompt, 5)), ensure_ascii=False)
