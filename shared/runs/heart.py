"""The heart of a long step: it beats while the work gets on, and for a while when the work only waits.

Work that waits for a slow server, or for one that asks to be left alone for minutes, gives no sign; whoever looked at
the record would take it for dead and begin it a second time. So a thread beats beside it. Work that has hung for good
is not kept alive by that: without a sign for long enough the heart stops, and the run is taken over.
"""

from __future__ import annotations

import logging
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Self

from shared.errors import Transient

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta
    from types import TracebackType

logger = logging.getLogger(__name__)


class Heart:
    """Beats from its beginning to its end as a context manager, and leaves no thread behind.

    Args:
        write: Writes a beat down; raises if the work is no longer ours. What is `Transient` is tried again.
        now: The time.
        every: Between two beats.
        silence: For how long it beats without a sign from the work.
    """

    def __init__(
        self,
        write: Callable[[], None],
        now: Callable[[], datetime],
        *,
        every: timedelta,
        silence: timedelta,
    ) -> None:
        self._write = write
        self._now = now
        self._every = every
        self._silence = silence
        self._signed = now()
        self._due = self._signed + every
        self._lock = Lock()
        self._over = Event()
        self._failure: Exception | None = None
        self._thread = Thread(target=self._watch, name="heart", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def sign(self) -> None:
        """The work gets on. Beats if it is time to.

        Raises:
            Exception: What `write` raised that does not pass, now or in between; the work has to stop then.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            self._signed = self._now()
            self._beat()

    def listen(self) -> None:
        """Beat if it is time to, unless the work has been silent for too long or is known to be lost."""
        with self._lock:
            if self._failure is not None or self._now() - self._signed > self._silence:
                return
            try:
                self._beat()
            except Exception as error:  # noqa: BLE001 - the work is told
                self._failure = error

    def _beat(self) -> None:
        if self._now() < self._due:
            return
        try:
            self._write()
        except Transient as error:
            # The next may get through; busy work must not ask a server that is down at each of its signs.
            logger.warning("a heartbeat cannot be written: %s", error)
            self._due = self._now() + self._every / 2
        else:
            self._due = self._now() + self._every

    def _watch(self) -> None:
        # Twice as often as it beats: a sign may just have come before.
        while not self._over.wait(self._every.total_seconds() / 2):
            self.listen()
