"""Says which tools a job may be given: functions of one's own, and those of the API that can be priced."""

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from jobs import schemas
from jobs.models import Kind, ModelSpec, Price
from jobs.schemas.reading import LIMIT, UNSTORABLE, walk

BUILT_IN = {"web_search": "web search", "file_search": "file search", "mcp": "MCP"}
MOST_TOOL_CALLS = 100  # by one job; each may read the whole context again
MOST_TOOLS = 128  # of one job, as functions had it in the API before; each is looked through and mended alone
TOO_MANY = f"At most {MOST_TOOLS} tools a job."
_FUNCTION_FIELDS = {"type", "name", "description", "parameters", "strict"}
_FIELDS = {
    "web_search": {"type", "search_context_size", "filters", "user_location"},
    "file_search": {"type", "vector_store_ids", "max_num_results"},
    "mcp": {"type", "server_label", "server_url", "server_description", "allowed_tools", "require_approval"},
}
_SECRETS = {"authorization", "headers"}


def normalised(tools: Sequence[Any]) -> list[Any]:
    """Return tools with what the API would else choose: strict functions, and approval of every MCP call."""
    return [
        {"strict": True, **tool}
        if _type(tool) == "function"
        else {"require_approval": "always", **tool}
        if _type(tool) == "mcp"
        else tool
        for tool in tools
    ]


def built_in(tools: Sequence[Any]) -> list[str]:
    """Return the kinds of tools that the API runs by itself, each once."""
    return [kind for kind in BUILT_IN if any(_type(tool) == kind for tool in tools)]


def billed_calls(
    tools: Sequence[Any], max_tool_calls: int | None, fees: Mapping[str, Decimal]
) -> dict[str, int]:
    """Return the dearest calls that a response may make: their number is limited over all tools together."""
    kinds = built_in(tools)
    if not kinds or not max_tool_calls:
        return {}
    return {max(kinds, key=lambda kind: fees.get(kind, Decimal(0))): max_tool_calls}


def problems(
    tools: Sequence[Any], max_tool_calls: int | None, *, spec: ModelSpec, price: Price, kind: str
) -> dict[str, str]:
    """Return what is in the way of sending tools to a model through a connection of a kind, by field."""
    found = {}
    sentences = [sentence for _place, sentence in faults(tools, spec=spec, price=price, kind=kind)]
    if sentences:
        more = f" And {len(sentences) - 1} more." if len(sentences) > 1 else ""
        found["tools"] = f"{sentences[0]}{more}"
    if built_in(tools):
        if max_tool_calls is None or not 1 <= max_tool_calls <= MOST_TOOL_CALLS:
            found["max_tool_calls"] = f"1 to {MOST_TOOL_CALLS} calls: each may read the whole context again."
    elif max_tool_calls is not None:
        found["max_tool_calls"] = "A limit of calls needs a tool that the API runs itself."
    return found


def faults(tools: Sequence[Any], *, spec: ModelSpec, price: Price, kind: str) -> Iterator[tuple[int, str]]:
    """Yield what is wrong with tools, at most one sentence each, with the tool's place from 0."""
    if len(json.dumps(tools)) > LIMIT or any(
        isinstance(text, str) and UNSTORABLE.search(text) for text, _depth in walk(list(tools))
    ):
        yield 0, f"Tools have at most {LIMIT:,} characters, none of them NUL or half a character."
        return
    if len(tools) > MOST_TOOLS:
        yield 0, TOO_MANY
        return
    seen: set[str] = set()
    for place, tool in enumerate(tools):
        name = _type(tool)
        if name == "function":
            about = _of_function(tool, spec)
            label = str(tool.get("name") or "")[:64]
        elif name in BUILT_IN:
            about = _of_built_in(tool, name, spec=spec, price=price, kind=kind)
            label = str(tool.get("server_label") or "")[:64] if name == "mcp" else name
        else:
            about, label = _of_unknown(tool), ""
        where = f"Tool {place + 1} ({label})" if label else f"Tool {place + 1}"
        if about:
            yield place, f"{where}: {about}"
        elif label in seen:
            yield place, f"{where}: the name is taken by another tool."
        seen.add(label)


def parameters_of(tool: Any) -> dict[str, Any] | None:
    """Return the schema of a function's arguments, where the strict rules hold for one; else None."""
    if _type(tool) != "function" or not tool.get("strict", True):
        return None
    parameters = tool.get("parameters")
    return parameters if isinstance(parameters, dict) else None


def withheld(name: str, *, spec: ModelSpec, price: Price, kind: str) -> str:
    """Say why a model has no tool of the API (a key of `BUILT_IN`) through a connection; '' if it has it."""
    words = BUILT_IN[name]
    if name not in spec.capabilities:
        return f"{spec.pk} has no {words}."
    # A fee that nobody has established is not nothing: the ceiling would not hold.
    if kind != Kind.OPENAI:
        return f"what {words} costs at this connection is not known, so it cannot be bounded."
    if name not in price.tool_fees:
        return f"the price of {spec.pk} has no fee for {words} yet, so it cannot be bounded."
    return ""


def unbounded(tools: Sequence[Any], *, spec: ModelSpec, price: Price, kind: str) -> str:
    """Say why what tools of the API cost a model is not bounded through a connection; '' if it is."""
    reasons = (withheld(name, spec=spec, price=price, kind=kind) for name in built_in(tools))
    return next(filter(None, reasons), "")


def host_of(tools: Sequence[Any] | None, server_label: str) -> str:
    """Return the host to which an MCP server's label sends arguments; '' if the tools do not name it."""
    for tool in tools or ():
        if _type(tool) == "mcp" and tool.get("server_label") == server_label:
            return urlsplit(str(tool.get("server_url"))).hostname or ""
    return ""


def _of_function(tool: dict[str, Any], spec: ModelSpec) -> str:
    """Say what is wrong with a function; '' if nothing is."""
    if "functions" not in spec.capabilities:
        return f"{spec.pk} calls no functions."
    if "function" in tool:
        return 'write "name" and "parameters" beside "type", not inside "function".'
    if "input_schema" in tool:
        return 'the schema of a function is called "parameters" here, not "input_schema".'
    if unknown := sorted(tool.keys() - _FUNCTION_FIELDS):
        return f'"{unknown[0][:40]}" is no field of a function.'
    if not schemas.name_ok(tool.get("name")):
        return "a name has 1 to 64 letters, digits, - or _."
    if not isinstance(tool.get("description", ""), str):
        return "the description is a text."
    if not isinstance(tool.get("strict", True), bool):
        return '"strict" is true or false.'
    parameters = tool.get("parameters")
    if not isinstance(parameters, dict):
        return '"parameters" is the JSON schema of its arguments.'
    if not tool.get("strict", True):
        return "" if parameters.get("type") == "object" else 'set "type": "object" in "parameters".'
    wrong = schemas.problems(parameters)
    return wrong[0].message if wrong else ""


def _of_built_in(tool: dict[str, Any], name: str, *, spec: ModelSpec, price: Price, kind: str) -> str:
    """Say what is wrong with a tool of the API; '' if nothing is."""
    words = BUILT_IN[name]
    if reason := withheld(name, spec=spec, price=price, kind=kind):
        return reason
    if name == "mcp" and (secret := sorted(tool.keys() & _SECRETS)):
        return f'leave out "{secret[0]}": no secrets are kept for tools. Name a server that needs none.'
    if unknown := sorted(tool.keys() - _FIELDS[name]):
        return f'"{unknown[0][:40]}" is not supported for {words}.'
    return {"web_search": _of_web_search, "file_search": _of_file_search, "mcp": _of_mcp}[name](tool)


def _of_web_search(tool: dict[str, Any]) -> str:
    if tool.get("search_context_size", "medium") not in ("low", "medium", "high"):
        return '"search_context_size" is low, medium or high.'
    for name in ("filters", "user_location"):
        if not isinstance(tool.get(name, {}), dict):
            return f'"{name}" is a JSON object.'
    return ""


def _of_file_search(tool: dict[str, Any]) -> str:
    if not _are_names(tool.get("vector_store_ids")):
        return '"vector_store_ids" lists the vector stores to search.'
    most = tool.get("max_num_results", 1)
    if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= 50:
        return '"max_num_results" is 1 to 50.'
    return ""


def _of_mcp(tool: dict[str, Any]) -> str:
    if not schemas.name_ok(tool.get("server_label")):
        return '"server_label" has 1 to 64 letters, digits, - or _.'
    if not _is_address(tool.get("server_url")):
        return '"server_url" is an https:// address without a user name.'
    if not isinstance(tool.get("server_description", ""), str):
        return '"server_description" is a text.'
    if "allowed_tools" in tool and not _are_names(tool["allowed_tools"]):
        return '"allowed_tools" lists the names of tools.'
    if tool.get("require_approval", "always") not in ("always", "never"):
        return '"require_approval" is always or never.'
    return ""


def _of_unknown(tool: Any) -> str:
    if not isinstance(tool, dict):
        return "a tool is a JSON object."
    return f'the type is "function", "{'", "'.join(BUILT_IN)}", nothing else.'


def _type(tool: Any) -> str:
    found = tool.get("type") if isinstance(tool, dict) else None
    return found if isinstance(found, str) else ""


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) and name for name in value)


def _is_address(value: Any) -> bool:
    try:
        url = urlsplit(value) if isinstance(value, str) else None
    except ValueError:
        return False
    return url is not None and url.scheme == "https" and bool(url.hostname) and not url.username
