"""Work on blocks of bytes that goes on while the next rows are read.

Whoever reads rows is busy checking them; a disk or a network is busy with the blocks before. Neither waits for
the other unless it is slower by a few blocks, and then memory stays bounded by those.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from types import TracebackType


class Background:
    """Does calls in threads of its own; a context manager that leaves no thread behind.

    What a call raises is raised again by a later `do`, or by `finish`. Leaving by an exception drops the calls that
    have not begun.

    Args:
        threads: How many calls are done at once; with one, they are done in order.
        most: How many calls may be unfinished; `do` waits while there are that many.
    """

    def __init__(self, *, threads: int, most: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="background")
        self._most = most
        self._unfinished: deque[Future[object]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def do(self, call: Callable[..., object], *given: Any) -> None:
        """Have `call(*given)` done."""
        self.check()
        if len(self._unfinished) >= self._most:
            self._unfinished.popleft().result()
        self._unfinished.append(self._pool.submit(call, *given))

    def check(self) -> None:
        """Raise what a call that is done has raised."""
        while self._unfinished and self._unfinished[0].done():
            self._unfinished.popleft().result()

    def finish(self) -> None:
        """Wait until all is done."""
        while self._unfinished:
            self._unfinished.popleft().result()
