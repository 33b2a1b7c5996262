"""What functions set on their output bindings becomes messages and blobs."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from local.host.functions import QueueOutput
from local.host.paths import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local.host.functions import BlobOutput, Function
    from local.host.runtime import Result
    from local.host.storage import Storage


class OutputWriter:
    """Writes the outputs of finished invocations.

    Args:
        storage: Where to.
        base64_messages: Whether message texts are base64, as queue triggers expect by default.
        sent: Called with the queue's name after a message went there, so that a listener looks at
            once.
    """

    def __init__(
        self, storage: Storage, *, base64_messages: bool, sent: Callable[[str], None]
    ) -> None:
        self._storage = storage
        self._base64 = base64_messages
        self._sent = sent

    async def write(self, function: Function, result: Result, data: Mapping[str, Any]) -> None:
        """Write what the invocation set; queue and container are made if they are missing.

        Args:
            function: Whose outputs these are.
            result: What it set.
            data: For the placeholders in paths.

        Raises:
            LookupError: A placeholder has no value.
            azure.core.exceptions.AzureError: Storage refused.
        """
        values = dict(result.outputs)
        if result.returned is not None:
            values["$return"] = result.returned
        for output in function.outputs:
            datum = values.get(output.name)
            if datum is None or datum.value is None:
                continue
            if isinstance(output, QueueOutput):
                await self._send(output, datum)
            else:
                await self._upload(output, datum, data)

    async def _send(self, output: QueueOutput, datum: Any) -> None:
        queue = self._storage.queue(output.queue, output.connection)
        for content in message_contents(datum):
            text = base64.b64encode(content).decode() if self._base64 else content.decode()
            try:
                await queue.send_message(text)
            except ResourceNotFoundError:
                await queue.create_queue()
                await queue.send_message(text)
        self._sent(output.queue)

    async def _upload(self, output: BlobOutput, datum: Any, data: Mapping[str, Any]) -> None:
        container, _, name = fill(output.path, data).partition("/")
        blob = self._storage.blobs(output.connection).get_blob_client(container, name)
        content = datum.value if isinstance(datum.value, bytes) else str(datum.value).encode()
        try:
            await blob.upload_blob(content, overwrite=True)
        except ResourceNotFoundError:
            await self._storage.blobs(output.connection).create_container(container)
            await blob.upload_blob(content, overwrite=True)


def message_contents(datum: Any) -> list[bytes]:
    """The messages in a queue output's Datum: one, or one for each item of a JSON array."""
    if isinstance(datum.value, bytes):
        return [datum.value]
    if datum.type != "json":
        return [str(datum.value).encode()]
    content = json.loads(datum.value)
    items = content if isinstance(content, list) else [content]
    return [(item if isinstance(item, str) else json.dumps(item)).encode() for item in items]
