r"""Finds formulas: \( \) and $ $ inside a line, \[ \] and $$ $$ inside or across lines."""

import re
from collections.abc import Sequence
from html import escape

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType

# A formula holds no backtick, so it never reaches into code. No pattern looks past the next delimiter
# of its kind: a page of unclosed ones costs one pass, not one pass each.
PLAIN = r"[^\\$`]"
BRACKETED = r"((?:[^\\`]|\\[^()\[\]])++)"
INLINE = (
    (re.compile(rf"\$\$((?:{PLAIN}|\\.|\$(?!\$))++)\$\$", re.DOTALL), "block"),
    # Not a formula with a blank at an end or a digit behind it: "$5 and $6" is money.
    (re.compile(rf"\$(?![\s$])((?:{PLAIN}|\\.)++)(?<!\s)\$(?!\d)", re.DOTALL), "inline"),
    (re.compile(rf"\\\({BRACKETED}\\\)", re.DOTALL), "inline"),
    (re.compile(rf"\\\[{BRACKETED}\\\]", re.DOTALL), "block"),
)
CLOSERS = {"$$": re.compile(r"(?<!\\)\$\$"), "\\[": re.compile(r"(?<!\\)\\\]")}
MAX_LINES = 200


def install(markdown: MarkdownIt) -> None:
    """Teach the parser formulas."""
    markdown.inline.ruler.before("escape", "math", _inline)
    markdown.block.ruler.before(
        "fence", "math", _block, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )
    markdown.add_render_rule("math", _html)


def _inline(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in "$\\":
        return False
    for pattern, display in INLINE:
        found = pattern.match(state.src, state.pos)
        if found is None or not found[1].strip():
            continue
        if not silent:
            _push(state, found[1], display)
        state.pos = found.end()
        return True
    return False


def _block(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    start = state.bMarks[first] + state.tShift[first]
    opener = state.src[start : start + 2]
    if opener not in CLOSERS or state.is_code_block(first):
        return False
    lines: list[str] = []
    for line in range(first, min(end, first + MAX_LINES)):
        if line > first and state.sCount[line] < state.blkIndent and not state.isEmpty(line):
            return False  # the list item or quotation that holds the formula ends here
        text = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]
        if line == first:
            text = text[2:]
        elif opener == "\\[" and text.startswith(opener):
            return False
        closer = CLOSERS[opener].search(text)
        if closer is None:
            lines.append(text)
            continue
        after = text[closer.end() :].strip()
        tex = "\n".join([*lines, text[: closer.start()]]).strip()
        if not tex or after.strip(".,;:"):
            return False
        if not silent:
            state.push("paragraph_open", "p", 1).map = [first, line + 1]
            _push(state, tex + after, "block")
            state.push("paragraph_close", "p", -1)
            state.line = line + 1
        return True
    return False


def _push(state: StateInline | StateBlock, tex: str, display: str) -> None:
    token = state.push("math", "span", 0)
    token.content, token.meta = tex.strip(), {"display": display}


def _html(_renderer: object, tokens: Sequence[Token], index: int, _options: object, _env: EnvType) -> str:
    token = tokens[index]
    display = token.meta["display"]
    # A wide formula scrolls sideways, so the keyboard must be able to reach it.
    focus = ' tabindex="0"' if display == "block" else ""
    return f'<span class="math" data-display="{display}"{focus}>{escape(token.content)}</span>'
