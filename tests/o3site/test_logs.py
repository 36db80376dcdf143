import json
import logging
import sys
import traceback

import pytest

from o3site.logs import Formatter, JsonFormatter, forget_words


def shown(error: Exception) -> str:
    """Return what the log shows of an error."""
    try:
        raise error
    except Exception:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "it failed", None, sys.exc_info())
    return Formatter("{message}", style="{").format(record)


def failed(error: BaseException) -> dict[str, object]:
    """Return a task as Django-Q's worker leaves it after an exception."""
    try:
        raise error
    except type(error) as raised:
        return {"success": False, "result": f"{raised} : {traceback.format_exc()}"}


def test_the_log_shows_where_and_what_kind_but_no_words() -> None:
    line = shown(ValueError("canary"))
    assert line.startswith("it failed\n  File ")
    assert "in shown" in line
    assert line.endswith("\nbuiltins.ValueError")
    assert "canary" not in line


def test_the_log_shows_what_led_to_an_error_without_its_words() -> None:
    try:
        try:
            json.loads("canary")
        except ValueError as cause:
            raise RuntimeError("canary") from cause
    except RuntimeError as error:
        line = shown(error)
    assert line.index("JSONDecodeError") < line.index("RuntimeError")
    assert "canary" not in line


@pytest.mark.parametrize("words", ["canary", "canary\ncanary: canary", "", "x\n  canary"])
def test_a_failed_task_keeps_its_places_and_kind_alone(words: str) -> None:
    task = failed(ValueError(words))
    forget_words(sender="django_q", task=task)
    assert str(task["result"]).endswith("\nValueError")
    assert "in failed" in str(task["result"])
    assert "canary" not in str(task["result"])


def test_a_failed_task_without_a_traceback_keeps_nothing() -> None:
    task = {"success": False, "result": "canary"}
    forget_words(task=task)
    assert task["result"] == "failed"


def test_the_result_of_a_task_that_succeeded_is_left_alone() -> None:
    task = {"success": True, "result": "fine"}
    forget_words(task=task)
    assert task["result"] == "fine"


def test_a_line_of_json_says_what_it_is_about() -> None:
    about = {"job": "j_1", "attempt": 7, "connection": "Practice", "secret": "canary"}
    record = logging.makeLogRecord(
        {"name": "jobs", "levelname": "INFO", "msg": "acc%s\n", "args": ("epted",), "created": 0.25, **about}
    )
    line = JsonFormatter(instance="a1").format(record)
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.250+00:00",
        "level": "INFO",
        "logger": "jobs",
        "message": "accepted\n",
        "job": "j_1",
        "attempt": 7,
        "connection": "Practice",
        "instance": "a1",
    }


def test_a_line_of_json_tells_an_error_without_its_words() -> None:
    try:
        raise ValueError("canary")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "it failed", None, sys.exc_info())
    line = json.loads(JsonFormatter(instance="a1").format(record))
    assert line["error"].endswith("\nbuiltins.ValueError")
    assert "canary" not in str(line)


def test_what_start_prints_is_a_line_too() -> None:
    line = json.loads(JsonFormatter(instance="a1").said("Ponder runs at 100%s"))
    assert (line["message"], line["level"]) == ("Ponder runs at 100%s", "INFO")
