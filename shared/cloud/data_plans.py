"""What a job is to prepare, written down beside the data that it makes, and what it says when it cannot.

Both lie in `FINGERPRINT/parts/JOB/` in the container `datasets`, with what the job's nodes tell each other, and are
removed when the data is finished.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from shared.errors import Missing, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.data.ports import Sink

_PLAN = "plan.json"
_REFUSAL = "refusal.json"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A job's work.

    Attributes:
        dataset: The manifest's section, as checked.
        max_seq_length: The fine-tune's limit in tokens.
        shares: How many of the sources each node reads, in the order of reading.
    """

    dataset: dict[str, Any]
    max_seq_length: int | None
    shares: list[int]


def folder_of(job: str) -> str:
    """The job's folder below the fingerprint."""
    return f"parts/{job}"


def write_plan(sink: Sink, job: str, plan: Plan) -> None:
    """Write the plan down."""
    with sink.write(f"{folder_of(job)}/{_PLAN}") as write:
        write(msgspec.json.encode(plan))


def read_plan(sink: Sink, job: str) -> Plan:
    """The job's plan.

    Raises:
        Missing: There is none (any more).
    """
    return msgspec.json.decode(sink.read(f"{folder_of(job)}/{_PLAN}"), type=Plan)


def refuse(sink: Sink, job: str, problems: Iterable[Problem]) -> None:
    """Say why the sources cannot be read; there is no report then."""
    with sink.write(f"{folder_of(job)}/{_REFUSAL}") as write:
        write(msgspec.json.encode([(p.place, p.reason, p.mend) for p in problems]))


def refused_by(sink: Sink, job: str) -> list[Problem]:
    """Why the job could not read the sources; empty if it does not say so."""
    try:
        said = sink.read(f"{folder_of(job)}/{_REFUSAL}")
    except Missing:
        return []
    return [Problem(*each) for each in msgspec.json.decode(said, type=list[tuple[str, str, str]])]
