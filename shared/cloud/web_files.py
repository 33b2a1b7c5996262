"""Files on https servers as `shared.data` reads them.

A file is known by its ETag, or else by Last-Modified, and its length. A server that tells neither is refused rather
than hashed: to hash is to download everything once more before the fingerprint is known, and what is then downloaded
for the rows might still be another version.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from shared.cloud.failures import of_status
from shared.cloud.web import NotAllowed, shown
from shared.errors import DataRejected, Missing, Problem, StaleRecord, Transient, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.cloud.web import Web

LARGEST: Final = 64 << 30
"""Most bytes of a file that is read from a server; more should lie in the storage account."""
BLOCK: Final = 1 << 20

_ATTEMPTS: Final = 4
"""How often the same byte is asked for."""
_RETRIES: Final = 50
"""How often anything is asked for again, over one reading of a file."""
_LONGEST_PAUSE: Final = 10.0
_OK, _PARTIAL, _CHANGED, _BEYOND = 200, 206, 412, 416
_GONE: Final = frozenset({404, 410})
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_UPLOAD: Final = "Upload the file to the container 'data'"


@dataclass(frozen=True, slots=True)
class _Version:
    """What a server says of a file: `mark` is its ETag, or when it was last modified."""

    mark: str
    size: int


class WebFile:
    """`shared.data.ports.File`: a file on an https server, the same version from the first byte to the last.

    Args:
        web: What may be asked, and how.
        url: The file's address.
        pause: Waits so many seconds.
    """

    def __init__(self, web: Web, url: str, pause: Callable[[float], None] = time.sleep) -> None:
        self._web = web
        self._url = url
        self._pause = pause
        self._found: _Version | None = None

    @property
    def name(self) -> str:
        """The address without its query, which may hold a signature."""
        return shown(self._url)

    @property
    def identity(self) -> str:
        """Address, ETag or date, and length; of the query a hash.

        Raises:
            Missing: There is no such file.
            DataRejected: It may not be asked for, or its version cannot be known.
        """
        version = self._version()
        query = urlsplit(self._url).query
        asked = f"?{hashlib.sha256(query.encode()).hexdigest()[:16]}" if query else ""
        return f"{self.name}{asked}#{version.mark}-{version.size}"

    def size(self) -> int:
        """Its length in bytes."""
        return self._version().size

    def blocks(self) -> Iterator[bytes]:
        """Its bytes, a mebibyte at a time; a broken connection is taken up where it broke."""
        at, size = 0, self.size()
        patience = _Patience(self._pause)
        while at < size:
            try:
                with self._asked(at, size - 1) as answer:
                    if answer.status == _OK:
                        _skip(answer, at)
                    while block := answer.read(min(BLOCK, size - at)):
                        at += len(block)
                        patience.renew()
                        yield block
                if at < size:
                    raise Unavailable(f"reading {self.name}: the connection ended early")
            except Transient as error:
                patience.spend(error)

    def span(self, start: int, length: int) -> bytes:
        """So many bytes from `start` on.

        Raises:
            DataRejected: The server gives files as a whole only.
        """
        patience = _Patience(self._pause)
        while True:
            try:
                with self._asked(start, start + length - 1) as answer:
                    if answer.status != _PARTIAL and (start, length) != (0, self.size()):
                        raise self._rejected(
                            "is on a server that gives no parts of files", _UPLOAD
                        )
                    found = answer.read(length)
                if len(found) == length:
                    return found
                raise Unavailable(f"reading {self.name}: the connection ended early")
            except Transient as error:
                patience.spend(error)

    def _version(self) -> _Version:
        patience = _Patience(self._pause)
        while self._found is None:
            try:
                with self._answered({"Range": "bytes=0-0"}) as answer:
                    self._found = self._version_in(answer)
            except Transient as error:
                patience.spend(error)
        return self._found

    @contextmanager
    def _asked(self, first: int, last: int) -> Iterator[http.client.HTTPResponse]:
        """The answer to a request for a part, or the whole, of the version that the identity names."""
        version = self._version()
        headers = {"Range": f"bytes={first}-{last}"}
        if version.mark.startswith('"'):
            headers["If-Match"] = version.mark
        with self._answered(headers) as answer:
            if self._version_in(answer) != version:
                raise StaleRecord(f"{self.name} was replaced while it was read")
            part = answer.headers.get("Content-Range", "")
            if answer.status == _PARTIAL and not part.startswith(f"bytes {first}-"):
                raise self._rejected(f"comes as another part than was asked for: {part}", _UPLOAD)
            yield answer

    @contextmanager
    def _answered(self, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
        """An answer that holds bytes of the file, or the error that it stands for."""
        sent = {"Accept-Encoding": "identity", "User-Agent": "droptune", **headers}
        try:
            with self._web.get(self._url, sent) as answer:
                self._check(answer)
                yield answer
        except NotAllowed as error:
            raise self._rejected(str(error), error.mend) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"reading {self.name}: {str(error) or type(error).__name__}"
            ) from error

    def _check(self, answer: http.client.HTTPResponse) -> None:
        status = answer.status
        if status in _GONE:
            raise Missing(f"{self.name}: the server has no such file")
        if status == _CHANGED:
            raise StaleRecord(f"{self.name} was replaced while it was read")
        if status not in (_OK, _PARTIAL, _BEYOND):
            error = of_status(
                status,
                f"reading {self.name}: the server answers {status}",
                headers=dict(answer.headers),
            )
            if isinstance(error, Transient):
                raise error
            raise self._rejected(f"cannot be read: the server answers {status}", _UPLOAD)
        coding = answer.headers.get("Content-Encoding", "identity").removeprefix("x-")
        # For a file that is packed, some servers tell so in this way; the bytes are the file's all the same.
        if coding != "identity" and not (coding == "gzip" and self.name.endswith(".gz")):
            raise self._rejected(
                f"comes in the coding '{coding}', which was not asked for", _UPLOAD
            )

    def _version_in(self, answer: http.client.HTTPResponse) -> _Version:
        headers = answer.headers
        length = headers.get("Content-Length", "")
        if answer.status != _OK:
            length = headers.get("Content-Range", "").rpartition("/")[2]
        mark = headers.get("ETag") or headers.get("Last-Modified")
        if answer.status == _BEYOND and length == "0":  # the first byte of an empty file
            return _Version(mark or "empty", 0)
        if answer.status == _BEYOND:
            raise StaleRecord(f"{self.name} was replaced while it was read")
        if not _LENGTH.fullmatch(length):
            raise self._rejected("is of a length that the server does not tell", _UPLOAD)
        if mark is None:
            raise self._rejected(
                "has no version: the server tells neither ETag nor Last-Modified, so that a change while it is"
                " read would go unseen",
                _UPLOAD,
            )
        if int(length) > LARGEST:
            raise self._rejected(f"is larger than {LARGEST >> 30} GiB", _UPLOAD)
        return _Version(mark, int(length))

    def _rejected(self, reason: str, mend: str = "") -> DataRejected:
        return DataRejected([Problem(self.name, reason, mend)])


class _Patience:
    """How often one reading may begin anew, and how long it waits before."""

    def __init__(self, pause: Callable[[float], None]) -> None:
        self._pause = pause
        self._failed = 0
        self._in_all = 0

    def renew(self) -> None:
        """Something came through."""
        self._failed = 0

    def spend(self, error: Transient) -> None:
        """Wait after a failure, as long as the server asks for within reason; raise it if it is one too many."""
        self._failed += 1
        self._in_all += 1
        if self._failed >= _ATTEMPTS or self._in_all > _RETRIES:
            raise error
        asked = (
            error.retry_after.total_seconds() if error.retry_after else 2.0 ** (self._failed - 1)
        )
        self._pause(min(asked, _LONGEST_PAUSE))


def _skip(answer: http.client.HTTPResponse, count: int) -> None:
    """Read over so many bytes, of a server that gives files as a whole only."""
    while count > 0 and (passed := len(answer.read(min(BLOCK, count)))):
        count -= passed
