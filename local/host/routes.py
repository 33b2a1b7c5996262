"""ASP.NET route templates, which HTTP triggers use: constraints, optional parts, precedence.

Source: https://learn.microsoft.com/aspnet/core/fundamentals/routing
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[str], bool]

_PARAMETER: Final = re.compile(r"(?P<all>\*{0,2})(?P<name>[A-Za-z_][\w-]*)(?P<rest>.*)", re.DOTALL)
_CONSTRAINT: Final = re.compile(
    r":(?P<name>[A-Za-z]+)(?:\((?P<arguments>.*?)\))?(?=:|=|$)", re.DOTALL
)
_LONG: Final = 2**63
_INT: Final = 2**31


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    catch_all: bool
    optional: bool
    default: str | None
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class RouteTemplate:
    """A compiled template.

    Attributes:
        text: As it was written, prefix included.
        precedence: Smaller is tried first: literal parts before constrained ones before free ones.
        is_literal: Whether only one path matches.
    """

    text: str
    precedence: tuple[int, ...]
    is_literal: bool
    _pattern: re.Pattern[str]
    _parameters: tuple[_Parameter, ...]

    def match(self, path: str) -> dict[str, str] | None:
        """The route values of a raw (percent-encoded) path, or None if it is another route's."""
        found = self._pattern.fullmatch(path.rstrip("/") or "/")
        if found is None:
            return None
        values: dict[str, str] = {}
        for position, parameter in enumerate(self._parameters):
            raw = found[f"p{position}"]
            value = parameter.default if not raw else unquote(raw)
            if value is None:
                continue
            if not all(check(value) for check in parameter.checks):
                return None
            values[parameter.name] = value
        return values


def compile_route(template: str) -> RouteTemplate:
    """Compile a template such as `api/runs/{id:int?}`.

    Raises:
        ValueError: ASP.NET would refuse it; the message says where.
    """
    parameters: list[_Parameter] = []
    precedence: list[int] = []
    pattern = ""
    segments = _segments(template.strip("/"))
    for position, segment in enumerate(segments):
        text, digit = _segment(segment, parameters, last=position == len(segments) - 1)
        pattern += text
        precedence.append(digit)
    names = [parameter.name.lower() for parameter in parameters]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the route parameter '{name}' appears twice")
    compiled = re.compile(pattern or "/", re.IGNORECASE)
    return RouteTemplate(template, tuple(precedence), not parameters, compiled, tuple(parameters))


def _segments(template: str) -> list[list[tuple[bool, str]]]:
    """Split into segments, each a list of (is parameter, text); `{{` and `}}` are plain braces."""
    segments: list[list[tuple[bool, str]]] = [[]]
    literal, position = "", 0

    def end_literal() -> None:
        nonlocal literal
        if literal:
            segments[-1].append((False, literal))
        literal = ""

    while position < len(template):
        char = template[position]
        if template.startswith(("{{", "}}"), position):
            literal += char
            position += 1
        elif char == "{":
            end_literal()
            stop = _closing_brace(template, position)
            inner = template[position + 1 : stop].replace("{{", "{").replace("}}", "}")
            segments[-1].append((True, inner))
            position = stop
        elif char == "}":
            raise ValueError(f"the route '{template}' has a '}}' without its '{{'")
        elif char == "/":
            end_literal()
            if not segments[-1]:
                raise ValueError(f"the route '{template}' has an empty part")
            segments.append([])
        else:
            literal += char
        position += 1
    end_literal()
    return [segment for segment in segments if segment]


def _closing_brace(template: str, opening: int) -> int:
    position = opening + 1
    while position < len(template):
        if template.startswith(("{{", "}}"), position):
            position += 2
        elif template[position] == "}":
            return position
        else:
            position += 1
    raise ValueError(f"the route '{template}' has a '{{' without its '}}'")


def _segment(
    parts: list[tuple[bool, str]], parameters: list[_Parameter], *, last: bool
) -> tuple[str, int]:
    """The pattern of one segment with its slash, and its digit of precedence."""
    if len(parts) == 1:
        is_parameter, text = parts[0]
        if not is_parameter:
            return "/" + _literal(text), 1
        parameter = _parameter(text)
        group = f"p{len(parameters)}"
        parameters.append(parameter)
        if parameter.catch_all:
            if not last:
                raise ValueError(f"the catch-all '{{{text}}}' must be the last part of a route")
            return f"(?:/(?P<{group}>.*))?", 4 if parameter.checks else 5
        digit = 2 if parameter.checks else 3
        if parameter.optional or parameter.default is not None:
            if parameter.optional and not last:
                raise ValueError(f"'{{{text}}}' is optional, so it must be the last part")
            return f"(?:/(?P<{group}>[^/]+))?", digit
        return f"/(?P<{group}>[^/]+)", digit
    return "/" + _complex(parts, parameters), 2


def _complex(parts: list[tuple[bool, str]], parameters: list[_Parameter]) -> str:
    """A segment of several parts, such as `{name}.{extension?}`."""
    pattern = ""
    for position, (is_parameter, text) in enumerate(parts):
        if not is_parameter:
            pattern += _literal(text)
            continue
        if position and parts[position - 1][0]:
            raise ValueError(f"'{{{text}}}' follows another parameter with nothing in between")
        parameter = _parameter(text)
        name = f"p{len(parameters)}"
        parameters.append(parameter)
        if parameter.catch_all:
            raise ValueError(f"the catch-all '{{{text}}}' must be a part of its own")
        if parameter.optional:
            if position != len(parts) - 1 or not pattern.endswith(r"\."):
                raise ValueError(f"the optional '{{{text}}}' may only follow a '.' at the end")
            pattern = pattern.removesuffix(r"\.") + rf"(?:\.(?P<{name}>[^/.]+))?"
        else:
            # What may follow a last dot belongs to the optional part, so leave it that.
            pattern += f"(?P<{name}>[^/]+{'?' if parts[-1][1].endswith('?') else ''})"
    return pattern


def _literal(text: str) -> str:
    """Match the text whether or not its characters are percent-encoded in the path."""
    return "".join(
        re.escape(char)
        if char.isascii() and (char.isalnum() or char in "-._~")
        else f"(?:{re.escape(char)}|{''.join(f'%{byte:02x}' for byte in char.encode())})"
        for char in text
    )


def _parameter(text: str) -> _Parameter:
    found = _PARAMETER.fullmatch(text)
    if found is None:
        raise ValueError(f"'{{{text}}}' is not a route parameter")
    rest = found["rest"]
    optional = rest.endswith("?")
    rest = rest.removesuffix("?")
    checks: list[Check] = []
    while rest.startswith(":"):
        constraint = _CONSTRAINT.match(rest)
        if constraint is None:
            raise ValueError(f"'{{{text}}}': its constraint cannot be read")
        checks.append(_check(constraint["name"], constraint["arguments"]))
        rest = rest[constraint.end() :]
    if rest and not rest.startswith("="):
        raise ValueError(f"'{{{text}}}' is not a route parameter")
    default = rest[1:] if rest else None
    if optional and default is not None:
        raise ValueError(f"'{{{text}}}' is optional and has a default; it can have one of them")
    return _Parameter(found["name"], bool(found["all"]), optional, default, tuple(checks))


def _check(name: str, arguments: str | None) -> Check:
    """The predicate of one inline constraint."""
    plain = _PLAIN.get(name.lower())
    if plain is not None and not arguments:
        return plain
    if name.lower() == "regex" and arguments:
        pattern = re.compile(arguments, re.IGNORECASE)
        return lambda value: pattern.search(value) is not None
    made = _NUMERIC.get((name.lower(), (arguments or "").count(",") + 1 if arguments else 0))
    if made is None:
        raise ValueError(f"'{name}({arguments or ''})' is not a route constraint")
    try:
        return made(*(int(part) for part in (arguments or "").split(",")))
    except ValueError:
        raise ValueError(f"the constraint {name}({arguments}) needs whole numbers") from None


def _converts(convert: Callable[[str], object]) -> Check:
    def check(value: str) -> bool:
        try:
            convert(value)
        except ValueError:
            return False
        return True

    return check


def _whole(value: str, bound: int) -> bool:
    return re.fullmatch(r"[+-]?\d+", value) is not None and -bound <= int(value) < bound


_PLAIN: Final[dict[str, Check]] = {
    "int": lambda value: _whole(value, _INT),
    "long": lambda value: _whole(value, _LONG),
    "bool": lambda value: value.lower() in ("true", "false"),
    "decimal": _converts(float),
    "double": _converts(float),
    "float": _converts(float),
    "datetime": _converts(datetime.fromisoformat),
    "guid": _converts(uuid.UUID),
    "alpha": lambda value: re.fullmatch(r"[A-Za-z]*", value) is not None,
    "required": bool,
    "file": lambda value: "." in value.rpartition("/")[2],
    "nonfile": lambda value: "." not in value.rpartition("/")[2],
}
_NUMERIC: Final[dict[tuple[str, int], Callable[..., Check]]] = {
    ("minlength", 1): lambda low: lambda value: len(value) >= low,
    ("maxlength", 1): lambda high: lambda value: len(value) <= high,
    ("length", 1): lambda size: lambda value: len(value) == size,
    ("length", 2): lambda low, high: lambda value: low <= len(value) <= high,
    ("min", 1): lambda low: lambda value: _whole(value, _LONG) and int(value) >= low,
    ("max", 1): lambda high: lambda value: _whole(value, _LONG) and int(value) <= high,
    ("range", 2): lambda low, high: (
        lambda value: _whole(value, _LONG) and low <= int(value) <= high
    ),
}
