"""Checks the formats of strict mode; jsonschema knows only some of them without further packages."""

import datetime as dt
import ipaddress
import re
from collections.abc import Callable
from functools import partial

from jsonschema import FormatChecker

_TIME = r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d{1,12})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_SHAPES = {
    "time": re.compile(_TIME, re.IGNORECASE | re.ASCII),
    "date": re.compile(r"\d{4}-\d\d-\d\d", re.ASCII),
    "date-time": re.compile(rf"\d{{4}}-\d\d-\d\dT{_TIME}", re.IGNORECASE | re.ASCII),
    "duration": re.compile(
        r"P(?=.)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?)", re.ASCII
    ),
    "email": re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}"),
    "hostname": re.compile(rf"{_LABEL}(\.{_LABEL})*", re.IGNORECASE | re.ASCII),
    "uuid": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII),
}
FORMATS = FormatChecker(formats=())


def _of_shape(name: str, value: str) -> bool:
    if len(value) > 300 or not _SHAPES[name].fullmatch(value):
        return False
    if name in {"date", "date-time"}:
        dt.date.fromisoformat(value[:10])
    return True


def _register(name: str, check: Callable[[str], object]) -> None:
    def tell(value: object) -> bool:
        return not isinstance(value, str) or bool(check(value))

    FORMATS.checks(name, raises=ValueError)(tell)


for _name in _SHAPES:
    _register(_name, partial(_of_shape, _name))
_register("ipv4", ipaddress.IPv4Address)
_register("ipv6", ipaddress.IPv6Address)
