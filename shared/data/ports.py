"""Where rows come from and where prepared files go, as this package needs it.

Adapters fill these: blobs, a hub, https and local folders all look alike from here. Both sides
stream, so that a dataset's size never decides how much memory its preparation takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager


class Source(Protocol):
    """A `File`, or rows that come as JSON lines from somewhere else, a library that streams them, say."""

    @property
    def name(self) -> str:
        """What a person calls it.

        `data/train.jsonl`, or `hub:HuggingFaceH4/ultrachat_200k@<commit>/data/train_sft-00000-of-00003.parquet`.
        """
        ...

    @property
    def identity(self) -> str:
        """Name and version of the content (an ETag, a commit), which the fingerprint hashes.

        The same identity promises the same bytes: it is asked more than once and stays the same for
        the source's life, and `blocks` reads that version or fails. Raises `shared.errors.Missing` if
        there is no such source.
        """
        ...

    def size(self) -> int:
        """Bytes of it as they lie, by which work is shared out."""
        ...

    def blocks(self) -> Iterator[bytes]:
        """The bytes in order, read lazily, in blocks of at most a few megabytes."""
        ...


@runtime_checkable
class File(Source, Protocol):
    """A source whose bytes are as somebody wrote them: the ending of its name says the format.

    `shared.data.formats` makes rows of it. A source that is not a file is JSON lines, whatever its name.
    """

    def span(self, start: int, length: int) -> bytes:
        """So many bytes from `start` on (they are all there), of the version that `identity` names."""
        ...


class Sink(Protocol):
    """A folder that belongs to one fingerprint."""

    def exists(self, name: str) -> bool:
        """Whether a finished file of this name is there."""
        ...

    def read(self, name: str) -> bytes:
        """The whole of a small file. Raises `shared.errors.Missing` if it is not there."""
        ...

    def write(self, name: str) -> AbstractContextManager[Callable[[bytes], None]]:
        """Stream a file: call what the context gives with each block.

        Nothing is visible under `name` until the context ends without an exception; then all of it
        is, in place of whatever stood there before. After an exception nothing of it remains.
        """
        ...

    def address(self, name: str) -> str:
        """The file's address as a training job is given it, e.g. `azureml://datastores/…/train.jsonl`."""
        ...


class PartSink(Sink, Protocol):
    """A sink whose files several processes write together, each a part."""

    def blocks(self, name: str) -> Iterator[bytes]:
        """A file's bytes in order, read lazily. Raises `shared.errors.Missing` if it is not there."""
        ...

    def write_part(
        self, name: str, receipt: list[str]
    ) -> AbstractContextManager[Callable[[bytes], None]]:
        """Stream a part of a file: call what the context gives with each block.

        Nothing is visible under `name` until `join` is given the part's `receipt`, which is filled here and complete
        when the context ends. A part that is written twice is two parts; each receipt stands for its own bytes.
        """
        ...

    def join(self, name: str, receipts: Sequence[Sequence[str]]) -> None:
        """Make the file of these parts, in this order, visible at once; doing it twice changes nothing.

        Raises:
            shared.errors.Busy: Somebody else wrote the file since, and the parts are gone.
        """
        ...

    def remove(self, folder: str) -> None:
        """Remove every file whose name begins with `folder/`."""
        ...
