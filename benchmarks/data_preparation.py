"""What preparing data costs: against the notebook's way, in memory however many rows, and with the upload.

Each way (`ways`) runs as a process of its own, imports included, on generated conversations (`chats`); time
is from start to end of that process, memory the peak of its resident set, and of each process that it begins
besides: what they share is counted for each.

Ours checks, hashes, looks up and counts each row and deals it out to three files. The notebook's way is what
Microsoft's fine-tuning notebook for chat completion does: load with `datasets`, `to_json`, then
`pandas.read_json` of the result; it checks nothing. A bare reader decodes each line and writes it on: what any
reader in Python takes on this machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks.ways import peak_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

REPOSITORY = Path(__file__).resolve().parent.parent
FORMATS = ("jsonl", "parquet")

#: Words of a paragraph: rows of about 7 KB, as ultrachat's, and of about 1 KB for the many.
LONG, SHORT = 60, 4
#: The notebook's way needs about 45 KB of memory a row.
_NOTEBOOK_BYTES = 50_000
_UPLOADS = 3
#: Seconds between two looks at the memory of further processes.
_PACE = 0.02


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process and those that it began took: wall-clock and processor seconds, and peak resident bytes."""

    seconds: float
    processor: float
    memory: int

    def __str__(self) -> str:
        """The three in one line."""
        return (
            f"{self.seconds:7.1f} s {self.processor:7.1f} s of processor"
            f" {self.memory / 1e6:8,.0f} MB at peak"
        )


def measured(way: str, source: Path, target: Path, more: Mapping[str, str] | None = None) -> Cost:
    """Run one of `ways` in a process of its own, with `more` in its environment; remove the target.

    Raises:
        RuntimeError: It failed; with its output.
    """
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "benchmarks.ways",
        way,
        str(source),
        str(target),
    ]
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=os.environ | (more or {}),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        with watched(process.pid) as peaks:
            _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read().decode(errors="replace")
    if process.returncode:
        raise RuntimeError(said)
    memory = int(said.split()[-1]) + sum(peaks.values())
    return Cost(seconds, used.ru_utime + used.ru_stime, memory)


@contextmanager
def watched(pid: int) -> Iterator[dict[int, int]]:
    """The peaks of resident memory in bytes of the processes that a process begins, by their ids."""
    peaks: dict[int, int] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_PACE):
            with suppress(psutil.NoSuchProcess):
                for begun in psutil.Process(pid).children(recursive=True):
                    peaks[begun.pid] = peak_of(begun.pid) or peaks.get(begun.pid, 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        over.set()
        watcher.join()


def generate(count: int, words: int, *paths: Path) -> None:
    """Write conversations to files, in a process of its own so that this one stays small."""
    command = [sys.executable, "-m", "benchmarks.chats", str(count), str(words)]
    subprocess.run([*command, *map(str, paths)], cwd=REPOSITORY, check=True)


@contextmanager
def generated(
    folder: Path, count: int, words: int, formats: Sequence[str]
) -> Iterator[list[Path]]:
    """Files of so many conversations, gone afterwards."""
    paths = [folder / f"{count}.{ending}" for ending in formats]
    generate(count, words, *paths)
    yield paths
    for path in paths:
        path.unlink()


def told(label: str, count: int, source: Path, cost: Cost) -> None:
    """Print one line."""
    print(
        f"{label:18} {source.suffix[1:]:8} {count:9,} rows {source.stat().st_size / 1e6:7,.0f} MB"
        f" {cost} {count / cost.seconds:8,.0f} rows/s",
        flush=True,
    )


def against_the_notebook(folder: Path, ours: int, notebook: int) -> None:
    """Both ways, from jsonl and from parquet, and how many times as fast ours is by the row.

    Args:
        folder: Where there is room for ten times the rows.
        ours: Rows for our preparation, of about 7 KB.
        notebook: Rows for the notebook's way.
    """
    with generated(folder, ours, LONG, FORMATS) as sources:
        fewer = sources
        if notebook != ours:
            fewer = [folder / f"{notebook}.{ending}" for ending in FORMATS]
            generate(notebook, LONG, *fewer)
        for source, smaller in zip(sources, fewer, strict=True):
            here = _once("droptune", source, folder)
            told("Droptune", ours, source, here)
            there = _once("notebook", smaller, folder)
            told("the notebook's way", notebook, smaller, there)
            if source.suffix == ".jsonl":
                told("a bare reader", ours, source, _once("bare", source, folder))
            scale = ours / notebook
            print(
                f"as fast as the notebook's way, from {source.suffix[1:]}:"
                f" {there.seconds * scale / here.seconds:.1f} times"
                f" ({there.processor * scale / here.processor:.1f} by processor time),"
                f" in {there.memory / here.memory:.0f} times less memory"
            )


def in_memory(folder: Path, counts: Sequence[int]) -> None:
    """How much memory ours takes however many rows there are.

    Args:
        folder: Where there is room for a few KB a row.
        counts: Numbers of rows of about 1 KB.
    """
    for count in counts:
        with generated(folder, count, SHORT, FORMATS) as sources:
            for source in sources:
                told("Droptune", count, source, _once("droptune", source, folder))


def with_upload(folder: Path, count: int) -> None:
    """The whole with the upload to Azurite, against the longer of its parts.

    Each is the best of several, taken in turn: whatever else the machine does strikes them all alike.

    Args:
        folder: Where there is room.
        count: Rows of about 7 KB.
    """
    from local.azurite import Azurite
    from local.certificates import ensure_certificates
    from local.ports import free_port

    certificates = ensure_certificates(folder / "certificates")
    with generated(folder, count, LONG, ("jsonl",)) as (source,):
        prepared = folder / "prepared"
        measured("droptune", source, prepared)
        best: dict[str, Cost] = {}
        for turn in range(_UPLOADS):
            with Azurite(
                folder / f"azurite-{turn}", certificates, free_port(), free_port()
            ) as azurite:
                environment = {
                    "BENCHMARK_STORAGE": azurite.connection_string,
                    "REQUESTS_CA_BUNDLE": str(certificates.bundle),
                }
                for way in ("parsing", "uploading", "both"):
                    given = prepared if way == "uploading" else source
                    cost = measured(way, given, folder / way, environment)
                    if way not in best or cost.seconds < best[way].seconds:
                        best[way] = cost
            shutil.rmtree(folder / f"azurite-{turn}")
        shutil.rmtree(prepared)
        for way, cost in best.items():
            told(way, count, source, cost)
    longer = max(best["parsing"].seconds, best["uploading"].seconds)
    print(f"the whole, against the longer of its parts: {best['both'].seconds / longer:.2f} times")


def _once(way: str, source: Path, folder: Path) -> Cost:
    target = folder / "target"
    cost = measured(way, source, target)
    shutil.rmtree(target, ignore_errors=True)
    return cost


def _affordable(rows: int) -> int:
    """As many rows as the notebook's way has memory for, here and now."""
    most = psutil.virtual_memory().available // _NOTEBOOK_BYTES
    return rows if rows <= most else max(most // 1000 * 1000, 1000)


def run(
    rows: int = 200_000,
    notebook: int | None = None,
    upload: int = 50_000,
    many: Sequence[int] = (20_000, 200_000, 2_000_000),
) -> None:
    """Print everything.

    Args:
        rows: For the comparison, of about 7 KB; they take temporary disk, up to five times their size.
        notebook: For the notebook's way, if it shall have fewer; by default as many as fit into memory.
        upload: For the upload.
        many: Numbers of rows of about 1 KB to show memory at.
    """
    with tempfile.TemporaryDirectory(prefix="droptune-bench-") as name:
        folder = Path(name)
        against_the_notebook(folder, rows, notebook or _affordable(rows))
        in_memory(folder, many)
        with_upload(folder, upload)


def main() -> None:
    """Read the numbers of rows from the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=200_000, help="to compare with (200,000)")
    parser.add_argument("--notebook-rows", type=int, help="for the notebook's way (as many)")
    parser.add_argument("--upload-rows", type=int, default=50_000, help="to upload (50,000)")
    parser.add_argument(
        "--many",
        type=int,
        nargs="*",
        default=[20_000, 200_000, 2_000_000],
        help="small rows to show memory at (20,000 200,000 2,000,000)",
    )
    given = parser.parse_args()
    run(given.rows, given.notebook_rows, given.upload_rows, given.many)


if __name__ == "__main__":
    main()
