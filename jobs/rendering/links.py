"""Makes links of web addresses only, and of images, so that reading an answer loads nothing."""

import re
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

SCHEMES = {"http", "https", "mailto"}
ADDRESS = re.compile(r"(?<![\w/.])https?://[^\s<>\"`\\^{}|]{1,2000}", re.IGNORECASE)
TRAILING = ".,:;!?*_~'"


def install(markdown: MarkdownIt) -> None:
    """Teach the parser which links to make."""
    markdown.validateLink = _is_allowed  # type: ignore[method-assign]
    markdown.core.ruler.push("links", _links)


def _is_allowed(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in SCHEMES and bool(parts.netloc or parts.scheme == "mailto")


def _links(state: StateCore) -> None:
    for block in state.tokens:
        if block.type == "inline" and block.children:
            block.children = _linked(state.md, block.children)


def _linked(markdown: MarkdownIt, tokens: list[Token]) -> list[Token]:
    found: list[Token] = []
    depth = 0
    for token in tokens:
        depth += token.nesting if token.type in {"link_open", "link_close"} else 0
        if token.type == "image":
            # HTML knows no link inside a link: there only the image's words stay.
            href = "" if depth else str(token.attrGet("src"))
            found += _link(href, f"Image: {token.content or href}")
        elif token.type == "text" and not depth:
            found += _bare_addresses(markdown, token.content)
        else:
            found.append(token)
    return found


def _bare_addresses(markdown: MarkdownIt, text: str) -> list[Token]:
    found: list[Token] = []
    done = 0
    for match in ADDRESS.finditer(text):
        address = _without_trailing(match[0])
        href = markdown.normalizeLink(address)
        if not _is_allowed(href):
            continue
        found += [*_text(text[done : match.start()]), *_link(href, address)]
        done = match.start() + len(address)
    return [*found, *_text(text[done:])]


def _without_trailing(address: str) -> str:
    """Return an address without the punctuation of the sentence around it."""
    opened = address.count("(") - address.count(")")
    end = len(address)
    while end and (address[end - 1] in TRAILING or (address[end - 1] == ")" and opened < 0)):
        end -= 1
        opened += address[end] == ")"
    return address[:end]


def _link(href: str, text: str) -> list[Token]:
    if not href:
        return _text(text)
    return [Token("link_open", "a", 1, {"href": href}), *_text(text), Token("link_close", "a", -1)]


def _text(text: str) -> list[Token]:
    return [Token("text", "", 0, content=text)] if text else []
