"""Looks into a PDF with pypdf; runs in the process that may be killed for it."""

import contextlib
import io
import time

from pypdf import PageObject, PdfReader

from jobs.attachments.found import MOST_PAGES, Unreadable

DAMAGED = "This PDF is damaged or incomplete. Save it once more and add it again."
LOCKED = "This PDF is locked. Save a copy without a password and add it again."
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
    return {"pages": pages, "text_bytes": sum(map(_text_bytes, reader.pages))}


def _text_bytes(page: PageObject) -> int:
    """Return the UTF-8 bytes of a page's text; else all bytes of its content."""
    if time.process_time() < READ_FOR:
        # One odd font must not make a document of many pages unreadable.
        with contextlib.suppress(Exception):
            return len(page.extract_text().encode(errors="replace"))
    content = page.get_contents()
    return len(content.get_data()) if content is not None else 0
