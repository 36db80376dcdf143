"""Turns an answer's Markdown, which is hostile input, into HTML that is safe to put on a page."""

import re
from functools import cache
from html import escape

from markdown_it import MarkdownIt

from jobs.rendering import code, links, maths, outline
from jobs.rendering.sanitiser import clean

RENDERER_VERSION = 1
LIMIT = 1_000_000  # characters; beyond, Markdown would take tens of seconds
# Text nested deeper than this is dropped by markdown-it without a word, and each level costs recursion.
MAX_NESTING = 20
# PostgreSQL stores no NUL, and neither it nor nh3 takes half of a surrogate pair, which JSON can carry.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def render(text: str) -> str:
    """Return Markdown as HTML of a few known tags and attributes.

    Formulas become `<span class="math" data-display="inline|block">` around their TeX. HTML in the text is
    shown, not obeyed; images become links; headings start at h2 and get the ids h-1, h-2 and so on.
    Text that is too long or too deeply nested is returned as by `plain`. Hostile code or Markdown can take
    seconds: call it where a time limit holds.
    """
    if len(text) > LIMIT:
        return plain(text)
    markdown = parser()
    env: dict[str, object] = {}
    tokens = markdown.parse(UNSTORABLE.sub("\ufffd", text), env)
    if any(token.nesting == 1 and token.level >= MAX_NESTING - 1 for token in tokens):
        return plain(text)
    return clean(markdown.renderer.render(tokens, markdown.options, env))


def plain(text: str) -> str:
    """Return any text as HTML that shows it letter by letter."""
    return f'<pre class="plain">{escape(UNSTORABLE.sub("\ufffd", text))}</pre>'


@cache
def parser() -> MarkdownIt:
    """Make the Markdown parser: CommonMark, tables, strikethrough, formulas, bare web addresses."""
    markdown = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_NESTING})
    markdown.enable(["table", "strikethrough"])
    for part in (maths, links, outline, code):
        part.install(markdown)
    return markdown
