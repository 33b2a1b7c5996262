"""The keys that guard the host's routes, made at first start and kept.

Source: https://learn.microsoft.com/azure/azure-functions/function-keys-how-to
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from local.host.functions import AuthLevel
from local.host.problems import AppRejected, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

EVENT_GRID: Final = "eventgrid_extension"
BLOBS: Final = "blobs_extension"


@dataclass(frozen=True, slots=True)
class Keys:
    """What callers may show.

    Attributes:
        master: Opens everything, the admin routes too.
        host: Opens every function.
        functions: By function name: opens that one.
        system: By extension name: opens its webhook.
    """

    master: str
    host: str
    functions: Mapping[str, str]
    system: Mapping[str, str]

    def admit(self, level: AuthLevel, function: str, shown: str) -> bool:
        """Whether the key that was shown opens a function of this level."""
        if level is AuthLevel.ANONYMOUS:
            return True
        accepted = [self.master]
        if level is AuthLevel.FUNCTION:
            accepted += [self.host, self.functions[function]]
        return _is_one_of(shown, accepted)

    def admit_master(self, shown: str) -> bool:
        """Whether it is the master key."""
        return _is_one_of(shown, [self.master])

    def admit_system(self, extension: str, shown: str) -> bool:
        """Whether it opens the extension's webhook."""
        return _is_one_of(shown, [self.master, self.system[extension]])


def _is_one_of(shown: str, accepted: Iterable[str]) -> bool:
    given = shown.encode()
    matches = [hmac.compare_digest(given, key.encode()) for key in accepted]
    return any(matches)


def load_keys(file: Path, functions: Iterable[str]) -> Keys:
    """Read the keys, making the file or what is new in it.

    Raises:
        AppRejected: The file is there but is not one of ours.
    """
    try:
        kept = json.loads(file.read_text()) if file.exists() else {}
        system, by_function = dict(kept.get("system", {})), dict(kept.get("functions", {}))
    except (ValueError, AttributeError, TypeError) as error:
        raise AppRejected(
            [Problem(str(file), f"it cannot be read: {error}", "Delete it to have new keys made.")]
        ) from error
    made: dict[str, Any] = {
        "master": kept.get("master") or secrets.token_urlsafe(40),
        "host": kept.get("host") or secrets.token_urlsafe(40),
        "functions": by_function
        | {name: secrets.token_urlsafe(40) for name in functions if name not in by_function},
        "system": system
        | {name: secrets.token_urlsafe(40) for name in (EVENT_GRID, BLOBS) if name not in system},
    }
    if made != kept:
        write_durably(file, json.dumps(made, indent=2))
    return Keys(made["master"], made["host"], made["functions"], made["system"])


def write_durably(file: Path, text: str) -> None:
    """Replace the file in one step, readable by its owner only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
