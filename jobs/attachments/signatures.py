"""Recognises a file by how its bytes begin, and says what to do with one that cannot be attached."""

import codecs

from jobs.attachments.found import Unreadable

PNG, JPEG, WEBP, GIF, PDF = "image/png", "image/jpeg", "image/webp", "image/gif", "application/pdf"

OFFICE = "{} files can’t be read. Save it as PDF and add it again."
# A zip names its members in clear.
ZIPPED = {
    b"word/document": "Word",
    b"xl/workbook": "Excel",
    b"ppt/presentation": "PowerPoint",
    b"mimetypeapplication/vnd.oasis": "OpenOffice",
}
ZIP = "ZIP archives can’t be read. Add the files in it one by one."
PICTURE = "{} pictures can’t be read. Save it as PNG and add it again."
# The brand of an ISO media file stands after its box's length and name.
BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"avif": "AVIF"}
PICTURES = {b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"8BPS": "Photoshop", b"\0\0\1\0": "Icon"}
OTHER = "Only PDFs and PNG, JPEG, WEBP or GIF pictures can be read."
TEXT = "Text files can’t be attached. Paste the text into the prompt."
LOOKED_THROUGH = 4096  # bytes in which a text or a drawing shows what it is


def media_type_of(data: bytes) -> str:
    """Return the media type of a picture or a PDF, by content alone. Raises Unreadable for anything else.

    What begins as one thing is that thing, whatever else is hidden behind it.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if data.startswith(b"\xff\xd8\xff"):
        return JPEG
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WEBP
    if data.startswith((b"GIF87a", b"GIF89a")):
        return GIF
    if data.startswith(b"%PDF-"):
        return PDF
    raise Unreadable(_advice(data) if data else "This file is empty.")


def _advice(data: bytes) -> str:
    """Say what a file is that cannot be read, if that is plain, and what to do about it."""
    head = data[:LOOKED_THROUGH]
    if head.startswith(b"PK\3\4"):
        office = next((name for mark, name in ZIPPED.items() if mark in data), None)
        return OFFICE.format(office) if office else ZIP
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return OFFICE.format("Old Office")
    brand = BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None
    picture = brand or next((name for mark, name in PICTURES.items() if head.startswith(mark)), None)
    if picture:
        return PICTURE.format(picture)
    if b"<svg" in head:
        return PICTURE.format("SVG")
    return TEXT if _is_text(head) else OTHER


def _is_text(head: bytes) -> bool:
    try:
        # Incremental: the cut may go through a character.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(char.isprintable() or char in "\t\r\n\f\ufeff" for char in text)
