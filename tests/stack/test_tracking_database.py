"""A database that MLflow was killed over does not keep it from ever starting again."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from local.tracking_database import NAME, discard_unfinished, note_made

HALF = "CREATE TABLE experiments (id)"
EMPTY = "CREATE TABLE runs (id)"


@pytest.fixture
def make(tmp_path):
    def made(*statements):
        with closing(sqlite3.connect(tmp_path / NAME)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return made


@pytest.mark.parametrize("statements", [(), (HALF,), (HALF, EMPTY)])
def test_what_no_server_has_answered_from_goes(tmp_path, make, statements):
    """Half of the tables, or all and nothing in them: made anew, with what SQLite keeps beside it."""
    make(*statements)
    (tmp_path / f"{NAME}-journal").touch()
    assert discard_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_server_has_answered_from_stays(tmp_path, make):
    """Also while it is empty."""
    make(HALF, EMPTY)
    note_made(tmp_path)
    assert not discard_unfinished(tmp_path)
    assert (tmp_path / NAME).exists()


def test_a_run_is_never_thrown_away(tmp_path, make):
    """A kill may come between the first run and the note."""
    make(HALF, EMPTY, "INSERT INTO runs VALUES ('r')")
    assert not discard_unfinished(tmp_path)
    assert (tmp_path / NAME).exists()


def test_no_database_is_no_problem(tmp_path):
    """The very first start."""
    assert not discard_unfinished(tmp_path)
