"""The longest text in a dictionary of Parquet: the most that a reference may become.

A text is written as its length, four bytes, and its bytes
(https://parquet.apache.org/docs/file-format/data-pages/encodings/, "Plain").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from shared.data.formats.parquet.room import Page

_MOST_TEXTS: Final = 1 << 16
"""Dictionaries of more are not looked through: that would take longer than it saves."""
_LENGTH: Final = 4
#: By Parquet's numbers what Arrow calls the ways to pack pages.
_PACKINGS: Final = {
    0: None,
    1: "snappy",
    2: "gzip",
    4: "brotli",
    6: "zstd",
    7: "lz4_raw",
}


def is_worth_a_look(page: Page, packing: int) -> bool:
    """Whether a dictionary can be looked through in little time."""
    return page.values <= _MOST_TEXTS and packing in _PACKINGS


def longest_text(page: Page, packing: int, data: bytes) -> int:
    """Bytes of the longest text of a dictionary; of one that is damaged, the dictionary's own size.

    Args:
        page: What its header says.
        packing: How it is packed, by Parquet's number.
        data: The page without its header.
    """
    import pyarrow as pa

    name = _PACKINGS[packing]
    try:
        texts = (
            data
            if name is None
            else pa.decompress(data, decompressed_size=page.unpacked, codec=name, asbytes=True)
        )
    except (pa.ArrowException, OSError):  # Arrow is to say so when it reads the page
        return page.unpacked
    longest = at = 0
    while at < len(texts):
        length = int.from_bytes(texts[at : at + _LENGTH], "little")
        longest = max(longest, length)
        at += _LENGTH + length
    return min(longest, page.unpacked)
