"""Files are what their bytes are; hostile ones are refused in plain words, quickly, and harm nothing."""

import os
import threading
from collections.abc import Callable

import pytest

from jobs import attachments
from jobs.attachments import Found, Unreadable, documents, found, inspection
from tests.jobs.attachments import files
from tests.jobs.attachments.files import blank_pdf, moving, pdf, pdf_of_a_form, picture, png_that_claims

DAMAGED_PICTURE = "This picture is damaged or incomplete. Save it once more and add it again."
DAMAGED_PDF = "This PDF is damaged or incomplete. Save it once more and add it again."
LOCKED = "This PDF is locked. Save a copy without a password and add it again."
MOVING = "Moving pictures can’t be read. Save one frame as PNG and add it again."
OTHER = "Only PDFs and PNG, JPEG, WEBP or GIF pictures can be read."


def refusal_of(data: bytes) -> str:
    with pytest.raises(Unreadable) as refused:
        attachments.inspect(data)
    return str(refused.value)


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("GIF", "image/gif")],
)
def test_a_picture_is_measured_and_one_that_was_cut_off_is_refused(kind: str, media_type: str) -> None:
    data = picture(kind)
    assert attachments.inspect(data) == Found(
        media_type=media_type, size=len(data), digest=attachments.digest_of(data), width=124, height=88
    )
    assert refusal_of(data[: len(data) // 2]) == DAMAGED_PICTURE


def test_a_pdf_is_measured_by_its_pages_and_its_text() -> None:
    data = pdf("Lemma 4.7", "Proof")
    assert attachments.inspect(data) == Found(
        media_type="application/pdf",
        size=len(data),
        digest=attachments.digest_of(data),
        pages=2,
        text_bytes=len("Lemma 4.7Proof"),
    )


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_a_moving_picture_is_refused(kind: str) -> None:
    assert refusal_of(moving(kind)) == MOVING


def test_a_photo_with_smaller_copies_of_itself_is_a_photo() -> None:
    assert attachments.inspect(moving("MPO")).media_type == "image/jpeg"


@pytest.mark.parametrize(
    ("what", "make", "refusal"),
    [
        (
            "a bomb of pixels",
            lambda: png_that_claims(60_000, 60_000),
            "Too many pixels: 60,000 × 60,000, the limit is 50 million. Make it smaller.",
        ),
        ("a picture without an area", lambda: png_that_claims(0, 9), DAMAGED_PICTURE),
        ("10,000 pages", lambda: blank_pdf(10_000), "Too many pages: 10,000, the limit is 500. Split it"),
        ("no pages", lambda: blank_pdf(0), DAMAGED_PDF),
        ("pages that hold themselves", files.pdf_whose_pages_hold_themselves, DAMAGED_PDF),
        ("a locked PDF", lambda: blank_pdf(1, password="open sesame"), LOCKED),
        ("a PDF that opens by itself but may not be copied", lambda: blank_pdf(1, password=""), LOCKED),
        ("a PDF that was cut off", lambda: pdf("Lemma")[:-40], DAMAGED_PDF),
        ("a PDF in name only", lambda: b"%PDF-1.7\n%%EOF", DAMAGED_PDF),
        ("a picture in name only", lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), DAMAGED_PICTURE),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else "",
)
def test_a_hostile_file_is_refused(what: str, make: Callable[[], bytes], refusal: str) -> None:
    assert refusal_of(make()).startswith(refusal)


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"", "This file is empty."),
        (b"MZ\x90\x00\x03" + bytes(200), OTHER),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
            "SVG pictures can’t be read. Save it as PNG",
        ),
        (b"<?xml version='1.0'?>\n<svg/>", "SVG pictures can’t be read."),
        (
            b"PK\x03\x04" + bytes(26) + b"word/document.xml",
            "Word files can’t be read. Save it as PDF and add it",
        ),
        (b"PK\x03\x04" + bytes(26) + b"xl/workbook.xml", "Excel files can’t be read. Save it as PDF"),
        (
            b"PK\x03\x04" + bytes(26) + b"ppt/presentation.xml",
            "PowerPoint files can’t be read. Save it as PDF",
        ),
        (b"PK\x03\x04" + bytes(26) + b"mimetypeapplication/vnd.oasis.opendocument", "OpenOffice files"),
        (b"PK\x03\x04" + bytes(26) + b"photos/1.png", "ZIP archives can’t be read."),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "Old Office files can’t be read. Save it as PDF"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(50), "HEIC pictures can’t be read. Save it as PNG"),
        (b"\x00\x00\x00\x18ftypavif" + bytes(50), "AVIF pictures can’t be read."),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(50), OTHER),
        (b"II*\x00" + bytes(50), "TIFF pictures can’t be read."),
        ("Ein Satz mit ö. ".encode() * 1000, "Text files can’t be attached. Paste the text into the prompt."),
        (b"GIF is how this text begins", "Text files"),
        (b"\n%PDF-1.7 after a line", "Text files"),
        (os.urandom(500), OTHER),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_cannot_be_read_is_refused_without_a_process(
    data: bytes, refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "_measured", lambda data: pytest.fail("it was opened"))
    assert refusal_of(data).startswith(refusal)


@pytest.mark.parametrize("hidden", [b"<html><script>alert(1)</script>", pdf("x"), b"PK\x03\x04word/document"])
def test_what_is_hidden_behind_a_picture_changes_nothing(hidden: bytes) -> None:
    assert attachments.inspect(picture("GIF") + hidden).media_type == "image/gif"
    assert attachments.inspect(picture("PNG") + hidden).media_type == "image/png"


def test_a_file_above_the_limit_is_refused_by_its_size_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "media_type_of", lambda data: pytest.fail("it was looked at"))
    assert refusal_of(bytes(61_000_000)) == "Too large: 61 MB, the limit is 50."
    assert found.too_large(50_000_001) == "Too large: 51 MB, the limit is 50."
    assert found.too_large_together(51_300_000) == "Too large together: 52 MB, the limit is 50."


def test_a_file_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "SECONDS", 0.6)
    assert refusal_of(files.pdf_bomb()) == (
        "This file takes too long to read. Print it to PDF, or split it, and add the result."
    )


def test_only_two_files_are_opened_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "SECONDS", 0.01)
    inside, leave = threading.Semaphore(0), threading.Event()

    def wait(data: bytes) -> dict[str, int]:
        inside.release()
        leave.wait(20)
        return {"width": 1, "height": 1}

    monkeypatch.setattr(inspection, "_measured", wait)
    busy = [threading.Thread(target=attachments.inspect, args=[picture()]) for _ in range(2)]
    for thread in busy:
        thread.start()
        inside.acquire()
    assert refusal_of(picture()) == "Too many files are being read at once. Add it again in a moment."
    leave.set()
    for thread in busy:
        thread.join()
    assert attachments.inspect(picture()).width == 1


def test_the_process_that_opens_a_file_knows_no_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seen = tmp_path_factory.mktemp("seen") / "environment"
    spy = seen.with_suffix(".sh")
    spy.write_text(f"#!/bin/sh\nenv > {seen}\necho '{{}}'\n")
    spy.chmod(0o755)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setattr(inspection.sys, "executable", str(spy))
    attachments.inspect(picture())
    assert "sk-secret" not in seen.read_text()
    assert "OPENAI" not in seen.read_text()


@pytest.mark.parametrize("said", ["exit 3", "kill -SEGV $$", "echo nonsense"])
def test_a_process_that_breaks_is_a_file_that_cannot_be_read(
    said: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    broken = tmp_path_factory.mktemp("broken") / "python"
    broken.write_text(f"#!/bin/sh\n{said}\n")
    broken.chmod(0o755)
    monkeypatch.setattr(inspection.sys, "executable", str(broken))
    assert refusal_of(picture()) == "This file cannot be read. Save it once more and add it again."


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("figure-2.png", "figure-2.png"),
        ("C:\\Users\\mira\\draft.pdf", "draft.pdf"),
        ("../../etc/passwd", "passwd"),
        ("a\x00b\r\nc\u202egnp.exe", "a b c gnp.exe"),
        ("", "file"),
        ("///", "file"),
        ("\ud800.pdf", ".pdf"),
        ("Größe ≤ 1.pdf", "Größe ≤ 1.pdf"),
        ("x" * 300 + ".pdf", "x" * 196 + ".pdf"),
        ("x" * 300, "x" * 200),
    ],
)
def test_names_are_cleaned(given: str, kept: str) -> None:
    assert attachments.clean_name(given) == kept


def test_an_office_file_is_told_how_to_become_one_that_can_be_read() -> None:
    word = b"PK\x03\x04" + bytes(26) + b"word/document.xml"
    assert refusal_of(word) == "Word files can’t be read. Save it as PDF and add it again."


def test_a_page_that_cannot_be_read_in_time_counts_all_that_it_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Lemma 4.7 " * 200
    assert documents.measure(pdf_of_a_form(said))["text_bytes"] >= 2_000 - 1
    monkeypatch.setattr(documents, "READ_FOR", 0.0)
    assert 2_000 <= documents.measure(pdf_of_a_form(said))["text_bytes"] < 2_100
    assert documents.measure(pdf_of_a_form(said, times=30))["text_bytes"] > 60_000
    assert documents.measure(pdf_of_a_form(said, is_endless=True))["text_bytes"] > 2_000
    assert documents.measure(pdf_of_a_form("a " * 50_000, times=900))["text_bytes"] == documents.MOST_TEXT
