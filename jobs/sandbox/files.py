"""Looks at the pictures and files of a request: refuses bad ones, counts their tokens, keeps no bytes."""

import base64
import binascii
import hashlib
import io
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from PIL import Image

from jobs.sandbox.errors import Refused, bad_request

# What it would complain about may repeat a document.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/gif": "GIF"}
DETAILS = {"input_image": ("low", "high", "auto", "original"), "input_file": ("low", "high", "auto")}
PER_IMAGE_BY_REFERENCE = 225
PER_FILE_BY_REFERENCE = 900
PATCH, TILE = 32, 512  # pixels a side
MOST_PATCHES = 30_000  # of a picture that is not resized; more are refused
PAGE = (1240, 1754)  # pixels in which a page is drawn, the sandbox's own
READ_PAGES = 20  # of a PDF; the text of more is not counted


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tokens of a picture and of each of its 512-pixel tiles."""

    base: int
    tile: int


@dataclass(frozen=True, slots=True)
class Patches:
    """Tokens of a 32-pixel patch, and the most patches at detail high."""

    rate: float
    budget: int


# How model names begin → how they count ('Images and vision', Calculating costs); the first that fits counts.
RULES: dict[str, Tiles | Patches] = {
    "o4-mini": Patches(1.72, 1_536),
    "o": Tiles(75, 150),
    "gpt-5-mini": Patches(1.2, 1_536),
    "gpt-5-nano": Patches(1.5, 1_536),
    "gpt-5.1": Tiles(70, 140),
    "gpt-5.": Patches(1.2, 2_500),
    "gpt-5": Tiles(70, 140),
    "": Patches(1.2, 2_500),
}


def check(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return items whose pictures and files could be used.

    Raises:
        Refused: the first that cannot, with the code that the API has for it.
    """
    for where, part in _parts(items):
        allowed = DETAILS[part["type"]]
        if part.get("detail") is not None and part["detail"] not in allowed:
            raise _refused(where, "detail", f"Invalid value: '{part['detail']}'.", "invalid_value")
        if part["type"] == "input_image":
            _check_image(where, part)
        elif isinstance(part.get("file_data"), str):
            _check_file(where, part)
    return items


def tokens_of(part: dict[str, Any], model: str) -> int:
    """Count a picture or file of a request that was checked, as that model would."""
    detail = part.get("detail") or "auto"
    if part["type"] == "input_image":
        data = _bytes_of(part.get("image_url"))
        return PER_IMAGE_BY_REFERENCE if data is None else _picture(*_size(data), model, detail)
    data = _bytes_of(part.get("file_data"))
    if data is None:
        return PER_FILE_BY_REFERENCE
    name = len(str(part.get("filename") or "").encode()) // 4
    if not data.startswith(b"%PDF-"):
        return name + len(data) // 4
    pages, text = _read(data)
    return name + pages * _picture(*PAGE, model, detail) + text // 4


def without_bytes(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item as it is stored and listed: the API shows no picture unless it is asked to."""
    name, parts = parts_of(item)
    if parts is None:
        return item
    return item | {
        name: [
            part | {"image_url": None, "file_id": part.get("file_id")}
            if part.get("type") == "input_image"
            else {key: value for key, value in part.items() if key != "file_data"}
            for part in parts
        ]
    }


def parts_of(item: dict[str, Any]) -> tuple[str, list[dict[str, Any]] | None]:
    """Return the parts of a message or of a function's output, None for a plain text, and their field."""
    name = "output" if item.get("type") == "function_call_output" else "content"
    parts = item.get(name)
    return name, [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else None


def listed(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what /sandbox/log says of pictures and files: everything but their bytes."""
    found = []
    for _, part in _parts(items):
        value = str(part.get("image_url") or part.get("file_data"))
        data = _bytes_of(value) or b""
        found.append(
            {
                "type": part["type"],
                "media_type": value[5:].split(";")[0] if data else None,
                "detail": part.get("detail"),
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )
    return found


def _parts(items: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, item in enumerate(items):
        name, parts = parts_of(item)
        for place, part in enumerate(parts or []):
            if part.get("type") in DETAILS:
                yield f"input[{number}].{name}[{place}]", part


def _check_image(where: str, part: dict[str, Any]) -> None:
    url = part.get("image_url")
    if not isinstance(url, str):
        if not part.get("file_id"):
            raise _refused(where, "image_url", f"Missing required parameter: '{where}.image_url'.", None)
        return
    if url.startswith(("http://", "https://")):
        return
    if not url.startswith("data:"):
        message = f"Invalid '{where}.image_url'. Expected a valid URL, but got a value in another format."
        raise _refused(where, "image_url", message, "invalid_image_url")
    media_type = url[5:].split(";")[0]
    if media_type not in FORMATS:
        message = f"Unsupported media type '{media_type}'. Supported are {', '.join(FORMATS)}."
        raise _refused(where, "image_url", message, "unsupported_image_media_type")
    data = _decoded(where, "image_url", url, "invalid_base64_image")
    if not data:
        raise _refused(where, "image_url", "The image file is empty.", "empty_image_file")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            kind, size, moves = picture.format, picture.size, getattr(picture, "is_animated", False)
    except Exception:
        message = "The image data you provided does not represent a valid image."
        raise _refused(where, "image_url", message, "image_parse_error") from None
    if kind not in (*FORMATS.values(), "MPO") or (kind == "GIF" and moves):
        raise _refused(where, "image_url", "The image has an unsupported format.", "invalid_image_format")
    patches = _patches(*size)
    if part.get("detail") in (None, "auto", "original") and patches > MOST_PATCHES:
        message = f"The image requires {patches} patches, exceeding the limit of {MOST_PATCHES}."
        raise _refused(where, "image_url", message, "image_too_large")


def _check_file(where: str, part: dict[str, Any]) -> None:
    if not part.get("filename"):
        message = f"Missing required parameter: '{where}.filename'."
        raise _refused(where, "filename", message, "missing_required_parameter")
    data = _decoded(where, "file_data", part["file_data"], "invalid_value")
    if data.startswith(b"%PDF-"):
        try:
            _read(data)
        except Exception:
            message = "The file could not be read as a PDF."
            raise _refused(where, "file_data", message, "invalid_file") from None


def _decoded(where: str, name: str, url: str, code: str) -> bytes:
    data = _bytes_of(url)
    if data is None:
        message = f"Invalid '{where}.{name}'. Expected a base64-encoded data URL, but got an invalid value."
        raise _refused(where, name, message, code)
    return data


def _bytes_of(url: object) -> bytes | None:
    """Decode a data URL; None for anything else."""
    head, comma, body = url.partition(",") if isinstance(url, str) else ("", "", "")
    if not (head.startswith("data:") and head.endswith(";base64") and comma):
        return None
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        return None


def _size(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.size


def _read(data: bytes) -> tuple[int, int]:
    """Return pages and bytes of the first pages' text; read once, though counted and sent."""
    digest = hashlib.sha256(data).hexdigest()
    if digest not in _seen:
        if len(_seen) >= 100:
            _seen.clear()
        from pypdf import PdfReader  # 0.1 s, and few need it

        pages = PdfReader(io.BytesIO(data)).pages
        text = sum(len(page.extract_text().encode(errors="replace")) for page in pages[:READ_PAGES])
        _seen[digest] = len(pages), text
    return _seen[digest]


_seen: dict[str, tuple[int, int]] = {}


@lru_cache(maxsize=1000)
def _picture(width: int, height: int, model: str, detail: str) -> int:
    rule = next(rule for name, rule in RULES.items() if model.startswith(name))
    if isinstance(rule, Tiles):
        if detail == "low":
            return rule.base
        width, height = _fitting(width, height, 2048)
        shortest = min(width, height)
        if shortest > 768:
            width, height = (side * 768 // shortest for side in (width, height))
        return rule.base + rule.tile * math.ceil(width / TILE) * math.ceil(height / TILE)
    if detail == "low":
        width, height = _fitting(width, height, TILE)
    elif detail == "high" and _patches(width, height) > rule.budget:
        shrink = math.sqrt(PATCH**2 * rule.budget / (width * height))
        shrink *= min(math.floor(side * shrink / PATCH) / (side * shrink / PATCH) for side in (width, height))
        width, height = (max(1, int(side * shrink)) for side in (width, height))
    return math.ceil(_patches(width, height) * rule.rate)


def _fitting(width: int, height: int, most: int) -> tuple[int, int]:
    scale = min(1.0, most / max(width, height))
    return max(1, int(width * scale)), max(1, int(height * scale))


def _patches(width: int, height: int) -> int:
    return math.ceil(width / PATCH) * math.ceil(height / PATCH)


def _refused(where: str, name: str, message: str, code: str | None) -> Refused:
    return bad_request(message, param=f"{where}.{name}", code=code or "missing_required_parameter")
