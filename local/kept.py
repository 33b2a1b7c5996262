"""What a stack keeps from its first start on: ports and secrets. Addresses survive a restart."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from local.ports import free_ports

if TYPE_CHECKING:
    from pathlib import Path

PORTS = ("blob", "queue", "mlflow", "control_plane", "identity", "event_grid", "host")


class BrokenState(Exception):
    """The file with ports and keys cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Ports and secrets of one stack.

    Attributes:
        ports: For each name in `PORTS`, its port on 127.0.0.1.
        api_key: What clients of the scoring routes send.
        topic_key: What publishers to the Event Grid topics send.
        identity_header: What the identity endpoint asks of those who want tokens.
    """

    ports: dict[str, int]
    api_key: str = field(repr=False)
    topic_key: str = field(repr=False)
    identity_header: str = field(repr=False)


def load(state: Path) -> Kept | None:
    """What was kept in `state`; None before the first start.

    Raises:
        BrokenState: The file is damaged.
    """
    file = _file(state)
    try:
        kept = Kept(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise BrokenState(
            f"{file} cannot be read ({error}). Remove it to draw new ports."
        ) from error
    if set(kept.ports) != set(PORTS):
        raise BrokenState(f"{file} has other ports than {', '.join(PORTS)}. Remove it.")
    return kept


def load_or_make(state: Path) -> Kept:
    """What was kept in `state`, drawn now if this is the first start.

    Raises:
        BrokenState: The file is damaged.
    """
    if (kept := load(state)) is not None:
        return kept
    kept = Kept(
        ports=free_ports(list(PORTS)),
        api_key=f"dt-{secrets.token_urlsafe(24)}",
        topic_key=secrets.token_urlsafe(32),
        identity_header=secrets.token_urlsafe(32),
    )
    state.mkdir(parents=True, exist_ok=True)
    write_private(_file(state), json.dumps(asdict(kept), indent=1))
    return kept


def write_private(file: Path, text: str) -> None:
    """Write `file` at once and whole, readable by its owner only."""
    partial = file.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.replace(file)


def _file(state: Path) -> Path:
    return state / "stack.json"
