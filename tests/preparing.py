"""A preparation as a process of its own, to be watched from outside, or killed at a chosen point.

`python -m tests.preparing SOURCE SINK [POINT]`: SINK is a folder, or `blobs:FINGERPRINT-FOLDER` in the storage that
TEST_STORAGE names. At POINT, `block N` of the source or the file of that name being written, it writes `here` and
does nothing more until it is killed. Otherwise it writes what came of it as JSON.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.data.folders import FileSource, FolderSink
from shared.data.prepare import Options, prepare
from shared.errors import DataRejected

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 14


@dataclass(frozen=True)
class Outcome:
    """What a preparation came to: its fingerprint if the data is fit, its problems if not, its peak of memory."""

    fingerprint: str | None
    problems: list[str]
    peak: int


def watched(source: Path, folder: Path, *, most: int) -> Outcome:
    """What a process of its own makes of a file, without a crash and in so many bytes of memory at most."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.preparing", source, folder],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr.decode(errors="replace")[-2000:]
    outcome = Outcome(**json.loads(process.stdout))
    assert outcome.peak < most, f"{outcome.peak >> 20} MiB"
    return outcome


def _stop() -> None:
    sys.stdout.write("here\n")
    sys.stdout.flush()
    sys.stdin.read()


class StoppingSource:
    """A file in small blocks, after so many of which it stops."""

    def __init__(self, path: Path, after: int) -> None:
        self._file = FileSource(path, path.name)
        self._after = after
        self.name = self._file.name
        self.identity = self._file.identity

    def blocks(self) -> Iterator[bytes]:
        content = b"".join(self._file.blocks())
        for number, start in enumerate(range(0, len(content), BLOCK)):
            if number == self._after:
                _stop()
            yield content[start : start + BLOCK]


class StoppingSink:
    """A sink that stops when all of one file is written, just before it would become visible."""

    def __init__(self, sink, name: str) -> None:
        self._sink, self._name = sink, name
        self.exists, self.read, self.address = sink.exists, sink.read, sink.address

    @contextmanager
    def write(self, name):
        with self._sink.write(name) as write:
            yield write
            if name == self._name:
                _stop()


def sink_of(name: str):
    if not name.startswith("blobs:"):
        return FolderSink(Path(name))
    from shared.cloud import staging
    from shared.cloud.datasets import BlobSink
    from shared.cloud.storage import StorageConnection

    staging.BLOCK = BLOCK  # so that some are sent when it is killed

    return BlobSink(
        StorageConnection(os.environ["TEST_STORAGE"]), "d", name.removeprefix("blobs:")
    )


def main(source: Path, sink_name: str, point: str = "") -> Outcome:
    sink = sink_of(sink_name)
    block = re.fullmatch(r"block (\d+)", point)
    if block:
        sources = {"train": [StoppingSource(source, int(block[1]))]}
    else:
        sources = {"train": [FileSource(source, source.name)]}
        sink = StoppingSink(sink, point)
    fingerprint, problems = None, []
    try:
        fingerprint = prepare(sources, sink, Options()).fingerprint
    except DataRejected as error:
        problems = list(map(str, error.problems))
    status = Path("/proc/self/status").read_text()
    peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    assert peak
    return Outcome(fingerprint, problems, int(peak[1]) << 10)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(main(Path(sys.argv[1]), *sys.argv[2:]))))
