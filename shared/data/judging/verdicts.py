"""What becomes of each row, as far as the row alone decides: an example, a refused row, or nothing.

It depends neither on other rows nor on the order in which they come, so it may be done anywhere, and by several
processes at once (`judges`). What does depend on other rows follows, in their order (`selection`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shared.data.lines import Parsed
from shared.data.reasons import Reason, Refusal
from shared.data.rows import Example, Reader
from shared.data.splitting import digest_with

if TYPE_CHECKING:
    from shared.data.lines import Lines
    from shared.data.options import Options

_EXCERPT = 200


class Refused(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """A row that is no example, or not the first of its kind.

    Attributes:
        reason: The kind of fault.
        detail: Where exactly it lies.
        digest: 16 bytes that stand for the row as it was read; none if it is known to belong to the sample.
        excerpt: The row's first bytes.
    """

    reason: Reason
    detail: str
    digest: bytes
    excerpt: bytes


Verdict = Example | Refused | None
"""None for a blank line, which is no row."""


class Judge:
    """Judges rows.

    Args:
        options: How the dataset is prepared.
    """

    def __init__(self, options: Options) -> None:
        reader = Reader(options)
        self._read = reader.read
        self._digest = digest_with(options.seed)
        self.columns_among = reader.columns_among

    def verdicts(self, chunk: Lines | Parsed) -> list[Verdict]:
        """One for each row, in their order."""
        if chunk.refusal is not None:
            return [self._refused(line, chunk.refusal) for line in chunk.lines]
        rows = chunk.rows if isinstance(chunk, Parsed) else chunk.lines
        read = self._read
        found = [read(row) for row in rows]
        return [
            self._refused(chunk.line(number), verdict) if isinstance(verdict, Refusal) else verdict
            for number, verdict in enumerate(found, chunk.first)
        ]

    def _refused(self, line: bytes, refusal: Refusal) -> Refused:
        return refused(line, refusal, self._digest(line))


def refused(line: bytes, refusal: Refusal, digest: bytes = b"") -> Refused:
    """A row, refused.

    Args:
        line: The row as it was read.
        refusal: Why.
        digest: Of the row, if the sample is not known to hold it.
    """
    return Refused(refusal.reason, refusal.detail, digest, line[:_EXCERPT])
