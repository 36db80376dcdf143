"""Where Azure's v1 endpoint is another than OpenAI's: its paths, deployments, errors, and what it forgets."""

from typing import Any

from aiohttp import web

from jobs.sandbox.errors import Refused, bad_request

ROOT = "/openai/v1/"
DEPLOYMENT = (
    "deployment-"  # and a model: a deployment that this account has; each model has one of its name too
)
_DENIED = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key "
    "for an active subscription and use a correct regional API endpoint for your resource."
)
_NO_DEPLOYMENT = (
    "The API deployment for this resource does not exist. If you created the deployment within the last 5 "
    "minutes, please wait a moment and try again."
)
_TOO_MANY = (
    "Requests to the Responses_Create Operation under Azure OpenAI API version v1 have exceeded call rate "
    "limit of your current AIServices S0 pricing tier. Please retry after {} seconds."
)
_FILTERED = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please "
    "modify your prompt and retry."
)


def is_asked(request: web.Request) -> bool:
    """Tell whether a request came in by one of Azure's paths."""
    return request.path.startswith(ROOT)


def model_of(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body with the model behind the deployment that it names."""
    name = body.get("model")
    return body | {"model": name.removeprefix(DEPLOYMENT)} if isinstance(name, str) else body


def check_outputs(body: dict[str, Any]) -> None:
    """Refuse files in the output of a call.

    Raises:
        Refused: 400, an output is a list.
    """
    items = body.get("input")
    for number, item in enumerate(items if isinstance(items, list) else []):
        if isinstance(item, dict) and isinstance(item.get("output"), list):
            raise bad_request(
                f"Invalid type for 'input[{number}].output': expected a string, but got an array instead.",
                param=f"input[{number}].output",
                code="invalid_type",
            )


def error_of(refused: Refused) -> dict[str, Any]:
    """Return the body of a refusal as Azure's gateway, or the model behind it, writes it."""
    if refused.status == 401:
        return {"error": {"code": "401", "message": _DENIED}}
    if refused.code == "model_not_found":
        return {"error": {"code": "DeploymentNotFound", "message": _NO_DEPLOYMENT}}
    if refused.status in (404, 405) and refused.message.startswith(("Invalid URL", "Not allowed")):
        return {"error": {"code": "404", "message": "Resource not found"}}
    if refused.status == 429 and refused.code == "rate_limit_exceeded":
        wait = refused.headers.get("Retry-After", "60")
        return {"error": {"code": "429", "message": _TOO_MANY.format(wait)}}
    if refused.code == "content_filter":
        found = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}}
        error = {
            "code": "content_filter",
            "message": _FILTERED,
            "param": "prompt",
            "type": None,
            "status": 400,
        }
        return {"error": error | {"innererror": found}}
    return refused.body()
