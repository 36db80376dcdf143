"""Reads an answer's HTML back as text without marks, for people who paste it elsewhere."""

import re
from dataclasses import dataclass, field
from html import unescape

PIECES = re.compile(r"<([^>]*)>")  # our own HTML carries no > inside an attribute
WORD = re.compile(r"/?[a-z0-9]+")
HREF = re.compile(r'href="([^"]*)"')
START = re.compile(r'start="([0-9]+)"')
BLOCKS = {"p", "h2", "h3", "h4", "h5", "h6", "blockquote", "figure", "pre", "table", "hr", "ul", "ol"}
HIDDEN = {"figcaption", "button"}


def text_of(html: str) -> str:
    """Return the text of an answer's HTML: lists with their signs, cells apart by tabs, formulas as TeX."""
    reader = _Reader()
    pieces = PIECES.split(html)
    for place, piece in enumerate(pieces):
        if place % 2:
            reader.tag(piece)
        elif piece:
            reader.text(unescape(piece))
    return "".join(reader.found).strip("\n") + "\n"


@dataclass(slots=True)
class _Reader:
    found: list[str] = field(default_factory=list)
    breaks: int = 0  # line ends due before the next word
    lists: list[int | None] = field(default_factory=list)  # the next number, or None for dots
    verbatim: bool = False
    hidden: str = ""  # the tag until whose end nothing is read
    href: str = ""
    since: int = 0  # where the text of the open link begins

    def tag(self, piece: str) -> None:
        found = WORD.match(piece)
        word = found[0] if found else ""
        name = word.removeprefix("/")
        if self.hidden:
            self.hidden = "" if word == f"/{self.hidden}" else self.hidden
        elif name in HIDDEN or 'class="anchor"' in piece:
            self.hidden = name
        elif name == "a":
            self._link(piece)
        elif name == "br":
            self.breaks = max(self.breaks, 1)
        elif word in ("li", "tr"):
            self.breaks = max(self.breaks, 1)
            if word == "li":
                self._item()
        elif word in ("/td", "/th"):
            self.text("\t")
        elif word == "/tr":
            self._trim()
        elif name in BLOCKS:
            self._block(word, name, piece)

    def text(self, words: str) -> None:
        if self.hidden or (not self.verbatim and words.isspace() and "\n" in words):
            return
        if self.breaks and not self.verbatim:
            words = words.lstrip("\n")
        if self.breaks and self.found:
            self.found[-1] = self.found[-1].rstrip("\n")
            self.found.append("\n" * self.breaks)
        self.breaks = 0
        self.found.append(words)

    def _block(self, word: str, name: str, piece: str) -> None:
        if name in ("ul", "ol"):
            if word == name:
                begin = START.search(piece)
                self.lists.append(None if name == "ul" else int(begin[1]) if begin else 1)
            else:
                self.lists.pop()
            apart = 1 if len(self.lists) > (word == name) else 2
        else:
            # Inside a list the first paragraph goes on behind its sign.
            apart = 0 if self.lists and self.found and self.found[-1].endswith(("• ", ". ")) else 2
        self.verbatim = word == "pre" or (self.verbatim and name != "pre")
        self.breaks = max(self.breaks, apart)

    def _item(self) -> None:
        number = self.lists[-1]
        sign = "• " if number is None else f"{number}. "
        if number is not None:
            self.lists[-1] = number + 1
        self.text("  " * (len(self.lists) - 1) + sign)

    def _link(self, piece: str) -> None:
        if not piece.startswith("/"):
            href = HREF.search(piece)
            self.href, self.since = unescape(href[1]) if href else "", len(self.found)
        elif self.href.removeprefix("mailto:") not in "".join(self.found[self.since :]):
            self.found.append(f" ({self.href})")

    def _trim(self) -> None:
        if self.found and self.found[-1] == "\t":
            self.found.pop()
