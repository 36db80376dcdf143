"""Checks what is written as JSON on the new-job page, the schema and the tools, and mends it at a click."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from jobs import schemas
from jobs.forms.new_job import tools_in
from jobs.lifecycle.tools import MOST_TOOLS, TOO_MANY, faults, parameters_of
from jobs.models import Price, Project
from jobs.schemas import SchemaTextError
from jobs.views.frame import fragment, frame_of
from jobs.views.panel import Offer

SHOWN = 8  # problems listed at once; the others come up as these go
REFUSED = "These tools would be refused."
ALL = "all"  # what a button names instead of one problem
CODE = "<code>{}</code>"
_QUOTED = r'"[^"]{1,60}"(?:: (?:false|"[^"]{1,20}"))?'


@dataclass(frozen=True, slots=True)
class Row:
    """One problem: the line it is marked on (0 for none), in words, and the key by which it can be mended."""

    line: int
    words: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """What is wrong with a text: `name` is its field, `verdict` is what its problems mean.

    `mended` is a text that a click asked for, None where it asked for none.
    """

    name: str
    text: str
    rows: tuple[Row, ...] = ()
    verdict: str = ""
    fits: str = ""
    mended: str | None = None

    @property
    def shown(self) -> tuple[Row, ...]:
        return self.rows[:SHOWN]

    @property
    def more(self) -> int:
        """How many problems are not listed."""
        return len(self.rows) - len(self.shown)

    @property
    def marks(self) -> list[int]:
        """The lines with a problem, each once."""
        return sorted({row.line for row in self.rows})

    @property
    def lines(self) -> range:
        """The numbers of the lines."""
        return range(1, self.text.count("\n") + 2)

    @property
    def fix(self) -> str:
        """What the button says that mends all it can; '' where that is not more than one."""
        count = sum(bool(row.key) for row in self.rows)
        return {0: "", 1: "", 2: "Fix both"}.get(count, f"Fix all {count}")


@fragment
@sensitive_post_parameters()
@require_POST
def check(request: HttpRequest, name: str) -> HttpResponse:
    """Say what is wrong with one of the texts as it is typed; with `fix`, mend it."""
    text = request.POST.get(name, "").replace("\r\n", "\n")
    fix = request.POST.get(f"fix_{name}", "")
    if name == "schema":
        found = schema_check(text, fix)
    else:
        offer = Offer.to(frame_of(request))
        price = offer.prices.get(request.POST.get("model", ""))
        project = offer.projects.get(request.POST.get("project", ""))
        found = tools_check(text, price, project, fix)
    return render(request, "_editor.html#answer", {"check": found})


def schema_check(text: str, fix: str = "") -> Check:
    """Look at a schema's text; `fix` is the key of the problem to mend, or `ALL`."""
    if not text.strip():
        return Check("schema", text)
    try:
        schema = schemas.parse(text)
    except SchemaTextError as error:
        return _no_json("schema", text, error)
    problems = schemas.problems(schema)
    wanted = [problem for problem in problems if fix in (ALL, problem.key)]
    if wanted:
        mended = schemas.fixed(text, wanted)
        return replace(schema_check(mended), mended=mended)
    root = schemas.scan(text)
    rows = [
        Row(schemas.line_of(text, root, one), _in_code(one), one.key if one.fixable else "")
        for one in problems
    ]
    return Check("schema", text, _by_line(rows), "OpenAI would refuse this schema.", "Fits the strict rules.")


def tools_check(text: str, price: Price | None, project: Project | None, fix: str = "") -> Check:
    """Look at the text of tools, as a model and a project's connection take them."""
    if not text.strip():
        return Check("tools", text)
    try:
        tools = tools_in(text)
    except SchemaTextError as error:
        return _no_json("tools", text, error)
    if len(tools) > MOST_TOOLS:
        return Check("tools", text, (Row(1, TOO_MANY),), REFUSED)
    root = schemas.scan(text)
    is_list = text.lstrip().startswith("[")
    told: Mapping[int, str] = {}
    if price is not None and project is not None:
        told = dict(faults(tools, spec=price.model, price=price, kind=project.connection.kind))
    rows: list[Row] = []
    wanted: list[schemas.Problem] = []
    for place, tool in enumerate(tools):
        at: schemas.Steps = (place,) if is_list else ()
        parameters = parameters_of(tool)
        problems = schemas.problems(parameters) if parameters is not None else []
        below = (*at, "parameters")
        keys = {problem: f"{place} {problem.key}" for problem in problems}
        chosen = (one for one in problems if fix in (ALL, keys[one]))
        wanted += (replace(one, at=(*below, *one.at)) for one in chosen)
        here = [
            Row(
                schemas.line_of(text, root, replace(one, at=(*below, *one.at))),
                _in_code(one),
                keys[one] if one.fixable else "",
            )
            for one in problems
        ]
        fault = told.get(place, "")
        if fault and not (problems and fault.endswith(problems[0].message)):
            rows.append(Row(text.count("\n", 0, root.inside(at).start) + 1, escape(fault)))
        rows += here
    # All at once: the whole text is read for it.
    mended = schemas.fixed(text, wanted) if wanted else text
    if mended != text:
        return replace(tools_check(mended, price, project), mended=mended)
    return Check("tools", text, _by_line(rows), REFUSED, "Fit the rules.")


def _by_line(rows: list[Row]) -> tuple[Row, ...]:
    return tuple(sorted(rows, key=lambda row: row.line))


def _no_json(name: str, text: str, error: SchemaTextError) -> Check:
    return Check(name, text, (Row(error.line, escape(str(error))),))


def _in_code(problem: schemas.Problem) -> SafeString:
    """Return a problem's sentence with what is the schema's own set as code."""
    own = {problem.path, problem.keyword, "null" if problem.rule == "required" else ""} - {""}
    words = (rf"(?<![\w.]){re.escape(word)}(?!\w)" for word in sorted(own, key=len, reverse=True))
    parts = re.split(f"({'|'.join([_QUOTED, *words])})", problem.message)
    # A field's name may be a word of the sentence as well: it is named once.
    once = parts.index(problem.path) if problem.path in parts[1::2] else -1
    is_code = [place % 2 and (part != problem.path or place == once) for place, part in enumerate(parts)]
    pieces = (format_html(CODE if code else "{}", part) for part, code in zip(parts, is_code, strict=True))
    return SafeString("".join(pieces))
