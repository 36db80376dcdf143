"""How a page looks, held against what everyone can read: in both themes, on a desk and on a phone."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import batched
from typing import Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.markup import faults

OTHER_WIDTHS = (320, 768)
PHONES = (320, 390)
EVERYTHING = {"resultTypes": ["violations"], "preload": False}
# A theme changes nothing but colours.
COLOURS = {**EVERYTHING, "runOnly": ["color-contrast"]}
LOOKS: tuple[tuple[Literal["light", "dark"], int, dict[str, object]], ...] = (
    ("light", 1440, EVERYTHING),
    ("dark", 1440, COLOURS),
    ("dark", 390, COLOURS),
    ("light", 390, EVERYTHING),
)
AXE = Axe()
WIDTH = "() => document.documentElement.scrollWidth"
# Started and not awaited, so that two cores look at two pages. Only what is wrong is brought back.
LOOK = """options => {
    const look = async () => {
        await Promise.all(document.getAnimations().map(one => one.finished));
        const { violations } = await axe.run(options);
        return {
            violations: violations.map(one => [one.id, one.nodes.map(node => node.target)]),
            taken: document.documentElement.scrollWidth,
        };
    };
    window.look = look();
}"""


def complaints(pages: Mapping[str, Page]) -> Iterator[str]:
    """Look at pages side by side, at every width and in both themes; yield what is wrong with them."""
    for page in pages.values():
        page.evaluate(AXE.axe_script)
    for theme, width, options in LOOKS:
        for page in pages.values():
            page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            page.set_viewport_size({"width": width, "height": 900})
            page.evaluate(LOOK, options)
        for name, page in pages.items():
            found = page.evaluate("() => window.look")
            for violation, targets in found["violations"]:
                # A table's head may be a formula; axe reads no MathML, screen readers do.
                if violation == "empty-table-header" and name == "completed":
                    continue
                # Django's own: a magnifying glass is the label of the search in a list.
                if violation == "label-title-only" and name.startswith("console"):
                    continue
                yield f"{name}, {theme}, {width}: {violation} {targets}"
            yield from too_wide(found["taken"], name, width)
    for width in OTHER_WIDTHS:
        for name, page in pages.items():
            page.set_viewport_size({"width": width, "height": 900})
            yield from too_wide(page.evaluate(WIDTH), name, width)


def too_wide(taken: int, name: str, width: int) -> Iterator[str]:
    if taken > width:
        yield f"{name}: {taken} pixels wide at {width}"


def off_screen(page: Page, name: str, column: str) -> Iterator[str]:
    """Look for a column on phones; yield where it cannot be seen without scrolling sideways."""
    for width in PHONES:
        page.set_viewport_size({"width": width, "height": 900})
        boxes = [head.bounding_box() for head in page.get_by_role("columnheader", name=column).all()]
        for box in boxes or [None]:
            if box is None or box["x"] + box["width"] > width:
                yield f"{name}: {column} is not on the screen at {width}"


def look_at(pages: Sequence[Page], paths: Mapping[str, str]) -> Iterator[str]:
    """Open every path and look at it, as many at a time as there are pages."""
    for batch in batched(paths.items(), len(pages), strict=False):
        opened = dict(zip((name for name, _ in batch), pages, strict=False))
        for name, path in batch:
            answer = opened[name].goto(path)
            assert answer is not None
            # The console's templates are Django's.
            yield from () if name == "console" else (f"{name}: {fault}" for fault in faults(answer.text()))
            if name == "completed":
                expect(opened[name].locator(".math .katex").first).to_be_visible()
        yield from complaints(opened)
        if "projects" in opened:
            yield from off_screen(opened["projects"], "projects", "Left")
