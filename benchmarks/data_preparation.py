"""What preparing data costs, against the notebook's way.

Rows have the shape of HuggingFaceH4/ultrachat_200k: `prompt`, `prompt_id` and `messages` of two to
eight turns, about 7 KB. Each way runs as a process of its own, imports included, from a local
jsonl file to local files; time is from start to end of that process, memory the peak of its
resident set.

Ours checks, hashes, looks up and counts each row and deals it out to three files. The notebook's
way is what Microsoft's fine-tuning notebook for chat completion does: load with `datasets`,
`to_json`, then `pandas.read_json` of the result; it checks nothing. It runs on fewer rows, since
its memory grows with them; the ratio is of rows per second.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parent.parent
#: Words of an answer: with turns drawn as below, a row comes to ultrachat's mean of about 7 KB.
_WORDS = """
the of and to in is that it for was on are as with his they at be this from have or by one had
not but what all were when we there can an your which their said if do will each about how up
out them then she many some so these would other into has more her two like him see time could
no make than first been its who now people my made over did down only way find use may water
long little very after words called just where most know
""".split()  # noqa: SIM905

_OURS = """
import sys
from pathlib import Path
from shared.data.folders import FileSource, FolderSink
from shared.data.prepare import Options, prepare
source, target = map(Path, sys.argv[1:])
options = Options(max_seq_length=2048)
prepared = prepare({"train": [FileSource(source)]}, FolderSink(target), options)
report = prepared.report
written = sum(split.rows for split in report.splits.values())
assert written + report.rows_dropped == report.rows_read
"""

_NOTEBOOK = """
import sys
from pathlib import Path
import datasets, pandas
datasets.disable_progress_bars()
source, target = map(Path, sys.argv[1:])
target.mkdir()
files, cache = str(source), str(target / "cache")
split = datasets.load_dataset("json", data_files=files, split="train", cache_dir=cache)
split.to_json(target / "train.jsonl")
frame = pandas.read_json(target / "train.jsonl", lines=True)
assert len(frame) == len(split)
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took: wall-clock and processor seconds, and peak resident bytes."""

    seconds: float
    processor: float
    memory: int


def rows(count: int, seed: int = 0) -> Iterator[bytes]:
    """Generated rows of ultrachat's shape: JSON lines without line breaks, no two the same."""
    draw = random.Random(seed)
    words = draw.choices(_WORDS, k=200_000)
    paragraphs = [
        " ".join(words[at : at + 60]).capitalize() + "." for at in range(0, len(words) - 60, 7)
    ]

    def text(length: int) -> str:
        start = draw.randrange(len(paragraphs) - length)
        return f"{draw.getrandbits(32):08x} " + '\n\n"Well," '.join(
            paragraphs[start : start + length]
        )

    for number in range(count):
        turns = draw.choice((2, 4, 6, 8))
        messages = [
            {"content": text(8 if turn % 2 else 1), "role": "assistant" if turn % 2 else "user"}
            for turn in range(turns)
        ]
        key = hashlib.sha256(str(number).encode()).hexdigest()
        row = {"prompt": messages[0]["content"], "prompt_id": key, "messages": messages}
        yield msgspec.json.encode(row)


def generate(path: Path, count: int) -> int:
    """Write so many rows to a file; its length in bytes."""
    with path.open("wb", buffering=1 << 20) as file:
        for row in rows(count):
            file.write(row)
            file.write(b"\n")
    return path.stat().st_size


def measured(program: str, source: Path, target: Path) -> Cost:
    """Run a program on two paths in a process of its own.

    Raises:
        RuntimeError: It failed; with its output.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = psutil.Popen(
            [sys.executable, "-W", "ignore", "-c", program, str(source), str(target)],
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        peak = 0
        while process.poll() is None:
            try:
                peak = max(peak, process.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.01)
        seconds = time.perf_counter() - started
        if process.wait():
            output.seek(0)
            raise RuntimeError(output.read().decode(errors="replace"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, processor, peak)


def run(ours: int = 200_000, notebook: int = 20_000) -> None:
    """Print both ways with time, rows per second and memory, and their ratio.

    Args:
        ours: Rows for our preparation. They take 7 KB of temporary disk each, twice.
        notebook: Rows for the notebook's way, which takes more memory the more they are.
    """
    with tempfile.TemporaryDirectory(prefix="droptune-bench-") as name:
        folder = Path(name)
        costs: dict[tuple[str, int], Cost] = {}
        for label, program, count in (
            ("Droptune", _OURS, min(ours, notebook)),
            ("Droptune", _OURS, ours),
            ("the notebook's way", _NOTEBOOK, notebook),
        ):
            source, target = folder / f"{count}.jsonl", folder / f"{count}-{len(costs)}"
            size = source.stat().st_size if source.exists() else generate(source, count)
            cost = costs[label, count] = measured(program, source, target)
            print(
                f"{label:20} {count:9,} rows {size / 1e6:8,.0f} MB {cost.seconds:7.1f} s"
                f" ({cost.processor:.1f} s of processor) {count / cost.seconds:8,.0f} rows/s"
                f" {cost.memory / 1e6:8,.0f} MB at peak"
            )
        here, there = costs["Droptune", ours], costs["the notebook's way", notebook]
        scale = ours / notebook
        print(
            f"as fast as the notebook's way, per row: {there.seconds * scale / here.seconds:.1f} times"
            f" ({there.processor * scale / here.processor:.1f} times by processor time)"
        )


def main() -> None:
    """Read the numbers of rows from the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=200_000, help="for Droptune (default 200,000)")
    parser.add_argument(
        "--notebook-rows", type=int, default=20_000, help="for the notebook's way (default 20,000)"
    )
    given = parser.parse_args()
    run(given.rows, given.notebook_rows)


if __name__ == "__main__":
    main()
