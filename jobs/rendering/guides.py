"""Turns a guide of our own, in Markdown, into HTML whose headings can be linked to by their words."""

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

_OTHER = re.compile(r"(?P<name>[a-z-]+)\.md(?P<place>#[a-z0-9-]+)?")
_KEPT = re.compile(r"https?://|#")


def guide(text: str) -> tuple[str, str]:
    """Return title and HTML of a guide, which begins with its title; links between guides lead to pages.

    A link to anything else that lies beside a guide leads nowhere on a page: its words stay.
    """
    title, _, rest = text.lstrip("# ").partition("\n")
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(rest)
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(tokens[place + 1].content))
        elif token.type == "fence" or token.type == "code_block":
            token.type, token.content = "html_block", _code(token.content)
        elif token.type in ("table_open", "table_close"):
            token.type, token.content = "html_block", _table(token.nesting)
        elif token.children:
            token.children = _linked(token.children)
    return title.strip(), markdown.renderer.render(tokens, markdown.options, {})


def anchor(heading: str) -> str:
    """Return the id of a heading, as GitHub makes it too."""
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


def _code(content: str) -> str:
    escaped = content.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f'<pre tabindex="0"><code>{escaped}</code></pre>\n'


def _table(nesting: int) -> str:
    return '<div class="tkc" tabindex="0"><table class="grid">\n' if nesting == 1 else "</table></div>\n"


def _linked(tokens: Sequence[Token]) -> list[Token]:
    found: list[Token] = []
    is_kept = True
    for token in tokens:
        if token.type == "link_open":
            href = str(token.attrGet("href"))
            other = _OTHER.fullmatch(href)
            if other:
                token.attrSet("href", f"/help/{other['name']}/{other['place'] or ''}")
            is_kept = bool(other or _KEPT.match(href))
        if is_kept or not token.type.startswith("link_"):
            found.append(token)
        if token.type == "link_close":
            is_kept = True
    return found
