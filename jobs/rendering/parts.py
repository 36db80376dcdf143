"""Divides an answer's HTML into parts, so that a page takes in the first of a long one at once."""

from collections.abc import Iterable, Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

# Nothing that passes the sanitiser carries this class, so it marks where our parts begin and nothing else.
OPEN = '<div class="part">'
CLOSE = "</div>\n"
LEAST = 2_000  # characters of a part before a heading may begin the next
MOST = 8_000  # characters after which any block begins the next
FIRST = 100_000  # characters of HTML that a page shows at once
SPARED = 25_000  # a rest of fewer characters is shown with the first: no click for two paragraphs
PLAIN_LINES = 200


def rendered(markdown: MarkdownIt, tokens: Sequence[Token], env: dict[str, object]) -> Iterator[str]:
    """Render tokens and yield their HTML part by part; a part ends only between two outermost blocks."""
    found: list[str] = []
    size = 0
    for block in _blocks(tokens):
        if size >= MOST or (size >= LEAST and block[0].type == "heading_open"):
            yield "".join(found)
            found, size = [], 0
        html = markdown.renderer.render(block, markdown.options, env)
        found.append(html)
        size += len(html)
    yield "".join(found)


def lines(text: str) -> Iterator[str]:
    """Yield a text in pieces of whole lines; a line that is too long by itself is a piece of its own."""
    found: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        if size >= MOST or len(found) >= PLAIN_LINES:
            yield "".join(found)
            found, size = [], 0
        found.append(line)
        size += len(line)
    yield "".join(found)


def join(htmls: Iterable[str]) -> str:
    """Return safe pieces of HTML as one text of parts."""
    return "".join(f"{OPEN}{html}{CLOSE}" for html in htmls)


def cut(html: str, at: int = FIRST) -> tuple[str, str]:
    """Split HTML made of parts behind the one that passes `at` characters; the second half may be empty."""
    if len(html) <= at + SPARED:
        return html, ""
    end = html.find(OPEN, at)
    if end < 0 or len(html) - end < SPARED:
        return html, ""
    return html[:end], html[end:]


def _blocks(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    first = depth = 0
    for place, token in enumerate(tokens, 1):
        depth += token.nesting
        if depth == 0:
            yield tokens[first:place]
            first = place
