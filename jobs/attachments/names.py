"""Cleans the names of files: the sender's words, which come from elsewhere and go elsewhere."""

import re

MOST_CHARACTERS = 200


def clean_name(name: str) -> str:
    """Return a file's own name without folders, control and direction characters, at most 200 long."""
    last = re.split(r"[/\\]", name)[-1]
    shown = " ".join("".join(char if char.isprintable() else " " for char in last).split()) or "file"
    if len(shown) <= MOST_CHARACTERS:
        return shown
    stem, dot, ending = shown.rpartition(".")
    if not dot or len(ending) > 10:
        return shown[:MOST_CHARACTERS]
    return f"{stem[: MOST_CHARACTERS - len(ending) - 1]}.{ending}"
