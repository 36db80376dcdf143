"""What people read out of a response, and rendering that no answer can hold up."""

import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from jobs import lifecycle, rendering
from jobs.lifecycle import text
from jobs.models import Answer, Job, ModelSpec
from tests.fake_api import FakeApi, message
from tests.jobs.lifecycle.conftest import Submit

pytestmark = pytest.mark.django_db

CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "look_up", "arguments": "{}", "x": 1}
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}  # fmt: skip  # noqa: E501


def refusal(words: Any) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "refusal", "refusal": words}]}


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ([message("One."), message("Two.")], ("One.\n\nTwo.", False, 0)),
        ([refusal("No.")], ("No.", True, 0)),
        ([refusal("No."), message("Yes.")], ("Yes.", False, 0)),
        ([{"type": "reasoning", "content": [{"type": "output_text", "text": "Hm."}]}], ("", False, 0)),
        ([CALL, {"type": "mcp_approval_request", "id": "mcpr_1", "name": "x"}], ("", False, 2)),
        ([{"type": "mcp_approval_request", "name": "x"}, {**CALL, "call_id": ""}], ("", False, 0)),
        (None, ("", False, 0)),
        ("text", ("", False, 0)),
        (["text", 7, None, {}], ("", False, 0)),
        ([{"type": "message", "content": "text"}], ("", False, 0)),
        ([{"type": "message", "content": ["text", None]}], ("", False, 0)),
        ([message(7), refusal(7)], ("", False, 0)),  # type: ignore[arg-type]
        ([{"type": "message", "content": [{"type": "image"}]}], ("", False, 0)),
    ],
)
def test_an_output_is_read_and_what_is_not_as_documented_passed_over(
    output: Any, expected: tuple[str, bool, int]
) -> None:
    found = text.content_of({"output": output})
    assert (found.text, found.is_refusal, len(found.calls)) == expected


def test_of_a_call_only_what_is_shown_is_kept() -> None:
    assert "x" not in text.content_of({"output": [CALL]}).calls[0]


@pytest.fixture
def answered(api: FakeApi, submit: Submit) -> Any:
    """Return a function that lets a job with a schema end with an output."""

    def answered(*output: dict[str, Any], **wanted: Any) -> Job:
        job = submit(**wanted)
        api.run("send")
        api.put(job, "completed", output=list(output))
        api.run("poll")
        job.refresh_from_db()
        return job

    return answered


def test_an_answer_to_a_schema_is_parsed_and_validated(answered: Any) -> None:
    good = answered(message('{"ok": true}'), schema=SCHEMA, schema_name="s").answer
    bad = answered(message('{"ok": "yes"}'), schema=SCHEMA, schema_name="s").answer
    assert (good.parsed, good.validation_errors) == ({"ok": True}, [])
    assert (bad.parsed, len(bad.validation_errors)) == ({"ok": "yes"}, 1)


def test_a_refusal_is_not_held_against_the_schema(answered: Any) -> None:
    found = answered(refusal("I will not."), schema=SCHEMA, schema_name="s").answer
    assert (found.is_refusal, found.parsed, found.validation_errors) == (True, None, [])


def test_an_end_without_words_has_no_answer(answered: Any) -> None:
    job = answered()
    assert job.status == "completed"
    assert not Answer.objects.exists()
    assert lifecycle.render_due() == 0


def test_calls_alone_need_no_rendering(answered: Any) -> None:
    answered(CALL)
    assert lifecycle.render_due() == 0


def test_rendering_fills_the_html_once_and_tells_the_page(answered: Any) -> None:
    job = answered(message("**Yes.**"))
    assert lifecycle.render_due() == 1
    assert lifecycle.render_due() == 0
    found = Answer.objects.get()
    assert "<strong>Yes.</strong>" in found.html
    assert found.renderer_version == rendering.RENDERER_VERSION
    assert Job.objects.get().version == job.version + 1


def test_a_new_renderer_renders_again_but_not_what_is_plain_for_good(
    answered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(message("One."))
    answered(message("Two."))
    lifecycle.render_due()
    Answer.objects.filter(text="Two.").update(renderer_version=Answer.PLAIN)
    monkeypatch.setattr(rendering, "RENDERER_VERSION", rendering.RENDERER_VERSION + 1)
    assert lifecycle.render_due() == 1


@pytest.mark.parametrize("way", ["it takes too long", "it fails", "it swallows every error"])
def test_an_answer_that_cannot_be_rendered_stays_plain_and_holds_no_other_up(
    answered: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    answered(message("Good."))
    answered(message("Bad."))
    render = rendering.render

    def hostile(words: str) -> str:
        if words == "Good.":
            return render(words)
        if way == "it fails":
            raise RecursionError
        with suppress(Exception):
            signal.raise_signal(signal.SIGALRM)  # as after ten seconds
        raise AssertionError("the alarm was swallowed")

    monkeypatch.setattr(rendering, "render", hostile)
    assert lifecycle.render_due() == 2
    bad = Answer.objects.get(text="Bad.")
    assert (bad.html, bad.renderer_version) == ("", Answer.PLAIN)
    assert Answer.objects.get(text="Good.").html


# An alarm may meet what Python lets nothing out of, and says so; the next one ends it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("sign", ["[", "![](", "- a\n", "\\[\n", "&", "# a\n"])
def test_a_megabyte_of_hostile_markdown_ends_within_its_limit(
    answered: Any, monkeypatch: pytest.MonkeyPatch, sign: str
) -> None:
    answered(message((sign * 1_000_000)[:1_000_000]))
    monkeypatch.setattr(text, "RENDER_LIMIT", 0.5)  # seconds; each of these takes ten times as long or more
    began = time.thread_time()
    assert lifecycle.render_due() == 1
    assert time.thread_time() - began < 4
    found = Answer.objects.get()
    assert (found.html, found.renderer_version) == ("", Answer.PLAIN)


def test_the_limit_holds_though_its_first_alarm_meets_a_finaliser(
    answered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Final:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGALRM)

    def endless(_: str) -> str:
        Final()
        time.sleep(60)
        raise AssertionError("no second alarm")

    answered(message("Bad."))
    monkeypatch.setattr(rendering, "render", endless)
    monkeypatch.setattr(text, "RENDER_LIMIT", 0.05)
    assert lifecycle.render_due() == 1
    assert Answer.objects.get().renderer_version == Answer.PLAIN


def test_rendering_ends_when_its_time_is_over_and_leaves_the_worker_to_the_beat_for_a_moment(
    answered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(message("One."))
    with monkeypatch.context() as patch:
        patch.setattr(text, "RENDER_FOR", -text.RENDER_FOR)
        assert lifecycle.render_due() == 0
    assert lifecycle.render_due() == 0
    text._rests_until -= text.RENDER_REST
    assert lifecycle.render_due() == 1


@pytest.fixture
def own_alarm() -> Iterator[None]:
    """Leave no alarm of this test behind."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("own_alarm")
def test_the_tasks_own_alarm_goes_on_after_rendering(answered: Any) -> None:
    def handler(*_: object) -> None:
        raise AssertionError("rang early")

    answered(message("One."))
    signal.signal(signal.SIGALRM, handler)
    signal.alarm(80)
    began = time.monotonic()
    lifecycle.render_due()
    left = signal.alarm(0)
    assert 78 - (time.monotonic() - began) <= left <= 80
    assert signal.getsignal(signal.SIGALRM) is handler


def test_usual_seconds_come_from_the_catalogue() -> None:
    low, high = lifecycle.usual_seconds(ModelSpec(prior={"low": {"seconds": [1, 2, 3]}}), "low")
    assert (low, high) == (1.0, 3.0)
