"""Generated conversations of the shape of HuggingFaceH4/ultrachat_200k, as files.

`prompt`, `prompt_id` and `messages` of two to eight turns; with paragraphs of sixty words a row comes to
ultrachat's mean of about 7 KB. No two rows are the same.

`python -m benchmarks.chats ROWS WORDS FILE...` writes them, the format by each file's ending.
"""

from __future__ import annotations

import hashlib
import random
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_WORDS = """
the of and to in is that it for was on are as with his they at be this from have or by one had
not but what all were when we there can an your which their said if do will each about how up
out them then she many some so these would other into has more her two like him see time could
no make than first been its who now people my made over did down only way find use may water
long little very after words called just where most know
""".split()  # noqa: SIM905
_BATCH = 1000


def rows(count: int, words: int) -> Iterator[dict[str, Any]]:
    """So many conversations, with paragraphs of so many words."""
    draw = random.Random(0)
    text = draw.choices(_WORDS, k=200_000)
    paragraphs = [
        " ".join(text[at : at + words]).capitalize() + "." for at in range(0, len(text) - words, 7)
    ]

    def said(length: int) -> str:
        start = draw.randrange(len(paragraphs) - length)
        return f"{draw.getrandbits(32):08x} " + '\n\n"Well," '.join(
            paragraphs[start : start + length]
        )

    for number in range(count):
        messages = [
            {"content": said(8 if turn % 2 else 1), "role": "assistant" if turn % 2 else "user"}
            for turn in range(draw.choice((2, 4, 6, 8)))
        ]
        key = hashlib.sha256(str(number).encode()).hexdigest()
        yield {"prompt": messages[0]["content"], "prompt_id": key, "messages": messages}


def write_jsonl(chats: Iterable[dict[str, Any]], path: Path) -> None:
    """One conversation a line."""
    with path.open("wb", buffering=1 << 20) as file:
        for chat in chats:
            file.write(msgspec.json.encode(chat))
            file.write(b"\n")


def write_parquet(chats: Iterable[dict[str, Any]], path: Path) -> None:
    """Compressed with zstd, in row groups as the hub's own converter writes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    remaining = iter(chats)
    message = pa.struct([("content", pa.string()), ("role", pa.string())])
    schema = pa.schema(
        [("prompt", pa.string()), ("prompt_id", pa.string()), ("messages", pa.list_(message))]
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        while batch := list(islice(remaining, _BATCH)):
            file.write_table(pa.Table.from_pylist(batch, schema))


if __name__ == "__main__":
    for name in sys.argv[3:]:
        target = Path(name)
        write = write_parquet if target.suffix == ".parquet" else write_jsonl
        write(rows(int(sys.argv[1]), int(sys.argv[2])), target)
