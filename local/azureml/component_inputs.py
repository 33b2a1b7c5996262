"""What a pipeline component takes: inputs by type, enum and minimum, required or optional.

A job carries every literal as text or as a JSON value; the service reads both by the declared
type. All problems of a job are found at once. Nothing here touches the network or the clock.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH_TYPES = frozenset(
    {"uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model", "triton_model"}
)
_BINDING = re.compile(r"^\$\{\{\s*parent\.(?P<side>inputs|outputs)\.(?P<name>\w+)\s*\}\}$")

Literal = str | int | float | bool


@dataclass(frozen=True, slots=True)
class GivenPath:
    """An input that names data: its declared type and its address."""

    type: str
    uri: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """A component's inputs as one job has them.

    Attributes:
        literals: Every literal with its default filled in, as the JSON type it is declared with.
        paths: The inputs that name data, where given.
    """

    literals: dict[str, Literal]
    paths: dict[str, GivenPath]


def binding(value: Any) -> tuple[str, str] | None:
    """`("inputs", "x")` for `${{parent.inputs.x}}`, outputs alike; None for the rest."""
    matched = _BINDING.match(value.strip()) if isinstance(value, str) else None
    return (matched["side"], matched["name"]) if matched else None


def bind(given: Mapping[str, Any], parent: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A step's inputs with every `${{parent.inputs.x}}` replaced by the pipeline's own input.

    Args:
        given: The step's `inputs` (`job_input_type` with `value` or `uri`).
        parent: The pipeline job's `inputs` (`jobInputType` with `value` or `uri`).

    Returns:
        The inputs by name, each `{"type", "value" or "uri"}`, and what is wrong.
    """
    bound: dict[str, Any] = {}
    problems: list[str] = []
    for name, entry in given.items():
        bound_to = binding(entry.get("value")) if isinstance(entry, dict) else None
        if bound_to is None:
            bound[name] = _entry(entry)
        elif bound_to[0] == "inputs" and bound_to[1] in parent:
            bound[name] = _entry(parent[bound_to[1]])
        elif bound_to[0] == "inputs":
            # The SDK leaves an input without a value out of the pipeline's inputs: not given.
            continue
        else:
            problems.append(f"input {name}: {entry['value']} is no input of the pipeline")
    return bound, problems


def _entry(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        return {"type": "literal", "value": entry}
    kind = entry.get("job_input_type") or entry.get("jobInputType") or entry.get("type")
    return {"type": kind, "value": entry.get("value"), "uri": entry.get("uri")}


def check_inputs(
    declared: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]
) -> tuple[Inputs, list[str]]:
    """Read a job's inputs by a component's declaration.

    Args:
        declared: The component's inputs: `type`, `default`, `enum`, `min`, `max`, `optional`.
        given: What `bind` returned.

    Returns:
        The inputs (whole only when there is no problem) and every problem, one line each.
    """
    literals: dict[str, Literal] = {}
    paths: dict[str, GivenPath] = {}
    problems = [f"input {name} is unknown" for name in given if name not in declared]
    for name, declaration in declared.items():
        entry = given.get(name)
        try:
            if declaration["type"] in PATH_TYPES:
                if entry is not None:
                    paths[name] = _path(declaration, entry)
            elif entry is not None:
                literals[name] = _literal(declaration, entry["value"])
            elif "default" in declaration:
                literals[name] = declaration["default"]
            if entry is None and not declaration.get("optional") and "default" not in declaration:
                problems.append(f"input {name} is required")
        except ValueError as problem:
            problems.append(f"input {name}: {problem}")
    return Inputs(literals, paths), problems


def _path(declaration: Mapping[str, Any], entry: Mapping[str, Any]) -> GivenPath:
    wanted, uri = declaration["type"], entry.get("uri")
    if not uri:
        raise ValueError(f"it is of type {wanted} and needs an address, not a literal")
    if entry["type"] != wanted:
        raise ValueError(f"it is of type {wanted}, given is {entry['type']}")
    return GivenPath(wanted, str(uri))


def _literal(declaration: Mapping[str, Any], value: Any) -> Literal:
    kind = declaration["type"]
    if value is None:
        raise ValueError(f"it is of type {kind} and needs a literal")
    read: Any = _READERS[kind](value)
    allowed = declaration.get("enum")
    if allowed and read not in allowed:
        raise ValueError(f"{value!r} is none of {', '.join(map(str, allowed))}")
    least, most = declaration.get("min"), declaration.get("max")
    if least is not None and read < least:
        raise ValueError(f"{value!r} is below the minimum {least}")
    if most is not None and read > most:
        raise ValueError(f"{value!r} is above the maximum {most}")
    made: Literal = read
    return made


def _integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(f"{value!r} is no integer")
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no integer") from None


def _number(value: Any) -> float:
    try:
        read = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        read = math.nan
    if not math.isfinite(read):
        raise ValueError(f"{value!r} is no number")
    return read


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is no text")
    return str(value)


def _boolean(value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise ValueError(f"{value!r} is neither true nor false")
    return text == "true"


_READERS = {"integer": _integer, "number": _number, "string": _text, "boolean": _boolean}
