"""A blob that is written as a stream: its blocks go out in the background while the next are gathered."""

from __future__ import annotations

import base64
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from shared.cloud.failures import failing
from shared.cloud.storage import content_type
from shared.data.background import Background

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    with Background(threads=AT_ONCE, most=AT_ONCE) as background:
        staging = _Staging(blob, background)
        yield staging.write
        staging.finish()


class _Staging:
    """The blocks of one blob: gathered, under way, and the names of all that were sent."""

    def __init__(self, blob: BlobClient, background: Background) -> None:
        self._blob = blob
        self._background = background
        self._doing = f"writing {blob.blob_name}"
        self._writer = uuid.uuid4().hex
        self._names: list[str] = []
        self._gathered: list[bytes] = []
        self._size = 0

    def write(self, piece: bytes) -> None:
        self._background.check()
        self._gathered.append(piece)
        self._size += len(piece)
        if self._size >= BLOCK:
            self._send()

    def finish(self) -> None:
        from azure.storage.blob import BlobBlock, ContentSettings

        if self._size:
            self._send()
        self._background.finish()
        kind = ContentSettings(content_type=content_type(self._blob.blob_name))
        with failing(self._doing):
            self._blob.commit_block_list(
                [BlobBlock(name) for name in self._names], content_settings=kind
            )

    def _send(self) -> None:
        name = base64.b64encode(f"{self._writer}-{len(self._names):06d}".encode()).decode()
        self._names.append(name)
        block = b"".join(self._gathered)
        self._gathered, self._size = [], 0
        self._background.do(self._stage, name, block)

    def _stage(self, name: str, block: bytes) -> None:
        with failing(self._doing):
            self._blob.stage_block(name, block)
