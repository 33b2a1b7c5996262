"""Paths with placeholders: which blobs a trigger means, and where an output goes.

Source: https://learn.microsoft.com/azure/azure-functions/functions-bindings-expressions-patterns
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")
_SYSTEM_CONTAINERS: Final = ("azure-webjobs-", "$logs")


@dataclass(frozen=True, slots=True)
class BlobPattern:
    """A blob trigger's path, such as `manifests/{name}.json`."""

    text: str
    _pattern: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> BlobPattern:
        """Read a path; a container alone means each of its blobs.

        Raises:
            ValueError: It has no container or a placeholder twice.
        """
        path = text.strip("/")
        if not path:
            raise ValueError("the blob path is empty")
        if "/" not in path:
            path += "/{}"
        pattern, position, names = "", 0, set[str]()
        for found in re.finditer(r"\{([^{}]*)\}", path):
            name = found[1]
            if name and (not name.isidentifier() or name in names):
                raise ValueError(f"the placeholder '{{{name}}}' is used twice or is no name")
            names.add(name)
            pattern += re.escape(path[position : found.start()])
            pattern += f"(?P<{name}>.+)" if name else ".+"
            position = found.end()
        return cls(text, re.compile(pattern + re.escape(path[position:]), re.DOTALL))

    def match(self, container: str, blob: str) -> dict[str, str] | None:
        """The placeholders' values for a blob, or None if the path does not mean it."""
        if container.startswith(_SYSTEM_CONTAINERS):
            return None
        found = self._pattern.fullmatch(f"{container}/{blob}")
        return None if found is None else found.groupdict()


def fill(path: str, data: Mapping[str, Any], now: datetime | None = None) -> str:
    """Fill the placeholders of an output's path.

    Args:
        path: With `{name}`, `{rand-guid}`, `{DateTime}`.
        data: What the trigger knows: route values, blob placeholders, the fields of a JSON
            message.
        now: For `{DateTime}`.

    Raises:
        LookupError: The trigger has no such value.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name.lower() in ("rand-guid", "sys.randguid"):
            return str(uuid.uuid4())
        if name.lower() in ("datetime", "sys.utcnow"):
            return (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H-%M-%SZ")
        known: Any = data
        for part in name.split("."):
            if not isinstance(known, dict) or part not in known:
                raise LookupError(f"the trigger has no value for '{{{name}}}' in '{path}'")
            known = known[part]
        return str(known)

    return _PLACEHOLDER.sub(value, path)
