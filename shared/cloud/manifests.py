"""Manifests as they lie in their container, notes of those that were seen, and reports for their authors."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Final

from shared.cloud.failures import failing
from shared.cloud.storage import MANIFESTS, REPORTS, RUNS, bare, content_type
from shared.runs.manifest import SIZE_LIMIT
from shared.runs.ports import Dropped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.cloud.storage import StorageConnection

_SEEN: Final = "seen/"
_NO_SUCH_RANGE: Final = 416


class BlobManifests:
    """`shared.runs.ports.Manifests` on the containers `manifests` and `reports`.

    A drop that was seen is noted as an empty blob `seen/HASH` in the container `runs`, with its path and
    ETag as metadata, which a listing brings along: a path may be as long as a blob's name, so it would not
    fit into one. A lifecycle rule may delete old notes: a manifest without one is received again, as the run
    that it is.
    """

    def __init__(self, connection: StorageConnection) -> None:
        self._connection = connection

    def read(self, path: str) -> tuple[bytes, str]:
        """Content and ETag; of a blob over the size limit, one byte more than the limit.

        Raises:
            Missing: It is gone.
        """
        from azure.core.exceptions import HttpResponseError

        blob = self._connection.container(MANIFESTS).get_blob_client(path)
        with failing(f"reading the manifest {path}"):
            try:
                download = blob.download_blob(offset=0, length=SIZE_LIMIT + 1)
            except HttpResponseError as error:
                if error.status_code != _NO_SUCH_RANGE:
                    raise
                return b"", bare(blob.get_blob_properties().etag)  # an empty blob has no range
            return download.readall(), bare(download.properties.etag)

    def listed(self) -> Iterator[Dropped]:
        """Every blob in the container."""
        with failing("listing the manifests"):
            for blob in self._connection.container(MANIFESTS).list_blobs():
                yield Dropped(blob.name, bare(blob.etag))

    def seen(self) -> Iterator[Dropped]:
        """Every drop that was noted."""
        with failing("listing the drops that were seen"):
            notes = self._connection.container(RUNS).list_blobs(
                name_starts_with=_SEEN, include=["metadata"]
            )
            for note in notes:
                drop = dropped_from(note.metadata or {})
                if drop is not None:
                    yield drop

    def note_seen(self, drop: Dropped) -> None:
        """Note that this drop has become a run. Doing it twice changes nothing."""
        blob = self._connection.container(RUNS).get_blob_client(_SEEN + note_name(drop))
        with failing(f"noting that the manifest {drop.path} was seen"):
            blob.upload_blob(b"", overwrite=True, metadata=metadata_of(drop))

    def report(self, path: str, body: bytes) -> None:
        """Write `<path>.errors.json` for the manifest's author."""
        self._tell(path, ".errors.json", body)

    def show_data(self, path: str, page: bytes) -> None:
        """Write `<path>.data.html`, which a browser opens as a page."""
        self._tell(path, ".data.html", page)

    def _tell(self, path: str, ending: str, body: bytes) -> None:
        from azure.storage.blob import ContentSettings

        settings = ContentSettings(content_type=content_type(ending))
        blob = self._connection.container(REPORTS).get_blob_client(path + ending)
        with failing(f"writing {path}{ending}"):
            blob.upload_blob(body, overwrite=True, content_settings=settings)


def note_name(drop: Dropped) -> str:
    """The name of a drop's note: one for each path and ETag.

    >>> len(note_name(Dropped("a.json", "0x8D")))
    64
    """
    return hashlib.sha256(f"{drop.path}\0{drop.etag}".encode()).hexdigest()


def metadata_of(drop: Dropped) -> dict[str, str]:
    """A drop as metadata, which holds nothing but ASCII."""
    return {"path": base64.urlsafe_b64encode(drop.path.encode()).decode(), "drop": drop.etag}


def dropped_from(metadata: dict[str, str]) -> Dropped | None:
    """The drop in a note's metadata; `None` if somebody else wrote it."""
    try:
        path = base64.b64decode(metadata["path"], altchars=b"-_", validate=True).decode()
        return Dropped(path, metadata["drop"])
    except (KeyError, binascii.Error, UnicodeDecodeError):
        return None
