"""Directives in prompts."""

import pytest

from jobs.sandbox.directives import Directives, check_webhook_fault, read, strip
from jobs.sandbox.errors import Refused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no directive [[here]]", Directives()),
        (
            "[[sandbox: seconds=3 outcome=failed code=server_error]]",
            Directives(seconds=3, outcome="failed", code="server_error"),
        ),
        ("before [[sandbox:seconds=.5]] after", Directives(seconds=0.5)),
        (
            "[[sandbox: reasoning=5 input=6 answer_tokens=7 cached=8 times=9]]",
            Directives(reasoning=5, input=6, answer_tokens=7, cached=8, times=9),
        ),
        ("[[sandbox: calls=2 approvals=1 searches=3]]", Directives(calls=2, approvals=1, searches=3)),
        ("[[sandbox: seconds=1]] and [[sandbox: seconds=2 usage=none]]", Directives(seconds=2, usage="none")),
        (
            '[[sandbox: answer="a = [[1]] \\"quoted\\" \\u00e9" hang=2]]',
            Directives(answer='a = [[1]] "quoted" é', hang=2),
        ),
        ('[[sandbox:\n  answer="two\nlines"\n  seconds=1\n]]', Directives(answer="two\nlines", seconds=1)),
        ("[[sandbox: webhook=duplicate,delay:2.5]]", Directives(webhook="duplicate,delay:2.5")),
        ("[[sandbox: seconds=1", Directives()),
    ],
)
def test_a_directive_is_read(text: str, expected: Directives) -> None:
    assert read([text]) == expected


def test_directives_of_several_texts_add_up() -> None:
    assert read(["[[sandbox: seconds=1]]", "[[sandbox: tier=priority]]"]) == Directives(
        seconds=1, tier="priority"
    )


@pytest.mark.parametrize(
    "directive",
    [
        "second=1",
        "outcome=splendid",
        "seconds=soon",
        "seconds=-1",
        "seconds=inf",
        "input=1.5",
        "http=418",
        "webhook=late",
        "fault=fire",
        "seconds",
        "Seconds=3",
        'answer="\\q"',
    ],
)
def test_a_misspelt_directive_is_refused_by_name(directive: str) -> None:
    with pytest.raises(Refused) as caught:
        read([f"[[sandbox: {directive}]]"])
    assert caught.value.status == 400
    assert caught.value.code == "invalid_directive"
    assert directive.partition("=")[0] in caught.value.message


def test_the_prompt_is_read_without_them() -> None:
    assert strip('What is [[sandbox: answer="]]"]]love?') == "What is love?"


def test_faults_are_spent_after_their_times() -> None:
    wishes = Directives(times=2, http="503", fault="hang", outcome="failed", code="server_error", seconds=1)
    assert wishes.on_post(2) == wishes
    assert wishes.on_post(3) == Directives(times=2, seconds=1)
    endless = Directives(http="503")
    assert endless.on_post(1000) == endless


def test_many_open_directives_take_no_time() -> None:
    """A prompt is a stranger's: reading it must not take quadratic time."""
    assert read(["[[sandbox: " * 20_000]) == Directives()
    assert read(['[[sandbox:\\"' * 20_000]) == Directives()


def test_webhook_faults_of_the_command_line_are_checked() -> None:
    assert check_webhook_fault("drop,reorder") == "drop,reorder"
    with pytest.raises(ValueError, match="no webhook fault"):
        check_webhook_fault("late")
