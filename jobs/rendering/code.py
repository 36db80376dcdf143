"""Shows code in a box with its language, a copy button and colours by class."""

import re
import time
from collections.abc import Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.utils import EnvType
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES

# Fences are coloured in these languages only: others' lexers may not return from hostile code (C's cousin
# Objective-C, INI, MATLAB and OCaml take minutes for 20,000 characters).
LANGUAGES = frozenset(
    "bash sh shell console c c++ cpp csharp c# css clojure coq diff docker dockerfile elixir "  # noqa: SIM905
    "erlang fortran go graphql haskell html java javascript js json julia kotlin latex tex lean4 llvm lua "
    "make makefile php prolog python py python3 r rust rs ruby rb scala sql swift toml typescript ts xml "
    "yaml zig".split()
)
# The kinds of token, in Pygments' short names, for which the sheet has a colour.
COLOURED = frozenset(
    "k kc kd kn kp kr kt ow nf nc fm nd nt na nb bp nv vc vi s s1 s2 sa sb sc sd "  # noqa: SIM905
    "se sh si sr gi gd c c1 ch cm cp cs m mi mf mh mo mb il".split()
)
LONGEST = 50_000  # characters of one block that are coloured at all
BUDGET = 1.0  # seconds of CPU for all blocks of one answer
CHECKED = 50  # tokens between two looks at the clock
# Several lexers take a minute for one match over 20,000 blanks.
BLANKS = re.compile(r"\s{400}")


def install(markdown: MarkdownIt) -> None:
    """Teach the renderer code boxes."""
    markdown.add_render_rule("fence", _html)
    markdown.add_render_rule("code_block", _html)


def _html(_renderer: object, tokens: Sequence[Token], index: int, _options: object, env: EnvType) -> str:
    token = tokens[index]
    words = token.info.split(maxsplit=1)
    language = words[0][:30] if words else ""
    return (
        f'<figure class="codebox"><figcaption class="cap"><span>{escape(language or "code")}</span>'
        '<button class="btn quiet" type="button" data-copy-code="">Copy</button></figcaption>'
        f'<pre tabindex="0"><code>{_coloured(token.content, language.lower(), env)}</code></pre></figure>\n'
    )


def _coloured(code: str, language: str, env: EnvType) -> str:
    """Return code with Pygments' classes, or without any when that would cost too much."""
    left = env.setdefault("budget", BUDGET)
    if language not in LANGUAGES or len(code) > LONGEST or left <= 0 or BLANKS.search(code):
        return escape(code)
    began = time.thread_time()
    html = _spans(code, get_lexer_by_name(language, stripnl=False, ensurenl=False), began + left)
    env["budget"] = left - (time.thread_time() - began)
    return html


def _spans(code: str, lexer: Lexer, deadline: float) -> str:
    parts: list[str] = []
    done = 0
    for count, (start, kind, text) in enumerate(lexer.get_tokens_unprocessed(code)):
        if start != done:
            return escape(code)  # a lexer that skips or moves text would show what nobody wrote
        done += len(text)
        css_class = _css_class(kind)
        parts.append(f'<span class="{css_class}">{escape(text)}</span>' if css_class else escape(text))
        if count % CHECKED == 0 and time.thread_time() > deadline:
            break
    return "".join([*parts, escape(code[done:])])


def _css_class(kind: Any) -> str:
    """Return the class of the nearest kind of token that has a colour, or nothing."""
    while kind is not None:
        css_class = STANDARD_TYPES.get(kind, "")
        if css_class in COLOURED:
            return css_class
        kind = kind.parent
    return ""
