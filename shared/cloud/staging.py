"""A blob that is written as a stream: its blocks go out in the background while the next are gathered.

Whoever writes is busy reading and checking rows, the network is busy with the block before; neither waits for
the other unless it is slower by a few blocks, and then memory stays bounded by those.
"""

from __future__ import annotations

import base64
import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from shared.cloud.failures import failing
from shared.cloud.storage import content_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from azure.storage.blob import BlobClient

BLOCK: Final = 4 * 1024 * 1024
"""Bytes of one staged block, about; a blob may have 50,000."""

AT_ONCE: Final = 2
"""How many blocks of one blob are under way while a further one is gathered."""


@contextmanager
def staged(blob: BlobClient) -> Iterator[Callable[[bytes], None]]:
    """Write a blob by calling what the context gives; it appears whole at the end, or not at all.

    Blocks that are not committed show nowhere and are cleared away by the service. Each writer's have names of
    their own, so that of two who write the same blob at once no mixture can come.

    Raises:
        DroptuneError: A block could not be sent; raised by a later call, or at the end.
    """
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix=f"staging {blob.blob_name}") as pool:
        staging = _Staging(blob, pool)
        try:
            yield staging.write
            staging.finish()
        except BaseException:
            pool.shutdown(
                wait=False, cancel_futures=True
            )  # what is under way is awaited on leaving
            raise


class _Staging:
    """The blocks of one blob: gathered, under way, and the names of all that were sent."""

    def __init__(self, blob: BlobClient, pool: ThreadPoolExecutor) -> None:
        self._blob = blob
        self._pool = pool
        self._doing = f"writing {blob.blob_name}"
        self._writer = uuid.uuid4().hex
        self._names: list[str] = []
        self._gathered: list[bytes] = []
        self._size = 0
        self._under_way: deque[Future[None]] = deque()

    def write(self, piece: bytes) -> None:
        while self._under_way and self._under_way[0].done():
            self._under_way.popleft().result()
        self._gathered.append(piece)
        self._size += len(piece)
        if self._size >= BLOCK:
            self._send()

    def finish(self) -> None:
        from azure.storage.blob import BlobBlock, ContentSettings

        if self._size:
            self._send()
        while self._under_way:
            self._under_way.popleft().result()
        kind = ContentSettings(content_type=content_type(self._blob.blob_name))
        with failing(self._doing):
            self._blob.commit_block_list(
                [BlobBlock(name) for name in self._names], content_settings=kind
            )

    def _send(self) -> None:
        if len(self._under_way) >= AT_ONCE:
            self._under_way.popleft().result()
        name = base64.b64encode(f"{self._writer}-{len(self._names):06d}".encode()).decode()
        self._names.append(name)
        block = b"".join(self._gathered)
        self._gathered, self._size = [], 0
        self._under_way.append(self._pool.submit(self._stage, name, block))

    def _stage(self, name: str, block: bytes) -> None:
        with failing(self._doing):
            self._blob.stage_block(name, block)
