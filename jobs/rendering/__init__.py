"""Turns an answer's Markdown, which is hostile input, into HTML that is safe to put on a page."""

import re
from functools import cache
from html import escape

from markdown_it import MarkdownIt

from jobs.rendering import code, links, maths, outline, parts
from jobs.rendering.guides import guide
from jobs.rendering.sanitiser import clean

__all__ = ["RENDERER_VERSION", "guide", "plain", "render"]

RENDERER_VERSION = 2
LIMIT = 1_000_000  # characters; beyond, Markdown would take tens of seconds
MOST_HTML = 6_000_000  # characters; an essay grows 2.3-fold, a page of nothing but headings 33-fold
# Text nested deeper than this is dropped by markdown-it without a word, and each level costs recursion.
MAX_NESTING = 20
# PostgreSQL stores no NUL, and neither it nor nh3 takes half of a surrogate pair, which JSON can carry.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def render(text: str) -> str:
    """Return Markdown as HTML of a few known tags and attributes, divided as `parts` says.

    Formulas become `<span class="math" data-display="inline|block">` around their TeX. HTML in the text is
    shown, not obeyed; images become links; headings start at h2 and get the ids h-1, h-2 and so on.
    Text that is too long or too deeply nested, or whose HTML would grow too much, is returned as by `plain`.
    Hostile code or Markdown can take seconds: call it where a time limit holds.
    """
    if len(text) > LIMIT:
        return plain(text)
    markdown = parser()
    env: dict[str, object] = {}
    tokens = markdown.parse(UNSTORABLE.sub("\ufffd", text), env)
    if any(token.nesting == 1 and token.level >= MAX_NESTING - 1 for token in tokens):
        return plain(text)
    found: list[str] = []
    size = 0
    for html in parts.rendered(markdown, tokens, env):
        found.append(clean(html))
        size += len(html)
        if size > MOST_HTML:
            return plain(text)
    return parts.join(found)


def plain(text: str) -> str:
    """Return any text as HTML that shows it letter by letter, divided in the same way."""
    shown = UNSTORABLE.sub("\ufffd", text)
    return parts.join(f'<pre class="plain">{escape(piece)}</pre>' for piece in parts.lines(shown))


@cache
def parser() -> MarkdownIt:
    """Make the Markdown parser: CommonMark, tables, strikethrough, formulas, bare web addresses."""
    markdown = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_NESTING})
    markdown.enable(["table", "strikethrough"])
    for part in (maths, links, outline, code):
        part.install(markdown)
    return markdown
