"""What goes on in the background for a resource: one piece of work each, cancelled or taken up again.

Which work is due is written in the resource's document before the work begins, so a control plane
that was killed takes it up at its next start. The end of the work and the end of its operation are
one transaction: a client that sees `Succeeded` reads a resource that has arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from local.azureml.plane import Plane
    from local.azureml.state import Store

    Work = Callable[[], Coroutine[Any, Any, None]]

LOG = logging.getLogger("local.azureml")


class Transitions:
    """The work under way, by resource id."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, resource_id: str, work: Work) -> None:
        """Begin `work`; what is still under way for the resource is cancelled and waited for."""
        key = resource_id.lower()
        following = _after(self._tasks.get(key), work)
        task = asyncio.get_running_loop().create_task(following, name=key)
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled() and (problem := task.exception()) is not None:
            LOG.error("%s: the work in the background broke", key, exc_info=problem)

    async def cancel(self, resource_id: str) -> None:
        """Cancel the resource's work, if there is any, and wait until it has ended."""
        if (task := self._tasks.get(resource_id.lower())) is not None:
            await _cancelled(task)

    async def close(self) -> None:
        """Cancel everything and wait until it has ended."""
        await asyncio.gather(*(_cancelled(task) for task in list(self._tasks.values())))


async def _after(previous: asyncio.Task[None] | None, work: Work) -> None:
    if previous is not None:
        await _cancelled(previous)
    await work()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def transitions(plane: Plane) -> Transitions:
    """The control plane's transitions."""
    made = plane.parts.setdefault("transitions", Transitions())
    assert isinstance(made, Transitions)
    return made


@contextlib.contextmanager
def atomically(store: Store) -> Iterator[None]:
    """Let the writes inside be one transaction. There must be no `await` inside."""
    connection = store.connection
    connection.execute("begin immediate")
    try:
        yield
    except BaseException:
        connection.execute("rollback")
        raise
    connection.execute("commit")
