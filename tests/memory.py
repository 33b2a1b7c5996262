"""Fakes at the ports of `shared.data`: sources and a sink in memory that keep its promises."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shared.errors import Busy, Missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class MemorySource:
    """Bytes as a source, handed out in blocks of a chosen size; counts how often it is read."""

    def __init__(
        self, content: bytes, name: str = "data/train.jsonl", block: int = 1 << 16
    ) -> None:
        self.content = content
        self.name = name
        self.block = block
        self.readings = 0

    @property
    def identity(self) -> str:
        return f"{self.name}#{hashlib.sha256(self.content).hexdigest()}"

    def blocks(self) -> Iterator[bytes]:
        self.readings += 1
        for start in range(0, len(self.content), self.block):
            yield self.content[start : start + self.block]


class MissingSource(MemorySource):
    """A source that is not there."""

    @property
    def identity(self) -> str:
        raise Missing("no such blob")


class MemorySink:
    """A folder in memory. `log` has the names in the order in which they became visible."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.parts: dict[str, bytes] = {}
        self.log: list[str] = []
        self.failing: str | None = None

    def exists(self, name: str) -> bool:
        return name in self.files

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise Missing(name)
        return self.files[name]

    @contextmanager
    def write(self, name: str) -> Iterator[Callable[[bytes], None]]:
        blocks: list[bytes] = []
        yield blocks.append
        if name == self.failing:
            raise OSError("the disk is full")
        self.files[name] = b"".join(blocks)
        self.log.append(name)

    def blocks(self, name: str) -> Iterator[bytes]:
        content = self.read(name)
        for start in range(0, len(content), 7):  # no multiple of anything
            yield content[start : start + 7]

    @contextmanager
    def write_part(self, name: str, receipt: list[str]) -> Iterator[Callable[[bytes], None]]:
        def write(block: bytes) -> None:
            receipt.append(f"{name}-{len(self.parts)}")
            self.parts[receipt[-1]] = block

        yield write

    def join(self, name: str, receipts: Sequence[Sequence[str]]) -> None:
        wanted = [block for receipt in receipts for block in receipt]
        if any(block not in self.parts for block in wanted):
            raise Busy(name)
        self.files[name] = b"".join(self.parts[block] for block in wanted)
        self.log.append(name)

    def remove(self, folder: str) -> None:
        for name in [name for name in self.files if name.startswith(f"{folder}/")]:
            del self.files[name]

    def address(self, name: str) -> str:
        return f"memory://{name}"

    def rows(self, name: str) -> list[Any]:
        return [json.loads(line) for line in self.read(name).splitlines()]


def conversation(*texts: str, system: str | None = None, **columns: Any) -> dict[str, Any]:
    """A row whose turns alternate between user and assistant."""
    messages = [{"role": "system", "content": system}] if system else []
    messages += [
        {"role": "assistant" if number % 2 else "user", "content": text}
        for number, text in enumerate(texts)
    ]
    return {"messages": messages, **columns}


def jsonl(*rows: Any) -> bytes:
    """Rows as a file: bytes as they are, anything else encoded."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return b"".join(line + b"\n" for line in lines)


def conversations(count: int, start: int = 0) -> list[dict[str, Any]]:
    """So many valid rows, no two alike."""
    return [conversation(f"question {n}", f"answer {n}") for n in range(start, start + count)]
