"""Looks into a PDF with pypdf; runs in the process that may be killed for it."""

import contextlib
import io
import time
from typing import Any

from pypdf import PageObject, PdfReader

from jobs.attachments.found import MOST_PAGES, Unreadable

DAMAGED = "This PDF is damaged or incomplete. Save it once more and add it again."
LOCKED = "This PDF is locked. Save a copy without a password and add it again."
MOST_TEXT = 4_000_000  # bytes of a page: more than any context window holds
READ_FOR = 4.0  # seconds of work: the texts of 300 dense pages
END, WITHIN = b"%%EOF", 2048  # a file that was cut off lacks the mark; some programs write a little after it


def measure(data: bytes) -> dict[str, int]:
    """Return pages and the bytes of their text. Raises Unreadable; whatever else is raised means damage."""
    if END not in data[-WITHIN:]:
        raise Unreadable(DAMAGED)
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted:
        raise Unreadable(LOCKED)
    pages = len(reader.pages)
    if pages > MOST_PAGES:
        raise Unreadable(f"Too many pages: {pages:,}, the limit is {MOST_PAGES}. Split it and add the part.")
    if pages == 0:
        raise Unreadable(DAMAGED)
    known: dict[int, int] = {}
    return {"pages": pages, "text_bytes": sum(_text_bytes(page, known) for page in reader.pages)}


def _text_bytes(page: PageObject, known: dict[int, int]) -> int:
    """Return the UTF-8 bytes of a page's text; else as many as its content can draw."""
    if time.process_time() < READ_FOR:
        # One odd font must not make a document of many pages unreadable.
        with contextlib.suppress(Exception):
            return len(page.extract_text().encode(errors="replace"))
    content = page.get_contents()
    return _drawn_bytes(content.get_data(), page.get("/Resources"), known) if content is not None else 0


def _drawn_bytes(data: bytes, resources: Any, known: dict[int, int]) -> int:
    """Return the bytes of operators, with those of the forms they draw: programs put whole pages into one.

    A form may be drawn under any spelling of its name, so each `Do` counts as the largest of them; one that
    holds itself is cut off. `known` has those that were looked at, by their numbers.
    """
    found = resources.get_object() if resources is not None else {}
    named = found.get("/XObject")
    largest = 0
    for reference in named.get_object().values() if named is not None else ():
        form, number = reference.get_object(), reference.idnum
        if form.get("/Subtype") != "/Form":
            continue
        if number not in known:
            known[number] = 0
            known[number] = _drawn_bytes(form.get_data(), form.get("/Resources", resources), known)
        largest = max(largest, known[number])
    return min(len(data) + data.count(b"Do") * largest, MOST_TEXT)
