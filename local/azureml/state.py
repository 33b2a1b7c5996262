"""What the emulator remembers: JSON documents by resource id, in one SQLite file.

Each write is a committed transaction of a write-ahead log, so that a SIGKILL at any moment loses
nothing that was answered. Lists read one page through an index, however many documents there are.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_SCHEMA = """
create table if not exists documents (
    sequence integer primary key autoincrement,
    kind     text not null,
    key      text not null,
    id       text not null,
    version  integer not null,
    body     text not null,
    unique (kind, key)
);
create index if not exists documents_by_age on documents (kind, sequence);
"""

Body = dict[str, Any]
_Row = tuple[Any, ...]
_Rows = list[_Row]


@dataclass(frozen=True, slots=True)
class Document:
    """One stored resource.

    Attributes:
        id: Its id as first written (look-ups ignore case, as ARM does).
        sequence: Grows with each new document: the order of creation.
        version: 1 when made, one more with each change.
        body: The JSON object. A copy: change it and `put` it.
    """

    id: str
    sequence: int
    version: int
    body: Body


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list; `token` continues it and is None at the end."""

    documents: tuple[Document, ...]
    token: str | None


_Documents = list[Document]


class Conflict(Exception):
    """A guarded `put` found another version than expected."""


class Store:
    """Documents of several kinds, each found by its id.

    Args:
        path: The database file; made with its folder if it is missing.

    Use it from one thread (the server's event loop).
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = normal")
        self._connection.execute("pragma busy_timeout = 5000")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """The autocommitting connection, for modules that need a table of their own."""
        return self._connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Write everything inside or nothing of it. Do not await inside."""
        self._connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._connection.execute("rollback")
            raise
        self._connection.execute("commit")

    def get(self, kind: str, document_id: str) -> Document | None:
        """The document with that id, or None."""
        row = self._connection.execute(
            "select id, sequence, version, body from documents where kind = ? and key = ?",
            (kind, document_id.lower()),
        ).fetchone()
        return _document(row) if row else None

    def put(
        self, kind: str, document_id: str, body: Body, *, expected_version: int | None = None
    ) -> Document:
        """Write a document, whether it is new or not.

        Args:
            kind: What it is, such as `job`.
            document_id: Its id.
            body: The JSON object.
            expected_version: Write only over this version; 0 means that there is none yet.

        Raises:
            Conflict: Another version is stored than expected.
        """
        key, text = document_id.lower(), json.dumps(body, separators=(",", ":"))
        if expected_version is None:
            self._connection.execute(
                "insert into documents (kind, key, id, version, body) values (?, ?, ?, 1, ?) "
                "on conflict (kind, key) do update "
                "set body = excluded.body, version = version + 1",
                (kind, key, document_id, text),
            )
        elif expected_version == 0:
            try:
                self._connection.execute(
                    "insert into documents (kind, key, id, version, body) values (?, ?, ?, 1, ?)",
                    (kind, key, document_id, text),
                )
            except sqlite3.IntegrityError:
                raise Conflict(document_id) from None
        else:
            done = self._connection.execute(
                "update documents set body = ?, version = version + 1 "
                "where kind = ? and key = ? and version = ?",
                (text, kind, key, expected_version),
            )
            if done.rowcount == 0:
                raise Conflict(document_id)
        written = self.get(kind, document_id)
        assert written is not None
        return written

    def update(self, kind: str, document_id: str, change: Callable[[Body], None]) -> Document:
        """Apply `change` to a document's body in place and write it back.

        Raises:
            KeyError: There is no such document.
        """
        current = self.get(kind, document_id)
        if current is None:
            raise KeyError(document_id)
        change(current.body)
        return self.put(kind, document_id, current.body, expected_version=current.version)

    def delete(self, kind: str, document_id: str) -> bool:
        """Remove a document; False if there was none."""
        done = self._connection.execute(
            "delete from documents where kind = ? and key = ?", (kind, document_id.lower())
        )
        return done.rowcount > 0

    def list(
        self,
        kind: str,
        prefix: str = "",
        *,
        limit: int = 100,
        token: str | None = None,
        newest_first: bool = False,
        keep: Callable[[Body], bool] | None = None,
    ) -> Page:
        """One page of the documents whose id starts with `prefix`.

        Args:
            kind: Which kind.
            prefix: The start of the ids; end it with `/` to stay inside one parent.
            limit: Documents per page.
            token: Where the page before this one ended (`Page.token`).
            newest_first: By creation, newest first; otherwise by id.
            keep: Leave out the documents whose body it refuses (pages stay full).

        Raises:
            ValueError: The token is none of ours.
        """
        if keep is not None:
            return self._kept(
                kind, prefix, limit=limit, token=token, newest_first=newest_first, keep=keep
            )
        rows = self._rows(kind, prefix, limit + 1, token, newest_first=newest_first)
        token = _token(rows[limit - 1], newest_first=newest_first) if len(rows) > limit else None
        return Page(tuple(_document(row) for row in rows[:limit]), token)

    def _kept(
        self,
        kind: str,
        prefix: str,
        *,
        limit: int,
        token: str | None,
        newest_first: bool,
        keep: Callable[[Body], bool],
    ) -> Page:
        kept: _Rows = []
        while len(kept) <= limit:
            rows = self._rows(kind, prefix, limit + 1, token, newest_first=newest_first)
            kept += [row for row in rows if keep(_document(row).body)]
            if len(rows) <= limit:
                break
            token = _token(rows[-1], newest_first=newest_first)
        following = (
            _token(kept[limit - 1], newest_first=newest_first) if len(kept) > limit else None
        )
        return Page(tuple(_document(row) for row in kept[:limit]), following)

    def _rows(
        self, kind: str, prefix: str, number: int, token: str | None, *, newest_first: bool
    ) -> _Rows:
        low, high = _range(prefix)
        where, order = "key > ?", "key"
        values: tuple[Any, ...] = (kind, low, high, token or "")
        if newest_first:
            where, order = "sequence < ?", "sequence desc"
            values = (kind, low, high, int(token) if token else 2**62)
        return self._connection.execute(  # both parts are literals of this method
            "select id, sequence, version, body, key from documents "  # noqa: S608
            f"where kind = ? and key >= ? and key < ? and {where} order by {order} limit ?",
            (*values, number),
        ).fetchall()

    def each(self, kind: str, prefix: str = "") -> Iterator[Document]:
        """Every document under `prefix`, by id, read page by page."""
        token: str | None = None
        while True:
            page = self.list(kind, prefix, limit=500, token=token)
            yield from page.documents
            if (token := page.token) is None:
                return

    def oldest(self, kind: str, number: int) -> _Documents:
        """The first `number` documents of a kind by creation."""
        rows = self._connection.execute(
            "select id, sequence, version, body from documents where kind = ? "
            "order by sequence limit ?",
            (kind, number),
        ).fetchall()
        return [_document(row) for row in rows]

    def count(self, kind: str, prefix: str = "") -> int:
        """How many documents are under `prefix`."""
        low, high = _range(prefix)
        row = self._connection.execute(
            "select count(*) from documents where kind = ? and key >= ? and key < ?",
            (kind, low, high),
        ).fetchone()
        return int(row[0])

    def kinds(self) -> dict[str, int]:
        """How many documents there are of each kind."""
        rows = self._connection.execute("select kind, count(*) from documents group by kind")
        return {kind: int(number) for kind, number in rows}


def _document(row: _Row) -> Document:
    return Document(id=row[0], sequence=row[1], version=row[2], body=json.loads(row[3]))


def _token(row: _Row, *, newest_first: bool) -> str:
    return str(row[1]) if newest_first else str(row[4])


def _range(prefix: str) -> tuple[str, str]:
    return prefix.lower(), prefix.lower() + "\U0010ffff"
