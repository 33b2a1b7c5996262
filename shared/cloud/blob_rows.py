"""Files of the container `data` as sources of JSON lines, whatever their format, read as they stream in.

Formats go by the file's ending, as for the fine-tuning component: `.jsonl` as it is; `.json` as one array of
rows or as lines; `.csv` with a header, where cells that hold JSON lists or objects count as such; `.parquet`
a batch at a time.
"""

from __future__ import annotations

import csv
import io
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared.cloud.failures import failing
from shared.cloud.storage import DATA, bare
from shared.errors import DataRejected, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from azure.storage.blob import BlobClient

    from shared.cloud.storage import StorageConnection

ENDINGS: Final = (".jsonl", ".json", ".csv", ".parquet")
BLOCK: Final = 1024 * 1024
"""About as many bytes of lines are given at once."""

LONGEST_ARRAY: Final = 256 * 1024 * 1024
"""An array cannot be read in pieces, so it must fit into memory."""

_ROWS: Final = 1000
_LONGEST_CELL: Final = 16 * 1024 * 1024


def ending_of(path: str) -> str:
    """The ending of the path's file name, in lower case: `.jsonl`."""
    name = path.rpartition("/")[2]
    return f".{name.rpartition('.')[2].lower()}" if "." in name else ""


class BlobSource:
    """`shared.data.ports.Source`: one file of the container `data`.

    Its content is pinned to the ETag that its identity names: a file that is replaced while it is read raises
    `StaleRecord`, and the preparation begins anew.
    """

    def __init__(self, connection: StorageConnection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._etag: str | None = None
        self._size = 0

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
        if self._etag is None:
            with failing(f"looking for {self.name}"):
                found = self._blob().get_blob_properties()
            self._etag, self._size = bare(found.etag), found.size
        return f"{self.name}#{self._etag}"

    def size(self) -> int:
        """Its length in bytes."""
        assert self.identity
        return self._size

    def blocks(self) -> Iterator[bytes]:
        """Its rows as JSON lines, in blocks of about a mebibyte (raw ones of up to 4).

        Raises:
            DataRejected: It is not of the format that its ending says.
            Missing: There is no such file.
        """
        match ending_of(self._path):
            case ".json":
                return self._json()
            case ".csv":
                return in_blocks(self._csv())
            case ".parquet":
                return in_blocks(self._parquet())
            case _:
                return self._raw()

    def _blob(self) -> BlobClient:
        return self._connection.container(DATA).get_blob_client(self._path)

    def _pinned(self) -> dict[str, Any]:
        from azure.core import MatchConditions

        assert self.identity
        return {"etag": f'"{self._etag}"', "match_condition": MatchConditions.IfNotModified}

    def _raw(self) -> Iterator[bytes]:
        with failing(f"reading {self.name}"):
            yield from self._blob().download_blob(**self._pinned()).chunks()

    def _json(self) -> Iterator[bytes]:
        blocks = self._raw()
        head = b""
        for block in blocks:
            head += block
            if head.removeprefix(b"\xef\xbb\xbf").strip():
                break
        if not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
            yield from chain([head] if head else [], blocks)
            return
        whole = bytearray(head.removeprefix(b"\xef\xbb\xbf"))
        for block in blocks:
            whole += block
            if len(whole) > LONGEST_ARRAY:
                raise self._rejected(
                    f"is an array of more than {LONGEST_ARRAY >> 20} MiB", "Write one row per line"
                )
        try:
            rows = msgspec.json.decode(whole, type=list[msgspec.Raw])
        except msgspec.DecodeError as error:
            raise self._rejected(f"is not JSON: {error}") from error
        # A row may be spread over several lines: what is in between is no part of it.
        yield from in_blocks(msgspec.json.format(bytes(row), indent=-1) for row in rows)

    def _csv(self) -> Iterator[bytes]:
        text = io.TextIOWrapper(
            io.BufferedReader(_Stream(self._raw()), BLOCK), encoding="utf-8-sig", newline=""
        )
        csv.field_size_limit(_LONGEST_CELL)
        try:
            for row in csv.DictReader(text):
                yield msgspec.json.encode({str(name): _cell(cell) for name, cell in row.items()})
        except UnicodeDecodeError as error:
            raise self._rejected("is not UTF-8", "Save it as UTF-8") from error
        except csv.Error as error:
            raise self._rejected(f"is not CSV: {error}") from error

    def _parquet(self) -> Iterator[bytes]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with failing(f"reading {self.name}"):
            size = self._blob().get_blob_properties(**self._pinned()).size
            try:
                file = pq.ParquetFile(
                    pa.PythonFile(_Ranges(self._blob(), size, self._pinned()), "r")
                )
                for batch in file.iter_batches(batch_size=_ROWS):
                    for row in batch.to_pylist():
                        yield msgspec.json.encode(row, enc_hook=str)
            except pa.ArrowException as error:
                raise self._rejected(f"is not Parquet: {error}") from error

    def _rejected(self, reason: str, mend: str = "") -> DataRejected:
        return DataRejected([Problem(self.name, reason, mend)])


def in_blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines, each without its newline, in blocks of about a mebibyte."""
    waiting = bytearray()
    for line in lines:
        waiting += line
        waiting += b"\n"
        if len(waiting) >= BLOCK:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _cell(text: object) -> object:
    """A cell; one that holds a JSON list or object is taken for that."""
    if not isinstance(text, str) or text.lstrip()[:1] not in ("[", "{"):
        return text
    try:
        return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(text)))
    except msgspec.DecodeError:
        return text


class _Stream(io.RawIOBase):
    """Blocks of bytes as a file that is read from its beginning to its end."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._left = memoryview(block)
        taken = min(len(buffer), len(self._left))
        buffer[:taken] = self._left[:taken]
        self._left = self._left[taken:]
        return taken


class _Ranges(io.RawIOBase):
    """A blob as a file that may be read anywhere: Parquet begins at its end."""

    def __init__(self, blob: BlobClient, size: int, condition: dict[str, Any]) -> None:
        self._blob = blob
        self._size = size
        self._condition = condition
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self._at, 0)
        wanted = left if size < 0 else min(size, left)
        if not wanted:
            return b""
        download = self._blob.download_blob(offset=self._at, length=wanted, **self._condition)
        found: bytes = download.readall()
        self._at += len(found)
        return found
