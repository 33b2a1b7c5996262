"""Azure's types of a resource, and how a request body is read by them.

`seed/types.json` has the facts of API version 2025-12-01. A body is read as the service's front end
reads it: names of properties and values of enums in any case; what is read-only or unknown is
ignored (a client may send back what it got, and a newer client may know more); a number where text
belongs is its text (azure-ai-ml sends `"hash_version": 202208`). What is required and missing, or
of another type, or no value of its enum, is refused, all of it at once. The answer to a bad enum is
quoted by users of the real service; the other texts say the same in the same envelope.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

from local.azureml.wire import ArmError, json_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

_LEAVES: dict[str, type] = {"string": str, "int": int, "bool": bool}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a type.

    Attributes:
        type: `string`, `int`, `bool`, `any` or the name of a type.
        enum: The values of a string that has only some.
        depth: How many lists are around it.
        required: Whether a body must have it.
        read_only: Whether only the service writes it.
        write_only: Whether the service never shows it.
    """

    type: str
    enum: tuple[str, ...] = ()
    depth: int = 0
    required: bool = False
    read_only: bool = False
    write_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Field:
        """A field as `seed/types.json` writes it, such as `'Key'|'AMLToken' required`."""
        head, *flags = text.split(" ")
        kind = head.rstrip("[]")
        return cls(
            type="string" if kind.startswith("'") else kind,
            enum=tuple(re.findall(r"'([^']*)'", kind)),
            depth=head.count("[]"),
            required="required" in flags,
            read_only="readOnly" in flags,
            write_only="writeOnly" in flags,
        )


@dataclass(frozen=True, slots=True)
class Type:
    """An object.

    Attributes:
        fields: Its fields by name.
        values: What every key of a free object holds; None for an object that is not free.
        kind: The field that tells the kinds apart, if there are kinds.
        kinds: The further fields of each kind; None for one that is known and not emulated.
    """

    fields: Mapping[str, Field] = field(default_factory=dict)
    values: Field | None = None
    kind: str | None = None
    kinds: Mapping[str, Mapping[str, Field] | None] = field(default_factory=dict)


@functools.cache
def types() -> dict[str, Type]:
    """Every type by its name; a resource's name is its type without the provider."""
    path = resources.files("local.azureml").joinpath("seed/types.json")
    return {
        name: _parse(body) for name, body in json.loads(path.read_text("utf-8"))["types"].items()
    }


def _parse(body: dict[str, Any]) -> Type:
    return Type(
        fields=_fields(body.get("fields", {})),
        values=Field.parse(body["values"]) if "values" in body else None,
        kind=body.get("kind"),
        kinds={
            name: None if inner is None else _fields(inner)
            for name, inner in body.get("kinds", {}).items()
        },
    )


def _fields(body: dict[str, str]) -> dict[str, Field]:
    return {name: Field.parse(text) for name, text in body.items()}


async def typed_body(request: web.Request, name: str, *, partial: bool = False) -> dict[str, Any]:
    """The request's JSON object, read by a type.

    Args:
        request: The request.
        name: The type, such as `workspaces/computes`.
        partial: Whether required fields may be missing, as in a PATCH.

    Raises:
        ArmError: 400 with every problem.
    """
    return read(name, await json_body(request), partial=partial)


def read(name: str, body: Mapping[str, Any], *, partial: bool = False) -> dict[str, Any]:
    """A body as far as it may be written: right types, Azure's spelling, nothing else.

    Raises:
        ArmError: 400 with every problem.
    """
    reader = _Reader(partial=partial)
    found = reader.object(name, body, "")
    location = types()[name].fields.get("location")
    if location and location.required and not partial and not found.get("location"):
        raise ArmError(
            400, "LocationRequired", "The location property is required for this definition."
        )
    if reader.problems:
        inner = tuple(ArmError(400, "RequestInvalid", each) for each in reader.problems)
        text = "Request is invalid and/or missing fields."
        raise ArmError(400, "UserError", text, details=inner)
    return found


class _Reader:
    """Reads values and collects what is wrong with them."""

    def __init__(self, *, partial: bool) -> None:
        self.problems: list[str] = []
        self._partial = partial

    def _say(self, text: str, place: str, more: str = "") -> None:
        self.problems.append(f"{text} Field: {place}.{more}")

    def object(self, name: str, value: Any, place: str) -> dict[str, Any]:
        """An object of the type called `name`."""
        if not isinstance(value, dict):
            self._say("The value provided is not a valid object.", place or name)
            return {}
        described = types()[name]
        if described.values is not None and not described.fields:
            return self._free(described.values, value, place)
        given = {str(key).lower(): each for key, each in value.items()}
        if described.kind is None:
            return self._fields(described.fields, given, place)
        kind = self._enum(
            tuple(described.kinds), given.get(described.kind.lower()), described, place
        )
        if kind is None:
            return {}
        fields = described.kinds[kind]
        if fields is None:
            return {**value, described.kind: kind}
        read = self._fields({**described.fields, **fields}, given, place)
        return {**read, described.kind: kind}

    def _free(self, of: Field, value: dict[str, Any], place: str) -> dict[str, Any]:
        return {
            str(key): self._value(of, each, _join(place, str(key))) for key, each in value.items()
        }

    def _fields(
        self, fields: Mapping[str, Field], given: dict[str, Any], place: str
    ) -> dict[str, Any]:
        read: dict[str, Any] = {}
        for name, each in fields.items():
            if each.read_only:
                continue
            inside, value = _join(place, name), given.get(name.lower())
            if value is not None:
                read[name] = self._value(each, value, inside)
            elif each.required and not self._partial:
                if inside != "location":  # Resource Manager itself asks for it
                    self._say("The field is required.", inside)
            elif name.lower() in given:
                read[name] = None
        return read

    def _enum(
        self, allowed: tuple[str, ...], value: Any, described: Type, place: str
    ) -> str | None:
        """The kind of an object in Azure's spelling, or None if it is none."""
        inside = _join(place, str(described.kind))
        if value is None:
            self._say("The field is required.", inside)
            return None
        found = self._value(Field("string", allowed), value, inside)
        return found if found in allowed else None

    def _value(self, of: Field, value: Any, place: str, depth: int | None = None) -> Any:
        if value is None:
            return None
        around = of.depth if depth is None else depth
        if around:
            if not isinstance(value, list):
                self._say("The value provided is not a valid list.", place)
                return []
            return [
                self._value(of, each, f"{place}[{number}]", around - 1)
                for number, each in enumerate(value)
            ]
        if of.type == "any":
            return value
        leaf = _LEAVES.get(of.type)
        if leaf is None:
            return self.object(of.type, value, place)
        if leaf is str and type(value) in (int, float, bool):
            return self._value(of, json.dumps(value), place, 0)
        if type(value) is not leaf:
            self._say(f"The value provided is not a valid {of.type}.", place)
            return value
        return self._member(of.enum, str(value), place) if of.enum else value

    def _member(self, enum: tuple[str, ...], value: str, place: str) -> str:
        for each in enum:
            if each.lower() == value.lower():
                return each
        allowed = f" Allowed values: {','.join(enum)}."
        self._say("The value provided is not a valid enum value.", place, allowed)
        return value


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
