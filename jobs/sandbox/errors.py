"""Errors in OpenAI's shapes: what the API answers instead of a response."""

from typing import Any


class Refused(Exception):
    """An answer other than 200: HTTP status, the four keys of an error, extra headers."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type_: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
        plain: str | None = None,
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.message = message
        self.type = type_
        self.param = param
        self.code = code
        self.headers = headers or {}
        self.plain = plain

    def body(self) -> dict[str, Any]:
        """Return the JSON body; all four keys are always there."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> Refused:
    """Return a 400 of type invalid_request_error."""
    return Refused(400, message, param=param, code=code)


def invalid_key() -> Refused:
    """Return the 401 for a missing or wrong key; it never repeats the key."""
    return Refused(
        401,
        "Incorrect API key provided. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
    )


def not_an_admin_key() -> Refused:
    """Return the 403 for an ordinary key at an organization endpoint."""
    return Refused(
        403,
        "You have insufficient permissions for this operation. Missing scopes: api.usage.read.",
        code="insufficient_permissions",
    )


def unknown_model(name: str) -> Refused:
    """Return the 404 for a model that does not exist."""
    return Refused(
        404,
        f"The model `{name}` does not exist or you do not have access to it.",
        param="model",
        code="model_not_found",
    )


def model_gone(name: str) -> Refused:
    """Return the 404 for a model past its shutdown day."""
    return Refused(
        404,
        f"The model `{name}` has been deprecated, learn more here: "
        "https://platform.openai.com/docs/deprecations",
        param="model",
        code="model_not_found",
    )


def unknown_response(response_id: str) -> Refused:
    """Return the 404 for an id that is not there (any more, or yet)."""
    return Refused(404, f"Response with id '{response_id}' not found.")


def unknown_url(method: str, path: str) -> Refused:
    """Return the 404 for a path the API does not have."""
    return Refused(404, f"Invalid URL ({method} {path})")


def server_error() -> Refused:
    """Return the 500 whose cause the API keeps to itself."""
    return Refused(
        500,
        "The server had an error while processing your request. Sorry about that!",
        type_="server_error",
        code="server_error",
    )


def on_demand(word: str, *, model: str, code: str | None, retry_after: str | None) -> Refused:
    """Return the answer the directive `http=word` or a global fault asks for.

    `429_quota` carries the type insufficient_quota; the `_plain` words are bodies without an OpenAI
    error, as a proxy would send them.
    """
    headers = {"Retry-After": retry_after} if retry_after else {}
    match word:
        case "307":
            location = {"Location": "http://127.0.0.1:9/v1/responses"}
            return Refused(307, "Temporary Redirect", headers=location, plain="Temporary Redirect")
        case "400":
            return bad_request("The request was refused by a directive.", param="input", code=code)
        case "401":
            return invalid_key()
        case "403":
            return Refused(
                403,
                f"Project `proj_practice` does not have access to model `{model}`",
                param="model",
                code=code or "model_not_found",
            )
        case "404":
            return unknown_model(model)
        case "403_plain":
            return Refused(403, "Forbidden", plain="<html><h1>403 Forbidden</h1></html>")
        case "404_plain":
            return Refused(404, "Not Found", plain="<html><h1>404 Not Found</h1></html>")
        case "405":
            return Refused(405, "Not Allowed", plain="<html><h1>405 Not Allowed</h1></html>")
        case "408":
            return Refused(408, "Request timed out.", type_="server_error", code=code, headers=headers)
        case "409":
            return Refused(409, "The request conflicts with another one.", code=code, headers=headers)
        case "429":
            return Refused(
                429,
                f"Rate limit reached for {model} in organization org-practice on requests per min (RPM).",
                type_="requests",
                code=code or "rate_limit_exceeded",
                headers=headers,
            )
        case "429_quota":
            return Refused(
                429,
                "You exceeded your current quota, please check your plan and billing details.",
                type_="insufficient_quota",
                code=code or "credit_balance_exhausted",
                headers=headers,
            )
        case "502":
            return Refused(502, "Bad Gateway", plain="<html><h1>502 Bad Gateway</h1></html>")
        case "503":
            return Refused(
                503,
                "The server is currently overloaded with other requests. Please retry later.",
                type_="service_unavailable_error",
                code=code or "server_is_overloaded",
                headers=headers,
            )
        case _:
            return server_error()
