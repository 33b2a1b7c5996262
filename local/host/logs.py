"""One readable line per event on the console; tracebacks go to the log file.

`[advance_run] message` is what a function logged, `[host] message` what the host did. The Azure
SDKs' own chatter stays out unless host.json asks for it.
"""

from __future__ import annotations

import logging
import logging.handlers
import re
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

HOST: Final = "droptune.host"
_QUIET: Final = (
    *("azure", "msal", "urllib3", "requests", "aiohttp", "asyncio", "httpx", "httpcore", "h11"),
    *("filelock", "fsspec", "charset_normalizer", "opentelemetry", "msrest", "git"),
)
_LEVELS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "information": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "none": logging.CRITICAL + 1,
}
_SECRET: Final = re.compile(
    r"((?:AccountKey|SharedAccessSignature|[?&]sig|[?&]code)=|Bearer\s+)[^;&\s\"']+"
)
_LARGEST_FILE: Final = 10 * 1024 * 1024


def configure(
    file: Path, levels: Mapping[str, str], current_function: Callable[[], str | None]
) -> None:
    """Send every record to the console and to `file` (rotated at 10 MiB, two kept).

    Args:
        file: Its folder is made.
        levels: `logging.logLevel` of host.json: `default`, `Function`, `Function.<name>` and
            categories.
        current_function: The name of the function that the calling thread or task runs.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    console = logging.StreamHandler(sys.stdout)
    console.setFormatter(_OneLine())
    kept = logging.handlers.RotatingFileHandler(
        file, maxBytes=_LARGEST_FILE, backupCount=2, encoding="utf-8", delay=True
    )
    kept.setFormatter(_Whole("%(asctime)s %(levelname)s %(origin)s %(name)s: %(message)s"))
    console.addFilter(lambda record: not getattr(record, "file_only", False))
    for handler in (console, kept):
        handler.addFilter(_Origin(levels, current_function))
    root = logging.getLogger()
    root.handlers[:] = [console, kept]
    root.setLevel(_level(levels.get("default", "Information")))
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # The runtime tells of each failed call with its traceback; the host tells it better.
    logging.getLogger("azure.functions").setLevel(logging.CRITICAL)
    for category, level in levels.items():
        if category != "default" and not category.lower().startswith(("function", "host")):
            logging.getLogger(category.lower()).setLevel(_level(level))


def _level(name: str) -> int:
    return _LEVELS.get(name.lower(), logging.INFO)


class _Origin(logging.Filter):
    """Adds `origin` to a record, and holds functions' records to the levels of host.json."""

    def __init__(
        self, levels: Mapping[str, str], current_function: Callable[[], str | None]
    ) -> None:
        super().__init__()
        self._current = current_function
        self._levels = {name.lower(): _level(level) for name, level in levels.items()}

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "origin"):
            own = record.name == HOST
            function = getattr(record, "function", None) or (None if own else self._current())
            record.origin = f"[{function or ('host' if own else 'app')}]"
            if function is not None:
                lowest = self._levels.get(
                    f"function.{function}".lower(), self._levels.get("function", logging.NOTSET)
                )
                record.too_low = record.levelno < lowest
        return not getattr(record, "too_low", False)


def hide_secrets(text: str) -> str:
    """Put `***` where keys and signatures stand in connection strings, addresses and headers."""
    return _SECRET.sub(r"\1***", text)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = " ".join(record.getMessage().split())
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            text += f" ({type(error).__name__}: {' '.join(str(error).split())})"
        level = f"{record.levelname}: " if record.levelno >= logging.WARNING else ""
        return hide_secrets(f"{record.origin} {level}{text}")  # type: ignore[attr-defined]


class _Whole(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return hide_secrets(super().format(record))
