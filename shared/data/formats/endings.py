"""What a file's name says about its content: the format, and how it is packed.

The fine-tuning component goes by the ending as well, and so do people.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class Format(StrEnum):
    """How rows are written; the value is the ending."""

    JSONL = ".jsonl"
    JSON = ".json"
    CSV = ".csv"
    TSV = ".tsv"
    PARQUET = ".parquet"


class Packing(StrEnum):
    """How a file is compressed as a whole; the value is the ending."""

    GZIP = ".gz"
    ZSTD = ".zst"


class Kind(NamedTuple):
    """A format, and the packing around it if there is one."""

    format: Format
    packing: Packing | None = None


_ENDINGS: Final = {**{known.value: known for known in Format}, ".ndjson": Format.JSONL}

KNOWN: Final = (
    ", ".join(Format) + "; all but .parquet may be packed further as " + " or ".join(Packing)
)
"""The endings in words, for whoever named a file otherwise."""


def kind_of(name: str) -> Kind | None:
    """The kind of file that a path or address names, in upper or lower case; None for any other.

    >>> kind_of("chats/train.csv.GZ").packing
    <Packing.GZIP: '.gz'>
    >>> kind_of("train.txt") is None
    True
    """
    file = name.rpartition("/")[2].lower()
    stem, packing = file, None
    for known in Packing:
        if file.endswith(known):
            stem, packing = file.removesuffix(known), known
    for ending, known_format in _ENDINGS.items():
        if stem.endswith(ending):
            # Parquet packs its own pages, and is read from its end.
            return (
                None if packing and known_format is Format.PARQUET else Kind(known_format, packing)
            )
    return None
