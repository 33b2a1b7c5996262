"""What is wrong with an app or its settings, told all at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps the app from loading.

    Attributes:
        place: The function, file or setting it is about.
        reason: What is wrong.
        mend: What to do about it; may be empty.
    """

    place: str
    reason: str
    mend: str = ""

    def __str__(self) -> str:
        """`place: reason. Mend.` on one line."""
        text = f"{self.place}: {self.reason}".rstrip(". ")
        return f"{text}. {self.mend}" if self.mend else text


class AppRejected(Exception):
    """The app does not load; `problems` says why. As on Azure, none of its functions runs."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))
