import pytest

from tests.markup import faults


@pytest.mark.parametrize(
    "html",
    [
        "<p><div></div></p>",
        "<!doctype html><html lang=en><title>A</title><b><i></b></i>",
        "<tr><div></div></tr>",
        '<p id="a"></p><p id="a"></p>',
        "&nosuch;",
    ],
)
def test_what_breaks_a_rule_is_found(html: str) -> None:
    assert faults(html)


@pytest.mark.parametrize(
    "html", ["", "<!doctype html><html lang=en><title>A</title><p>B &amp; C", "<tr><td>1</td></tr>"]
)
def test_what_keeps_the_rules_passes(html: str) -> None:
    assert faults(html) == []
