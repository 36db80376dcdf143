"""The process in which hostile bytes are opened: little memory, little time, and nothing else to reach.

Reads a file from standard input and writes a JSON object: what was measured, or the problem in a sentence.
"""

import contextlib
import json
import resource
import sys

from jobs.attachments.found import MOST_BYTES, Unreadable
from jobs.attachments.signatures import PDF, media_type_of

MEMORY = 1024**3  # bytes of address space: a picture of the most pixels, decoded, beside the file itself
CPU_SECONDS = 20  # should whoever waits for it be gone


def main() -> None:
    """Look into standard input and say what it is."""
    limits = {resource.RLIMIT_AS: MEMORY, resource.RLIMIT_CPU: CPU_SECONDS, resource.RLIMIT_CORE: 0}
    for limit, most in limits.items():
        with contextlib.suppress(ValueError, OSError):  # not every system has every limit
            resource.setrlimit(limit, (most, most))
    try:
        said: dict[str, int | str] = {**look(sys.stdin.buffer.read(MOST_BYTES + 1))}
    except Unreadable as problem:
        said = {"problem": str(problem)}
    json.dump(said, sys.stdout)


def look(data: bytes) -> dict[str, int]:
    """Measure a file. Raises Unreadable with a plain sentence."""
    media_type = media_type_of(data)
    if media_type == PDF:
        from jobs.attachments import documents  # each costs a tenth of a second and more

        damaged, measured = documents.DAMAGED, documents.measure
    else:
        from jobs.attachments import pictures

        damaged, measured = pictures.DAMAGED, lambda data: pictures.measure(data, media_type)
    try:
        return measured(data)
    except Unreadable:
        raise
    except Exception:  # what a decoder stumbles over is damage, whatever it calls it
        raise Unreadable(damaged) from None


if __name__ == "__main__":
    main()
