"""Says what a looked-into file is, the limits it had to keep, and the sentence for one that did not."""

import hashlib
from dataclasses import dataclass

MEGABYTE = 1_000_000
# A POST has 60 s, and base64 makes 67 MB of these: 9 Mbit/s just does it. The API takes 512 MB a request.
MOST_BYTES = 50 * MEGABYTE
MOST_BYTES_A_JOB = 50 * MEGABYTE
# What a thread is given altogether: where nobody remembers it, all of it is sent again, in 500 MB of memory.
MOST_BYTES_A_THREAD = 100 * MEGABYTE
MOST_FILES = 50  # of a job: more are better one PDF, and each is a row, a form field and a part of the body
# Decoded it is 200 MB, which the process that looks can hold; at detail high the API shrinks it twentyfold.
MOST_PIXELS = 50_000_000
# Dense text is read at 90 pages a second; with an image of each, 500 pages fill the widest context window.
MOST_PAGES = 500


class Unreadable(ValueError):
    """A file cannot be attached; the message is a plain sentence for whoever chose it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What bytes are: `width` and `height` in pixels of an image, `pages` of a PDF, with its text's bytes."""

    media_type: str
    size: int
    digest: str
    width: int | None = None
    height: int | None = None
    pages: int | None = None
    text_bytes: int = 0


def digest_of(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hex: equal contents have equal ones."""
    return hashlib.sha256(data).hexdigest()


def too_large(size: int) -> str:
    """Say that bytes are above the limit of one file."""
    return f"Too large: {-(-size // MEGABYTE):,} MB, the limit is {MOST_BYTES // MEGABYTE}."


def too_large_together(size: int) -> str:
    """Say that the bytes of all files are above the limit of a job."""
    return f"Too large together: {-(-size // MEGABYTE):,} MB, the limit is {MOST_BYTES_A_JOB // MEGABYTE}."


def too_large_in_thread(size: int) -> str:
    """Say that the bytes of all files of a thread are above its limit."""
    limit = MOST_BYTES_A_THREAD // MEGABYTE
    return (
        f"The files of this thread are too large together: {-(-size // MEGABYTE):,} MB, the limit is {limit}."
    )
