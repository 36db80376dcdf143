"""The last word on rendered HTML: only tags, attributes and addresses on these lists pass."""

import re

import nh3

from jobs.rendering.code import COLOURED
from jobs.rendering.links import SCHEMES
from jobs.rendering.outline import ANCHOR

HEADINGS = {"h2", "h3", "h4", "h5", "h6"}
TAGS = HEADINGS | set(
    "p br hr blockquote ul ol li em strong s a code pre span div figure figcaption "  # noqa: SIM905
    "button table thead tbody tr th td".split()
)
ATTRIBUTES: dict[str, set[str]] = {
    "*": set(),  # else title and lang pass everywhere
    "a": {"href", "aria-label"},
    "ol": {"start"},
    "span": {"data-display", "tabindex"},
    "div": {"tabindex"},
    "pre": {"tabindex"},
    "button": {"type", "data-copy-code"},
    **{heading: {"id"} for heading in HEADINGS},
}
CLASSES = {
    "a": {"anchor"},
    "span": {"math"} | COLOURED,
    "div": {"tscroll"},
    "figure": {"codebox"},
    "figcaption": {"cap"},
    "button": {"btn", "quiet"},
    "th": {"r", "c"},
    "td": {"r", "c"},
}
# Our own attributes carry no text of the answer's: any other value was not written by us.
VALUES = {
    "aria-label": re.compile(ANCHOR),
    "data-display": re.compile("inline|block"),
    "data-copy-code": re.compile(""),
    "tabindex": re.compile("0"),
    "type": re.compile("button"),
    "id": re.compile(r"h-\d{1,6}"),
    "start": re.compile(r"\d{1,9}"),
}
# The only addresses without a scheme: places in the answer itself.
ANCHORS = re.compile(r"#h-[0-9]{1,6}")


def clean(html: str) -> str:
    """Return HTML with everything removed that is not on the lists; the text stays."""
    return CLEANER.clean(html)


def _checked(_tag: str, attribute: str, value: str) -> str | None:
    rule = VALUES.get(attribute)
    return value if rule is None or rule.fullmatch(value) else None


def _own_anchor(url: str) -> str | None:
    return url if ANCHORS.fullmatch(url) else None


CLEANER = nh3.Cleaner(
    tags=TAGS,
    clean_content_tags=set(),
    attributes=ATTRIBUTES,
    attribute_filter=_checked,
    link_rel="noopener noreferrer nofollow",
    url_schemes=SCHEMES,
    url_relative=_own_anchor,
    allowed_classes=CLASSES,
)
