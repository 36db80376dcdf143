"""Pictures and files sent to the sandbox: refused in the API's codes, counted, and not kept."""

import base64
import hashlib
from typing import Any

import pytest

from jobs import attachments
from jobs.attachments import Found
from tests.jobs.attachments.files import moving, pdf, picture, png_that_claims
from tests.sandbox_process import SandboxProcess


def image(data: bytes, media_type: str = "image/png", **more: Any) -> dict[str, Any]:
    return {"type": "input_image", "image_url": url(data, media_type), "detail": "high", **more}


def file(data: bytes, name: str | None = "draft.pdf", **more: Any) -> dict[str, Any]:
    found = {"type": "input_file", "file_data": url(data, "application/pdf"), **more}
    return found | ({"filename": name} if name else {})


def url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def asking(*parts: dict[str, Any], text: str = "What is this?") -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*parts, {"type": "input_text", "text": text}]}]


def counted(sandbox: SandboxProcess, part: dict[str, Any], model: str) -> int:
    """Return what a part adds to a request's tokens."""

    def count(*parts: dict[str, Any]) -> int:
        body = {"model": model, "input": asking(*parts)}
        tokens: int = sandbox.call("POST", "/responses/input_tokens", body).json["input_tokens"]
        return tokens

    return count(part) - count()


@pytest.mark.parametrize(
    ("part", "param", "code"),
    [
        (image(picture()[:20]), "image_url", "image_parse_error"),
        (image(b""), "image_url", "empty_image_file"),
        (image(picture(), "image/tiff"), "image_url", "unsupported_image_media_type"),
        (image(picture("BMP")), "image_url", "invalid_image_format"),
        (image(moving("GIF"), "image/gif"), "image_url", "invalid_image_format"),
        (image(b"", image_url="data:image/png;base64,A=A"), "image_url", "invalid_base64_image"),
        (image(b"", image_url="figure-2.png"), "image_url", "invalid_image_url"),
        (image(b"", image_url=None), "image_url", "missing_required_parameter"),
        (image(png_that_claims(7952, 5304), detail="original"), "image_url", "image_too_large"),
        (image(picture(), detail="sharp"), "detail", "invalid_value"),
        (file(pdf("x"), detail="original"), "detail", "invalid_value"),
        (file(pdf("x"), name=None), "filename", "missing_required_parameter"),
        (file(b"", file_data="no data URL"), "file_data", "invalid_value"),
        (file(b"%PDF-1.7 and nothing else"), "file_data", "invalid_file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_part_is_refused_with_its_code(
    part: dict[str, Any], param: str, code: str, sandbox: SandboxProcess
) -> None:
    for answer in (
        sandbox.create("", input=asking(part)),
        sandbox.call("POST", "/responses/input_tokens", {"model": "o3-pro", "input": asking(part)}),
    ):
        assert (answer.status, answer.error["code"]) == (400, code)
        assert answer.error["param"] == f"input[0].content[0].{param}"
    assert sandbox.log()["responses"] == []


@pytest.mark.parametrize("code", ["image_too_small", "image_content_policy_violation"])
def test_a_directive_asks_for_the_codes_that_no_content_brings_about(
    code: str, sandbox: SandboxProcess
) -> None:
    given = asking(image(picture()), text=f"[[sandbox: seconds=0 outcome=failed code={code}]]")
    failed = sandbox.wait_for(sandbox.create("", input=given).json["id"])
    assert (failed["status"], failed["error"]["code"]) == ("failed", code)
    refused = sandbox.create("", input=asking(image(picture()), text=f"[[sandbox: http=400 code={code}]]"))
    assert (refused.status, refused.error["code"]) == (400, code)


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        ("gpt-5.4", (1024, 1024), "high", 1229),
        ("gpt-5.4", (2048, 2048), "high", 3000),
        ("gpt-6-sol", (2048, 2048), "auto", 4916),
        ("gpt-6-sol", (2048, 1024), "low", 154),
        ("o3-pro", (1024, 1024), "high", 675),
        ("o3-pro", (2048, 4096), "high", 975),
        ("o3-pro", (300, 200), "high", 225),
        ("o3-pro", (2048, 4096), "low", 75),
        ("gpt-5-pro", (300, 200), "high", 210),
        ("gpt-5-mini", (1800, 2400), "high", 1743),
    ],
)
def test_a_picture_counts_as_the_guide_says(
    model: str, size: tuple[int, int], detail: str, tokens: int, sandbox: SandboxProcess
) -> None:
    data = picture("PNG", width=size[0], height=size[1])
    assert counted(sandbox, image(data, detail=detail), model) == tokens


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        ("o3-pro", {"base": 75, "tile": 150}),
        ("gpt-6-sol", {"budget": 2500, "multiplier": "1.2"}),
        ("gpt-5-pro", {}),
    ],
)
def test_what_is_counted_is_within_the_bound_that_is_held(
    model: str, rule: dict[str, Any], sandbox: SandboxProcess
) -> None:
    known = {"media_type": "", "size": 0, "digest": ""}
    bound = attachments.rule_of(rule)
    for width, height in ((9, 9), (640, 480), (2000, 300), (5000, 4000)):
        most = attachments.bound(bound, Found(**known, width=width, height=height))
        assert 0 < counted(sandbox, image(picture(width=width, height=height)), model) <= most
    text = "Lemma " * 200
    most = attachments.bound(bound, Found(**known, pages=2, text_bytes=2 * len(text)))
    assert len(text) // 2 < counted(sandbox, file(pdf(text, text), detail="high"), model) <= most


def test_what_was_sent_is_told_by_its_digest_and_not_kept(sandbox: SandboxProcess) -> None:
    drawing, draft = picture(), pdf("Lemma 4.7")
    answer = sandbox.create("", input=asking(image(drawing), file(draft)))
    assert sandbox.log()["responses"][0]["files"] == [
        {
            "type": "input_image",
            "media_type": "image/png",
            "detail": "high",
            "bytes": len(drawing),
            "sha256": hashlib.sha256(drawing).hexdigest(),
        },
        {
            "type": "input_file",
            "media_type": "application/pdf",
            "detail": None,
            "bytes": len(draft),
            "sha256": hashlib.sha256(draft).hexdigest(),
        },
    ]
    listed = sandbox.call("GET", f"/responses/{answer.json['id']}/input_items").json["data"][0]["content"]
    assert [part["type"] for part in listed] == ["input_image", "input_file", "input_text"]
    assert (listed[0]["image_url"], listed[1]["filename"]) == (None, "draft.pdf")
    assert "file_data" not in listed[1]
