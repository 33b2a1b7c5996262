"""The queue `run-steps`: who looks at which run, and when.

The Functions host's output binding cannot delay a message, so messages are sent by azure-storage-queue with a
visibility timeout. They are base64 as the host's trigger expects by default.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from shared.cloud.failures import failing
from shared.errors import Refused
from shared.runs.ports import Look

if TYPE_CHECKING:
    from shared.cloud.storage import StorageConnection

LONGEST_DELAY: Final = timedelta(days=7)
"""The longest visibility timeout (https://learn.microsoft.com/rest/api/storageservices/put-message)."""

_FOREVER: Final = -1


class QueueLooks:
    """`shared.runs.ports.Looks` on the queue `run-steps`."""

    def __init__(self, connection: StorageConnection) -> None:
        self._connection = connection

    def send(self, look: Look, delay: timedelta) -> None:
        """Have `look` delivered after `delay` (at most 7 days), at least once and never early."""
        with failing(f"sending a look at {look.run}"):
            self._connection.queue().send_message(
                body_of(look), visibility_timeout=seconds(delay), time_to_live=_FOREVER
            )


def seconds(delay: timedelta) -> int:
    """A delay as the queue takes it: whole seconds, rounded up, from none to 7 days."""
    return math.ceil(min(max(delay, timedelta()), LONGEST_DELAY).total_seconds())


def body_of(look: Look) -> str:
    """The message: `{"run": …, "number": …|null}`, as the trigger gives it to a function."""
    return msgspec.json.encode(look).decode()


def parse(body: bytes | str) -> Look:
    """The look that a message asks for.

    Args:
        body: The message without its base64, as the host's trigger gives it.

    Raises:
        Refused: It is no such message.
    """
    try:
        return msgspec.json.decode(body, type=Look)
    except msgspec.DecodeError as error:
        raise Refused(f"a message of the queue is not a look: {error}") from error
