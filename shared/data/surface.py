"""A look at a row that sees the same whoever asks.

How many levels of nesting a parser takes is bounded by Python's recursion limit, which counts the callers of the parser
as well. So a row may be too deep for one caller and not for another; for one process and not for the next.
"""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Seen = TypeVar("_Seen")

#: Levels that any caller has to spare.
_SHALLOW: Final = 256


def at_the_surface(look: Callable[[bytes], _Seen], line: bytes) -> _Seen:
    """What `look` makes of a line, with as many levels to spare as a thread has at its start.

    A line in which there can be no more than a few levels is looked at right here: a thread costs more than a look.
    """
    # Escaped brackets count, too: a text may hold JSON.
    if line.count(b"[") + line.count(b"{") + line.count(b"\\u") <= _SHALLOW:
        return look(line)
    thread = _Looking(look, line)
    thread.start()
    thread.join()
    return thread.seen()


class _Looking(Thread, Generic[_Seen]):
    def __init__(self, look: Callable[[bytes], _Seen], line: bytes) -> None:
        super().__init__(name="looking", daemon=True)
        self._look = look
        self._line = line
        self._seen: list[_Seen] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._seen.append(self._look(self._line))
        except BaseException as error:  # noqa: BLE001 - raised again where it was asked
            self._error = error

    def seen(self) -> _Seen:
        if self._error is not None:
            raise self._error
        return self._seen[0]
