"""Makes the files that tests attach: small honest ones, and hostile ones."""

import io
import struct
import zlib
from typing import Any

from PIL import Image
from pypdf import PdfWriter


def picture(kind: str = "PNG", *, width: int = 124, height: int = 88, **more: Any) -> bytes:
    """Make a picture of a kind (Pillow's name for it) that shows a gradient."""
    shown = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    made = io.BytesIO()
    shown.save(made, kind, **more)
    return made.getvalue()


def moving(kind: str) -> bytes:
    """Make a picture of three frames."""
    frames = [Image.new("RGB", (40, 30), (80 * number, 0, 0)) for number in range(3)]
    made = io.BytesIO()
    frames[0].save(made, kind, save_all=True, append_images=frames[1:])
    return made.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """Make a few bytes that unpack to a picture of any size."""
    rows = zlib.compress(bytes(100_000))
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, (b"IHDR", b"IDAT", b"IEND"), (head, rows, b"")))


def pdf(*pages: str) -> bytes:
    """Make a PDF of pages that say something, in ASCII without brackets."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(count))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (5 + 2 * number)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    return pdf_of(objects)


def pdf_of(objects: list[bytes]) -> bytes:
    """Make a PDF of numbered objects, the first of which is its catalogue."""
    made = bytearray(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(made)
    made += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    made += b"".join(b"%010d 00000 n \n" % place for place in places)
    made += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(made)


def blank_pdf(pages: int, *, password: str | None = None) -> bytes:
    """Make a PDF of empty pages, locked if a password is given; an empty one opens by itself."""
    writer = PdfWriter()
    for _ in range(pages):
        writer.add_blank_page(72, 72)
    if password is not None:
        writer.encrypt(password, owner_password="owner")
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


def pdf_bomb() -> bytes:
    """Make a PDF whose one page's text takes minutes to read: 75 MB of operators in a few kilobytes."""
    stream = zlib.compress(b"BT /F1 9 Tf (ab) Tj ET " * 3_000_000, 9)
    return pdf_of(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R"
            b" /Resources << /Font << /F1 5 0 R >> >> >>",
            b"<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        ]
    )


def pdf_of_a_form(text: str, *, times: int = 1, is_endless: bool = False) -> bytes:
    """Make a PDF whose one page only draws a form, which says something (and draws itself)."""
    page = b"/Fm0 Do " * times
    form = f"BT /F1 12 Tf ({text}) Tj ET".encode() + b" /Fm0 Do" * is_endless
    return pdf_of(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R"
            b" /Resources << /Font << /F1 5 0 R >> /XObject << /Fm0 6 0 R >> >> >>",
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(page), page),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
            b"<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Length %d >>\nstream\n%s\nendstream"
            % (len(form), form),
        ]
    )


def pdf_whose_pages_hold_themselves() -> bytes:
    """Make a PDF whose tree of pages has no end."""
    return pdf_of(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 >>",
        ]
    )


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
