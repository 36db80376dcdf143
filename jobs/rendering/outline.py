"""Fits an answer's headings and tables into a page that has a heading of its own."""

from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

ALIGNMENTS = {"text-align:right": "r", "text-align:center": "c"}
ANCHOR = "Link to this heading"


def install(markdown: MarkdownIt) -> None:
    """Teach the parser headings with ids and links to themselves, and tables that scroll."""
    markdown.core.ruler.push("outline", _outline)
    markdown.add_render_rule("heading_close", _heading_close)
    markdown.add_render_rule("table_open", _table_open)
    markdown.add_render_rule("table_close", _table_close)


def _outline(state: StateCore) -> None:
    headings = [token for token in state.tokens if token.type in {"heading_open", "heading_close"}]
    # The page's h1 stays the only one: the answer's highest heading becomes h2.
    down = 2 - min((int(token.tag[1]) for token in headings), default=2)
    opened = 0
    for token in headings:
        token.tag = f"h{min(6, int(token.tag[1]) + down)}"
        if token.nesting == 1:
            opened += 1
            token.attrSet("id", f"h-{opened}")
        else:
            token.meta = {"id": f"h-{opened}"}
    for token in state.tokens:
        if token.type in {"th_open", "td_open"} and "style" in token.attrs:
            alignment = ALIGNMENTS.get(str(token.attrs.pop("style")))
            if alignment:
                token.attrSet("class", alignment)


def _heading_close(_renderer: object, tokens: Sequence[Token], index: int, *_: object) -> str:
    token = tokens[index]
    return f'<a class="anchor" href="#{token.meta["id"]}" aria-label="{ANCHOR}">#</a></{token.tag}>\n'


def _table_open(*_: object) -> str:
    return '<div class="tscroll" tabindex="0"><table>\n'


def _table_close(*_: object) -> str:
    return "</table></div>\n"
