"""The ways of preparing data that `data_preparation` compares, each run as a process of its own.

`python -m benchmarks.ways WAY SOURCE TARGET` works and prints its peak of resident memory in bytes. A way
imports what it needs and nothing else, since its imports count.
"""

from __future__ import annotations

import re
import resource
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.cloud.datasets import BlobSink
    from shared.data.ports import Sink

_BLOCK = 1 << 20


def notebook(source: Path, target: Path) -> None:
    """What Microsoft's fine-tuning notebook for chat completion does; it checks nothing."""
    import datasets
    import pandas as pd

    target.mkdir()
    datasets.disable_progress_bars()
    kind = "json" if source.suffix == ".jsonl" else "parquet"
    split = datasets.load_dataset(
        kind, data_files=str(source), split="train", cache_dir=str(target / "cache")
    )
    split.to_json(target / "train.jsonl")
    frame = pd.read_json(target / "train.jsonl", lines=True)
    assert len(frame) == len(split)


def bare(source: Path, target: Path) -> None:
    """The least that a reader of JSON lines does: decode each line with types and write it on as it is.

    It checks no more than that a row has messages of texts, and keeps its other columns, which ours leaves out.
    """
    import msgspec

    message = msgspec.defstruct("Message", [("role", str), ("content", str)], gc=False)
    row = msgspec.defstruct("Row", [("messages", list[message])], gc=False)  # type: ignore[valid-type]
    decode = msgspec.json.Decoder(row).decode
    target.mkdir()
    with source.open("rb") as lines, (target / "train.jsonl").open("wb") as file:
        for line in lines:
            decode(line)
            file.write(line)


def droptune(source: Path, target: Path) -> None:
    """Ours, to a folder."""
    from shared.data.folders import FolderSink

    _prepare(source, FolderSink(target))


def parsing(source: Path, _: Path) -> None:
    """Ours, to nowhere: reading and checking alone."""
    _prepare(source, _Nowhere())


def uploading(source: Path, target: Path) -> None:
    """What `droptune` wrote to the folder `source`, to blobs: sending alone."""
    sink = _blobs(target.name)
    for path in sorted(source.iterdir()):
        with path.open("rb", buffering=0) as file, sink.write(path.name) as write:
            while block := file.read(_BLOCK):
                write(block)


def both(source: Path, target: Path) -> None:
    """Ours, to blobs."""
    _prepare(source, _blobs(target.name))


def _prepare(source: Path, sink: Sink) -> None:
    from shared.data.folders import FileSource
    from shared.data.prepare import Options, prepare

    sources = {"train": [FileSource(source)]}
    report = prepare(sources, sink, Options(max_seq_length=2048)).report
    written = sum(split.rows for split in report.splits.values())
    assert written
    assert written + report.rows_dropped == report.rows_read


def _blobs(folder: str) -> BlobSink:
    import os

    from shared.cloud.datasets import BlobSink
    from shared.cloud.storage import StorageConnection, make_ready

    connection = StorageConnection(os.environ["BENCHMARK_STORAGE"])
    make_ready(connection)
    return BlobSink(connection, "benchmark", folder)


class _Nowhere:
    """A sink that keeps nothing."""

    def exists(self, _name: str) -> bool:
        return False

    def read(self, name: str) -> bytes:
        raise NotImplementedError(name)

    @contextmanager
    def write(self, _name: str) -> Iterator[Callable[[bytes], None]]:
        yield lambda _block: None

    def address(self, name: str) -> str:
        return name


def peak_of(process: int | str) -> int:
    """The peak of a process's resident memory in bytes since its program was loaded; 0 if it is gone, or not on Linux.

    Args:
        process: Its id, or `self`.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


if __name__ == "__main__":
    ways = {way.__name__: way for way in (notebook, bare, droptune, parsing, uploading, both)}
    ways[sys.argv[1]](*map(Path, sys.argv[2:]))
    print(peak_of("self") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
