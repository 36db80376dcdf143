"""Answers worth looking at."""

import re

import pytest

from jobs.sandbox import answers

ALL = {answers.essay(f"Question {number}").replace(f"Question {number}", "PROMPT") for number in range(200)}


def test_there_are_several_and_a_prompt_always_gets_the_same() -> None:
    assert len(ALL) >= 5
    assert answers.essay("Why?") == answers.essay("Why?")


@pytest.mark.parametrize("text", ALL, ids=range(len(ALL)))
def test_each_has_what_a_page_must_render(text: str) -> None:
    assert re.search(r"^#+ ", text, re.MULTILINE)
    assert re.search(r"^\|[ :|-]+\|$", text, re.MULTILINE)
    assert "\\(" in text
    assert "\\[" in text
    assert "```python" in text
    assert "PROMPT" in text
    assert len(text) > 1500


def test_display_maths_comes_in_both_spellings() -> None:
    assert any("$$" in text for text in ALL)


def test_the_prompt_is_mentioned_in_a_few_words_without_its_markup() -> None:
    text = answers.essay("<script>alert(1)</script> *one* `two` " + "word " * 100)
    assert "\\<script\\>alert(1)\\</script\\> \\*one\\* \\`two\\` word" in text
    assert "word " * 20 not in text
    assert answers.first_words("x" * 500) == "x" * 80
