"""What is raised for a file that is not what its name says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.errors import DataRejected, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST: Final = 3
_LONGEST: Final = 60


def damaged(name: str, reason: str, mend: str = "") -> DataRejected:
    """A rejection of the whole file.

    Args:
        name: The file's.
        reason: What is wrong with it, to follow its name.
        mend: What its author can do.
    """
    return DataRejected([Problem(name, reason, mend)])


def some_of(names: Sequence[str]) -> str:
    """The first few names, cut short: there may be very many, and long ones.

    >>> some_of(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    shown = ", ".join(name[:_LONGEST] for name in names[:_MOST])
    more = len(names) - _MOST
    return f"{shown} and {more:,} more" if more > 0 else shown


def told_by_arrow(error: Exception) -> bool:
    """Whether Arrow found bytes to be wrong, not the file that it read them from.

    Arrow raises some of its findings as plain `OSError`; those of the system have a number or a class of their own.
    """
    return not isinstance(error, OSError) or (type(error) is OSError and error.errno is None)
