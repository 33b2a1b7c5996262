"""What `getLogs` tells of a deployment: the end of its container's or its initializer's log.

While a deployment is made or deleted Azure answers a sentence instead of the log, which is not a
log that is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local.azureml import provisioning
from local.azureml.wire import ArmError

if TYPE_CHECKING:
    from pathlib import Path

    from local.azureml.plane import Plane

MOST_LINES = 5000
_FILES = {
    "InferenceServer": provisioning.SERVER_LOG,
    "StorageInitializer": provisioning.STORAGE_LOG,
}
_WITHHELD = "Deployment is in deleting or creating state so logs can't be retrieved."


def read(plane: Plane, body: dict[str, Any], asked: dict[str, Any]) -> dict[str, str]:
    """The answer to `getLogs`.

    Args:
        plane: The control plane.
        body: The stored deployment.
        asked: `containerType` and `tail`, the number of lines.

    Raises:
        ArmError: 400; the number is none.
    """
    tail = asked.get("tail")
    if tail is not None and tail < 1:
        raise ArmError(400, "UserError", f"tail must be a positive number: {tail!r}.")
    if body["state"] in ("Creating", "Deleting"):
        return {"content": _WITHHELD}
    log = provisioning.logs(plane, body) / _FILES[asked.get("containerType") or "InferenceServer"]
    return {"content": _last_lines(log, min(tail or MOST_LINES, MOST_LINES))}


def _last_lines(log: Path, number: int) -> str:
    """The last lines of a file, read from its end; empty when there is no file."""
    try:
        with log.open("rb") as stream:
            position, chunks, breaks = stream.seek(0, 2), list[bytes](), 0
            while position > 0 and breaks <= number:
                step = min(position, 64 * 1024)
                position = stream.seek(position - step)
                chunk = stream.read(step)
                chunks.append(chunk)
                breaks += chunk.count(b"\n")
    except FileNotFoundError:
        return ""
    text = b"".join(reversed(chunks)).decode(errors="replace")
    return "".join(text.splitlines(keepends=True)[-number:])
