"""What is raised for a file that is not what its name says."""

from __future__ import annotations

from shared.errors import DataRejected, Problem


def damaged(name: str, reason: str, mend: str = "") -> DataRejected:
    """A rejection of the whole file.

    Args:
        name: The file's.
        reason: What is wrong with it, to follow its name.
        mend: What its author can do.
    """
    return DataRejected([Problem(name, reason, mend)])


def told_by_arrow(error: Exception) -> bool:
    """Whether Arrow found bytes to be wrong, not the file that it read them from.

    Arrow raises some of its findings as plain `OSError`; those of the system have a number or a class of their own.
    """
    return not isinstance(error, OSError) or (type(error) is OSError and error.errno is None)
