"""Holds a page, or a part of one, against the rules of HTML."""

import re
from collections import Counter

from tinyhtml5.parser import HTMLParser

IDS = re.compile(r'<[a-z][^<>]*?\sid="([^"]*)"')


def faults(html: str) -> list[str]:
    """Return what is wrong with the markup of a page or a fragment: parse errors, and ids used twice."""
    parser = HTMLParser()
    if html.lstrip()[:9].lower() == "<!doctype":
        parser.parse(html)
    else:
        # A part that is a row or a cell of a table is none on its own.
        container = {"<tr": "tbody", "<td": "tr", "<li": "ul"}.get(html.lstrip()[:3], "div")
        parser.parse_fragment(html, container=container)
    lines = [*html.splitlines(), ""]
    found = []
    for (line, column), name, _ in parser.errors:
        near = lines[min(line, len(lines)) - 1][max(0, column - 60) : column + 20]
        found.append(f"{name} in line {line}: {near}")
    counted = Counter(IDS.findall(html))
    return found + [f"id {name} {times} times" for name, times in counted.items() if times > 1]
