"""The MLflow server's database: whole, or made anew.

MLflow makes its tables one after the other at its first start, not as one transaction. Killed in between, it
finds some of them at the next start, wants to make them again and ends with "table already exists", for ever.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "mlflow.db"
MADE = "database-made"
"""File that says that a server has answered from the database: all of its tables are there."""


def discard_unfinished(folder: Path) -> bool:
    """Remove a database in `folder` that no server has answered from; True when there was one.

    One that holds a run has been answered from, whatever was noted.
    """
    database = folder / NAME
    if (folder / MADE).exists() or not database.exists() or _holds_a_run(database):
        return False
    for suffix in ("-journal", "-wal", "-shm", ""):
        database.with_name(f"{NAME}{suffix}").unlink(missing_ok=True)
    return True


def note_made(folder: Path) -> None:
    """Keep the database in `folder` from now on."""
    (folder / MADE).touch()


def _holds_a_run(database: Path) -> bool:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as connection:
        try:
            return connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is not None
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return False
            raise
