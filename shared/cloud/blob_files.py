"""Files of the container `data` as `shared.data` reads them, and the listing that globs are held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.cloud.failures import failing
from shared.cloud.storage import DATA, bare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azure.storage.blob import BlobClient

    from shared.cloud.storage import StorageConnection


class BlobFile:
    """`shared.data.ports.File`: one file of the container `data`.

    Its content is pinned to the ETag that its identity names: a file that is replaced while it is read raises
    `StaleRecord`, and the preparation begins anew.

    Args:
        connection: The storage account.
        path: In the container.
        etag: Without quotes, and
        size: in bytes, where a listing has told them already.
    """

    def __init__(
        self,
        connection: StorageConnection,
        path: str,
        etag: str | None = None,
        size: int | None = None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._etag = etag
        self._size = size

    @property
    def name(self) -> str:
        """`data/PATH`."""
        return f"{DATA}/{self._path}"

    @property
    def identity(self) -> str:
        """Path and ETag.

        Raises:
            Missing: There is no such file.
        """
        self._look()
        return f"{self.name}#{self._etag}"

    def size(self) -> int:
        """Its length in bytes."""
        self._look()
        assert self._size is not None
        return self._size

    def blocks(self) -> Iterator[bytes]:
        """Its bytes, up to 4 MiB at a time."""
        with failing(f"reading {self.name}"):
            yield from self._blob().download_blob(**self._pinned()).chunks()

    def span(self, start: int, length: int) -> bytes:
        """So many bytes from `start` on."""
        with failing(f"reading {self.name}"):
            download = self._blob().download_blob(offset=start, length=length, **self._pinned())
            found: bytes = download.readall()
            return found

    def _look(self) -> None:
        if self._etag is None or self._size is None:
            with failing(f"looking for {self.name}"):
                found = self._blob().get_blob_properties()
            self._etag, self._size = bare(found.etag), found.size

    def _blob(self) -> BlobClient:
        return self._connection.container(DATA).get_blob_client(self._path)

    def _pinned(self) -> dict[str, Any]:
        from azure.core import MatchConditions

        self._look()
        return {"etag": f'"{self._etag}"', "match_condition": MatchConditions.IfNotModified}
