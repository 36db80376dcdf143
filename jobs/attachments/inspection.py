"""Has a file looked into by a process of its own: it can neither hang, swell nor break the one that asks."""

import json
import subprocess
import sys
import threading
from pathlib import Path

from jobs.attachments.found import MOST_BYTES, Found, Unreadable, digest_of, too_large
from jobs.attachments.signatures import media_type_of

SECONDS = 30.0  # for 500 dense pages on a busy machine; a member waits for the answer
AT_ONCE = 2  # processes, of at most 1 GB each
SLOW = "This file takes too long to read. Print it to PDF, or split it, and add the result."
BUSY = "Too many files are being read at once. Add it again in a moment."
BROKEN = "This file cannot be read. Save it once more and add it again."
ROOT = Path(__file__).resolve().parents[2]

_free = threading.BoundedSemaphore(AT_ONCE)


def inspect(data: bytes) -> Found:
    """Say what a file is, by its content alone. Raises Unreadable with a plain sentence.

    Takes a fifth of a second for a picture, up to 30 s for a PDF, and up to 30 s more for its turn.
    """
    if len(data) > MOST_BYTES:
        raise Unreadable(too_large(len(data)))
    media_type = media_type_of(data)
    if not _free.acquire(timeout=SECONDS):
        raise Unreadable(BUSY)
    try:
        measured = _measured(data)
    finally:
        _free.release()
    return Found(media_type=media_type, size=len(data), digest=digest_of(data), **measured)


def _measured(data: bytes) -> dict[str, int]:
    try:
        child = subprocess.run(
            [sys.executable, "-m", "jobs.attachments"],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what decoders complain about may repeat the file
            cwd=ROOT,
            env={},  # no key and no address for whatever might break out of a decoder
            timeout=SECONDS,
            check=True,
        )
        said = json.loads(child.stdout)
    except subprocess.TimeoutExpired:
        raise Unreadable(SLOW) from None
    except (subprocess.CalledProcessError, ValueError):
        raise Unreadable(BROKEN) from None
    if "problem" in said:
        raise Unreadable(str(said["problem"]))
    return {name: int(value) for name, value in said.items()}
