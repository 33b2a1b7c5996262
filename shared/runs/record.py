"""The run: our record of one manifest's journey, and how an outcome changes it.

A record is one JSON blob. It is only ever replaced whole, on condition that nobody else replaced it since it
was read, so everything here is a frozen value and every change is a pure function from record to record.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from shared.runs.outcomes import Advance, Outcome, Retry, Stop, Wait
from shared.runs.phases import FINAL, NEXT, RESTING, Phase
from shared.runs.rollout_facts import DeploymentFailure, Stage


class Wish(StrEnum):
    """What somebody wants of a run that rests."""

    SLEEP = "sleep"
    WAKE = "wake"


class Entry(msgspec.Struct, frozen=True):
    """One line of a run's timeline: when it moved, from where to where, and why."""

    at: datetime
    origin: Phase | None = msgspec.field(name="from")
    to: Phase
    why: str


class Ending(msgspec.Struct, frozen=True):
    """The phase a run is on its way to while what it holds is let go of; why, and since when."""

    phase: Phase
    why: str
    at: datetime


class Busy(msgspec.Struct, frozen=True):
    """Somebody is inside a long step: their look's number, and until when to believe that they live."""

    look: int
    until: datetime


class Complaint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem as the record keeps it (see `shared.errors.Problem`)."""

    place: str
    reason: str
    mend: str = ""


class Standstill(msgspec.Struct, frozen=True):
    """What a run, or its job, waits for without moving (`quota`, `cluster`, `machines`, …), and since when."""

    on: str
    since: datetime


class Answer(msgspec.Struct, frozen=True):
    """One exchange of the smoke test."""

    question: str
    answer: str


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the steps learned, for later steps and for people. Grows; nothing is ever unlearned.

    Attributes:
        request: The manifest as checked, with every default filled in.
        notes: What a person should know about how model, parameters and compute came to be.
        parameters: What the job is given, merged from the model's defaults and the manifest; `None` in
            records of before it was kept.
        size: The VM size that trains.
        gpus: Number of GPUs in each of its nodes.
        tried: Why a cluster did not come up, by priority.
        standstill: What it waits for.
        abandoned: Name of the job that was cancelled because it did not respond.
        training_failure: Kind of the last failure on the way to a trained model (see
            `shared.runs.failures`).
        foundation_model: Asset id of the exact model version that is tuned.
        component: Asset id of the exact pipeline component version.
        data_job: Azure ML's name of the job that prepares the data, if that is more than a function does. It is noted
            before the job is submitted, so that it is let go of whatever happens in between.
        data_attempt: Number of the attempt at that job that counts, from 1.
        data_job_url: Where a person can watch it.
        data_fingerprint: What it prepares.
        data_submitted_at: When it was submitted.
        data_begun_at: When it first had machines, as far as was seen.
        fingerprint: Names the prepared data.
        revision: The commit of the hub dataset that they were made of; `None` for files.
        splits: Address of each prepared file: `train`, `validation`, `test`.
        rows: Number of rows in each split.
        dropped: Number of rows that were refused.
        tokens: Estimate of the tokens that the training takes, all epochs together.
        attempt: Number of the training attempt that counts, from 1.
        job: Azure ML's name of the job.
        job_url: Where a person can watch the job.
        submitted_at: When the job was submitted.
        metrics: Last finite value of each metric of the job.
        curves: Points of each metric, `[step, value]`, thinned out when there are many.
        trained_tokens: Tokens that were trained on, by what the job counted.
        gate: `passed` or `failed`.
        verdict: The gate's reasons, one line each.
        model: Name of the registered model.
        model_version: Its version.
        endpoint: Azure ML's name of the online endpoint.
        deployment: Name of this run's deployment on it.
        instance_type: VM size that it was last made with.
        failures: Attempts to make it that failed; the last few.
        shares: The canary's way to all of the traffic.
        fallback: Why it was rolled out `direct` although the manifest asked for another way.
        scoring_uri: Where the endpoint answers.
        answers: What the deployment said in its smoke test.
        logs: Tail of the log of a deployment or job that failed.
    """

    request: dict[str, Any] = {}
    notes: list[str] = []
    parameters: dict[str, Any] | None = None
    size: str | None = None
    gpus: int | None = None
    tried: dict[str, str] = {}
    standstill: Standstill | None = None
    abandoned: str | None = None
    training_failure: str | None = None
    foundation_model: str | None = None
    component: str | None = None
    data_job: str | None = None
    data_attempt: int = 1
    data_job_url: str | None = None
    data_fingerprint: str | None = None
    data_submitted_at: datetime | None = None
    data_begun_at: datetime | None = None
    fingerprint: str | None = None
    revision: str | None = None
    splits: dict[str, str] = {}
    rows: dict[str, int] = {}
    dropped: int = 0
    tokens: int | None = None
    attempt: int = 1
    job: str | None = None
    job_url: str | None = None
    submitted_at: datetime | None = None
    metrics: dict[str, float] = {}
    curves: dict[str, list[tuple[int, float]]] = {}
    trained_tokens: dict[str, int] = {}
    gate: str | None = None
    verdict: list[str] = []
    model: str | None = None
    model_version: str | None = None
    endpoint: str | None = None
    deployment: str | None = None
    instance_type: str | None = None
    failures: list[DeploymentFailure] = []
    shares: list[Stage] = []
    fallback: str | None = None
    scoring_uri: str | None = None
    answers: list[Answer] = []
    logs: str | None = None


def standing_still(facts: Facts, on: str, now: datetime) -> tuple[Facts, Standstill]:
    """`facts` of a run that waits for `on`, and since when it does; an unbroken wait goes on."""
    standstill = facts.standstill
    if standstill is not None and standstill.on == on:
        return facts, standstill
    standstill = Standstill(on, now)
    return msgspec.structs.replace(facts, standstill=standstill), standstill


class Run(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A run.

    Attributes:
        id: Derived from the manifest's path, content and generation (see `naming`).
        manifest: Path of the manifest in its container.
        etag: The manifest blob's ETag when this run was made; tells a second drop from a second event.
        generation: 1, and one more each time the same manifest is dropped again over an ended run.
        source: The manifest's bytes (base64 in JSON): the run is bound to these, whatever lies there now.
        phase: How far it has come.
        since: When it came there.
        why: The last thing that was learned, for a person.
        due_at: When to look next; `None` while it rests or has ended.
        look: Number of the next look. A message with a smaller number is stale.
        failures: How often in a row something stood in the way.
        failing_since: When that began.
        bugs: How often in a row our own code failed.
        wish: What somebody wants of it while it rests.
        ending: Where it is on its way to.
        busy: Who is inside a long step.
        timeline: Everything that happened, oldest first.
        problems: Why it was rejected.
    """

    id: str
    manifest: str
    etag: str
    generation: int
    received_at: datetime
    since: datetime
    phase: Phase = Phase.RECEIVED
    why: str = ""
    source: bytes = b""
    due_at: datetime | None = None
    look: int = 1
    failures: int = 0
    failing_since: datetime | None = None
    bugs: int = 0
    wish: Wish | None = None
    ending: Ending | None = None
    busy: Busy | None = None
    facts: Facts = Facts()
    problems: list[Complaint] = []
    timeline: list[Entry] = []

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.phase in FINAL

    @property
    def is_active(self) -> bool:
        """Whether it has to be looked at without being asked: also when it rests and a look at it failed."""
        return not self.is_final and (
            self.phase not in RESTING
            or self.wish is not None
            or self.ending is not None
            or self.failures > 0
        )

    def is_overdue(self, now: datetime, grace: timedelta) -> bool:
        """Whether its next look should have come by now: its message was lost."""
        if not self.is_active or (self.busy is not None and self.busy.until > now):
            return False
        return self.due_at is None or self.due_at + grace <= now


def received(
    run_id: str, *, manifest: str, etag: str, generation: int, source: bytes, now: datetime
) -> Run:
    """A new run, due at once."""
    why = "the manifest was dropped" if generation == 1 else "the manifest was dropped again"
    return Run(
        id=run_id,
        manifest=manifest,
        etag=etag,
        generation=generation,
        source=source,
        received_at=now,
        since=now,
        why=why,
        due_at=now,
        timeline=[Entry(at=now, origin=None, to=Phase.RECEIVED, why=why)],
    )


class IllegalTransitionError(AssertionError):
    """A step asked for a phase that does not follow from the run's own: a bug."""


def moved(run: Run, phase: Phase, why: str, now: datetime) -> Run:
    """`run` in `phase`, with a line in its timeline and its counters of failure reset; what it waited for is past.

    Raises:
        IllegalTransitionError: `phase` does not follow from the run's phase.
    """
    if phase not in NEXT[run.phase]:
        raise IllegalTransitionError(f"{run.id}: {phase} does not follow from {run.phase}")
    changed = msgspec.structs.replace(
        run,
        phase=phase,
        since=now,
        why=why,
        due_at=now,
        failures=0,
        failing_since=None,
        bugs=0,
        ending=None,
        facts=msgspec.structs.replace(run.facts, standstill=None),
        wish=run.wish if run.wish is Wish.WAKE and phase is Phase.ASLEEP else None,
        timeline=[*run.timeline, Entry(at=now, origin=run.phase, to=phase, why=why)],
    )
    return changed if changed.is_active else msgspec.structs.replace(changed, due_at=None)


def ended_early(run: Run, ending: Ending, now: datetime) -> Run:
    """`run` on its way to an end: its next look lets go of what it holds."""
    return msgspec.structs.replace(
        run, ending=ending, due_at=now, why=ending.why, failures=0, failing_since=None, bugs=0
    )


def after(run: Run, outcome: Outcome, now: datetime) -> Run:
    """`run` after `outcome`, with the number of its next look. Pure; saving it is another's part."""
    run = msgspec.structs.replace(run, look=run.look + 1, busy=None)
    match outcome:
        case Advance(phase, why, facts):
            return moved(msgspec.structs.replace(run, facts=facts), phase, why, now)
        case Wait(delay, why, facts):
            return msgspec.structs.replace(
                run,
                why=why,
                due_at=None if delay is None else now + delay,
                wish=None if delay is None else run.wish,
                facts=run.facts if facts is None else facts,
                failures=0,
                failing_since=None,
                bugs=0,
            )
        case Retry(delay, why, bug):
            return msgspec.structs.replace(
                run,
                why=why,
                due_at=now + delay,
                failures=run.failures + 1,
                failing_since=run.failing_since or now,
                bugs=run.bugs + bug,
            )
        case Stop(phase, why, problems, facts):
            complaints = [Complaint(p.place, p.reason, p.mend) for p in problems]
            run = msgspec.structs.replace(
                run,
                problems=complaints or run.problems,
                facts=run.facts if facts is None else facts,
            )
            if run.ending is None:
                return ended_early(run, Ending(phase, why, now), now)
            return moved(run, phase, why, now)
