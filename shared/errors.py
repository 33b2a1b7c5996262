"""What can go wrong, and what happens next.

The class of an error says whether to try again; no caller looks into messages. Exceptions of foreign
libraries stop at the adapter that called them and leave it as one of these, with the foreign one as cause.

    DroptuneError
    ├── Rejected            the input is at fault          → phase `rejected`, with every problem listed
    │   ├── ManifestRejected
    │   └── DataRejected
    ├── Transient           the world is at fault, today   → tried again, with a pause and within a budget
    │   ├── Throttled           429
    │   ├── Busy                409: another operation holds the resource
    │   └── Unavailable         5xx, time-outs, no connection
    ├── Permanent           the world is at fault, for good → phase `failed`, for the operator
    │   ├── Denied              401, 403
    │   ├── Missing             404 on what should exist
    │   └── Refused             400: Azure will not do what was asked
    ├── StaleRecord         412: somebody else moved the record → our result is dropped; not a failure
    └── SettingsError       at start: the settings are wrong, every problem at once
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta


class DroptuneError(Exception):
    """The root: whatever Droptune raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input, written for the person who made it.

    Attributes:
        place: Where it stands, in the author's terms: `finetune.learning_rate`, `data/x.jsonl line 12`.
        reason: What is wrong there.
        mend: What to do about it; may be empty when the reason says it all.
    """

    place: str
    reason: str
    mend: str = ""

    def __str__(self) -> str:
        """`place: reason. Mend.` on one line."""
        text = f"{self.place}: {self.reason}" if self.place else self.reason
        return f"{text.rstrip('.')}. {self.mend}" if self.mend else text


class Rejected(DroptuneError):
    """The input is at fault; its author reads `problems`."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


class ManifestRejected(Rejected):
    """The manifest asks for something that cannot or may not be."""


class DataRejected(Rejected):
    """The rows are not fit to train on.

    Attributes:
        fingerprint: Where the report on the rows lies; `None` if they were not read to an end.
    """

    def __init__(self, problems: Iterable[Problem], fingerprint: str | None = None) -> None:
        super().__init__(problems)
        self.fingerprint = fingerprint


class Transient(DroptuneError):
    """The world is at fault, today: try again.

    Attributes:
        retry_after: How long the other side asked us to wait, if it did.
    """

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Throttled(Transient):
    """429: too many requests."""


class Busy(Transient):
    """409: another operation holds the resource."""


class Unavailable(Transient):
    """5xx, a time-out, or no connection at all."""


class Permanent(DroptuneError):
    """The world is at fault, and trying again will not help."""


class Denied(Permanent):
    """401 or 403: our identity may not do this."""


class Missing(Permanent):
    """404 on something that should exist."""


class Refused(Permanent):
    """400: Azure will not do what was asked."""


class StaleRecord(DroptuneError):
    """412: somebody else saved the record since we read it. Theirs stands."""


class SettingsError(DroptuneError):
    """The app settings are wrong; `problems` has all of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("The app settings need mending: " + "; ".join(map(str, self.problems)))
