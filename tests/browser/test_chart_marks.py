"""The two words above the histogram of costs: readable wherever the median and the tail are."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

STATIC = Path(__file__).resolve().parents[2] / "static"
BARS = 24
# What is written and drawn on the canvas: words as boxes, and each upright line.
RECORD = """() => {
    const seen = { words: [], lines: [] };
    const proto = CanvasRenderingContext2D.prototype;
    const [fill, move, line] = [proto.fillText, proto.moveTo, proto.lineTo];
    let from = [0, 0];
    proto.fillText = function (text, x, y, ...rest) {
        const width = this.measureText(text).width;
        const left = this.textAlign === "right" ? x - width : this.textAlign === "center" ? x - width / 2 : x;
        seen.words.push({ text, left, right: left + width, top: y - 9, bottom: y + 3 });
        return fill.call(this, text, x, y, ...rest);
    };
    proto.moveTo = function (x, y) { from = [x, y]; return move.call(this, x, y); };
    proto.lineTo = function (x, y) {
        if (this.getLineDash().length && from[0] === x) seen.lines.push({ x, top: from[1], bottom: y });
        return line.call(this, x, y);
    };
    window.seen = seen;
}"""


def drawn(page: Page, *, width: int, median_at: int, tail_at: int) -> dict[str, Any]:
    """Draw the histogram at a width; return what was put on its canvas."""
    costs = {
        "from": [f"${number}" for number in range(BARS)],
        "spans": [""] * BARS,
        "jobs": [1] * BARS,
        "medianAt": median_at,
        "median": "Median about $1,234.56",
        "tailAt": tail_at,
        "tail": "95th percentile about $2,345.67",
    }
    page.set_content(
        f'<div style="position:relative;width:{width}px;height:220px"><canvas id="costs"></canvas></div>'
        f'<script id="drawn" type="application/json">{json.dumps({"days": [], "costs": costs})}</script>'
    )
    page.evaluate(RECORD)
    for name in ("vendor/chartjs/chart.umd.min.js", "charts.js"):
        page.add_script_tag(path=STATIC / name)
    found: dict[str, Any] = page.evaluate("() => window.seen")
    return found


@pytest.mark.parametrize("width", [250, 360, 760])
def test_the_words_of_the_histogram_never_meet_each_other_nor_a_line(page: Page, width: int) -> None:
    page.set_viewport_size({"width": 800, "height": 400})
    places = [
        (0, 0),
        (0, 1),
        (0, 5),
        (0, 23),
        (3, 8),
        (9, 10),
        (10, 12),
        (11, 23),
        (18, 20),
        (22, 23),
        (23, 23),
    ]
    for median_at, tail_at in places:
        seen = drawn(page, width=width, median_at=median_at, tail_at=tail_at)
        median, tail = (
            next(word for word in reversed(seen["words"]) if word["text"].startswith(begin))
            for begin in ("Median", "95th")
        )
        where = (width, median_at, tail_at, median, tail)
        beside = median["right"] < tail["left"] or tail["right"] < median["left"]
        above = median["bottom"] < tail["top"] or tail["bottom"] < median["top"]
        assert beside or above, where
        for word in (median, tail):
            assert word["left"] >= 0, where
            assert word["right"] <= width, where
            assert word["top"] >= 0, where
            for line in seen["lines"]:
                is_in = word["left"] < line["x"] < word["right"] and line["top"] < word["bottom"]
                assert not is_in, (*where, line)
