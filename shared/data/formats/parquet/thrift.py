"""Thrift's compact protocol, as much as Parquet's own facts are written in.

The protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md. Read here and not
through Arrow's accessors, which end the whole process where a footer is damaged in certain places.
"""

from __future__ import annotations

from typing import Final

Value = int | bytes | list["Value"] | dict[int, "Value"] | None
"""A whole number, a text, a list, or a struct by the numbers of its fields; of anything else only that it was there."""

_BOOLEANS, _BYTE, _INTEGERS, _DOUBLE, _BINARY = (1, 2), 3, (4, 5, 6), 7, 8
_LISTS, _STRUCT = (9, 10), 12
_LONG: Final = 15
_DEEPEST: Final = 16
_MOST: Final = 224 << 20
"""Bytes of memory that values may take, as far as can be told: those of a struct of two bytes are a hundredfold."""
_STRUCT_TAKES, _VALUE_TAKES = 232, 24


class Unfinished(Exception):
    """The value goes on beyond the bytes at hand."""


class Malformed(Exception):
    """The bytes are no value of this protocol."""


class TooMany(Malformed):
    """There are more values than there is room for."""


class Compact:
    """Reads values from the beginning of some bytes.

    Attributes:
        at: How many bytes were read.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data
        self._room = _MOST
        self.at = 0

    def struct(self, depth: int = 0) -> dict[int, Value]:
        """The struct that comes next.

        Raises:
            Unfinished: It goes on beyond the bytes.
            Malformed: It is none.
        """
        if depth > _DEEPEST:
            raise Malformed("values are nested too deeply")
        self._take(_STRUCT_TAKES)
        found: dict[int, Value] = {}
        number = 0
        while kind := self._byte():
            step = kind >> 4
            number = number + step if step else self._integer()
            found[number] = self._value(kind & 0x0F, depth)
        return found

    def _take(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise TooMany(f"values that take more than {_MOST >> 20} MiB")

    def _value(self, kind: int, depth: int) -> Value:
        self._take(_VALUE_TAKES)
        if kind in _INTEGERS:
            return self._integer()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in _LISTS:
            return self._list(depth)
        if kind == _BINARY:
            size = self._varint()
            self._skip(size)
            self._take(size)
            return bytes(self._data[self.at - size : self.at])
        if kind in (_BYTE, _DOUBLE):
            self._skip(1 if kind == _BYTE else 8)
        elif kind not in _BOOLEANS:
            raise Malformed(f"a value of the type {kind}")
        return None

    def _list(self, depth: int) -> list[Value]:
        if depth > _DEEPEST:
            raise Malformed("values are nested too deeply")
        first = self._byte()
        count, inner = first >> 4, first & 0x0F
        if count == _LONG:
            count = self._varint()
        if inner in _BOOLEANS:
            inner = _BYTE  # in a list each takes a byte
        return [self._value(inner, depth + 1) for _ in range(count)]

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._data):
            raise Unfinished

    def _byte(self) -> int:
        self._skip(1)
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004
                return value
            shift += 7
            if shift > 63:  # noqa: PLR2004
                raise Malformed("a number of more than 64 bits")

    def _integer(self) -> int:
        """A number with its sign in the last bit."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
