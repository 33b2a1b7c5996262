"""The canary: more and more of the traffic for a new deployment, watched, and taken back by itself.

Each share is a stage in the record, with the time until which it bakes; a step only looks. The new deployment
is held against the old one over the same span, by what Azure Monitor counted (it lags by one to three minutes),
and is asked the smoke test's questions again at the end of each stage: some of the servers that may stand
behind it answer their errors with status 200, which no count shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from shared.errors import Refused
from shared.runs import naming
from shared.runs.endpoints import Rest
from shared.runs.fencing import still_wanted
from shared.runs.measures import Seen
from shared.runs.outcomes import Outcome, Stop, Wait
from shared.runs.phases import Phase
from shared.runs.ports import Provisioning
from shared.runs.rollout_facts import Stage
from shared.runs.smoke_test import smoke_test
from shared.runs.takeover import given_way, is_newer, is_on_its_way, record_of
from shared.runs.training import manifest_of

if TYPE_CHECKING:
    from datetime import timedelta

    from shared.runs.deploy_section import Canary
    from shared.runs.endpoints import EndpointRecord
    from shared.runs.ports import World
    from shared.runs.record import Run

ENOUGH: Final = 10
"""Requests of a stage that are proof enough; with fewer it gets more time."""

MOST_EXTENSIONS: Final = 2
"""How often a stage gets more time for want of requests; then the smoke test is all the proof there is."""

FAILURES: Final = 2
"""A single failed request is not held against anybody."""

NOISE: Final = 250.0
"""Milliseconds by which one latency must exceed another before their ratio says anything."""

WHOLE: Final = 100


@dataclass(frozen=True, slots=True)
class Health:
    """How the canary fares against the old deployment, and a line for each thing that was looked at."""

    good: bool
    reasons: tuple[str, ...]


def judge(new: Seen, old: Seen, bounds: Canary) -> Health:
    """Hold the new deployment against the old one over the same span of time."""
    good, reasons = True, [_told(new, old)]
    if new.failed >= FAILURES and new.error_rate > max(bounds.max_error_rate, old.error_rate):
        good = False
        reasons.append(f"more than {bounds.max_error_rate:.1%} of its requests fail")
    if new.latency is not None and old.latency is not None and new.requests >= ENOUGH:
        slower = new.latency > old.latency * bounds.max_slowdown
        if slower and new.latency - old.latency > NOISE:
            good = False
            reasons.append(f"it is more than {bounds.max_slowdown:g} times as slow")
    return Health(good, tuple(reasons))


def _told(new: Seen, old: Seen) -> str:
    def one(seen: Seen) -> str:
        latency = "" if seen.latency is None else f", 90 % within {seen.latency:.0f} ms"
        return f"{seen.failed} of {seen.requests} requests failed{latency}"

    return f"{one(new)}; the old deployment: {one(old)}"


def time_for(bounds: Canary) -> timedelta:
    """The longest time that all stages may take together."""
    return bounds.bake * len(bounds.shares) * (MOST_EXTENSIONS + 1)


def next_share(run: Run, world: World) -> Outcome | None:
    """What to do or wait for before the deployment may have all traffic; `None` when it may."""
    manifest = manifest_of(run)
    if manifest.deploy.rollout != "canary" or run.facts.fallback is not None:
        return None
    record = world.endpoints.load(manifest.endpoint)
    if record is None or not _has_a_rival(record, run):
        return None
    stages = [stage for stage in run.facts.shares if stage.against == record.live]
    if stages and not stages[-1].verdict:
        return _watch(run, world, stages)
    if len(stages) == len(manifest.deploy.canary.shares):
        return None
    share = manifest.deploy.canary.shares[len(stages)]
    return _give(run, world, share) or _begin(run, world, share, record, stages)


def _has_a_rival(record: EndpointRecord, run: Run) -> bool:
    """Whether another deployment serves that the canary can be held against."""
    return (
        record.rest is Rest.SERVING and record.owner != run.id and record.live is not None
    ) and record.live != naming.deployment_name(run.id)


def _give(run: Run, world: World, share: int) -> Outcome | None:
    """See to it that the canary has this share of the traffic; `None` when it has."""
    name = naming.deployment_name(run.id)
    with world.endpoints.hold(manifest_of(run).endpoint) as held:
        still_wanted(run, world)
        record = record_of(held)
        if (gone := given_way(record, run, world)) is not None:
            return gone
        if not _has_a_rival(record, run):
            return Wait(world.pace.at_once, "the endpoint has changed hands")
        assert record.live is not None
        other = record.candidate
        if other is not None and is_newer(other, run, world) and is_on_its_way(other, world):
            return Wait(world.pace.rollout, f"the newer run {other} has a share of the traffic")
        if other != run.id:
            held.save(msgspec.structs.replace(record, candidate=run.id))
        endpoint = world.workspace.endpoint(run.facts.endpoint or "")
        if endpoint is None or endpoint.provisioning is not Provisioning.SUCCEEDED:
            return Wait(world.pace.rollout, "the endpoint is changing")
        wanted = {record.live: WHOLE - share, name: share}
        if {each: part for each, part in endpoint.traffic.items() if part} == wanted:
            return None
        held.confirm()
        world.workspace.set_traffic(endpoint.name, wanted)
    return Wait(world.pace.rollout, f"{share} % of the traffic goes to {name}")


def _begin(
    run: Run, world: World, share: int, record: EndpointRecord, stages: list[Stage]
) -> Outcome:
    now, bake = world.now(), manifest_of(run).deploy.canary.bake
    stage = Stage(share, record.live or "", now, now + bake)
    facts = msgspec.structs.replace(run.facts, shares=[*stages, stage])
    why = f"{naming.deployment_name(run.id)} has {share} % of the traffic and is watched"
    return Wait(min(bake, world.pace.rollout), why, facts)


def _watch(run: Run, world: World, stages: list[Stage]) -> Outcome:
    """Look how the canary fares; take it back at once when it fares badly, decide when its time is over."""
    stage, name = stages[-1], naming.deployment_name(run.id)
    given = _give(run, world, stage.share)  # somebody may have changed the traffic meanwhile
    if given is not None:
        return given
    seen = world.workspace.seen(run.facts.endpoint or "", stage.since)
    new, old = seen.get(name, Seen()), seen.get(stage.against, Seen())
    health = judge(new, old, manifest_of(run).deploy.canary)
    if not health.good:
        return _taken_back(run, stages, health.reasons)
    now = world.now()
    if now < stage.until:
        why = f"{name} has {stage.share} % of the traffic: {health.reasons[0]}"
        return Wait(min(stage.until - now, world.pace.rollout), why)
    if new.requests < ENOUGH and old.requests and stage.extended < MOST_EXTENSIONS:
        longer = msgspec.structs.replace(
            stage,
            until=now + manifest_of(run).deploy.canary.bake,
            extended=stage.extended + 1,
        )
        facts = msgspec.structs.replace(run.facts, shares=[*stages[:-1], longer])
        why = f"only {new.requests} requests went to {name}; it is watched for longer"
        return Wait(world.pace.rollout, why, facts)
    try:
        smoke_test(run, world)
    except Refused as error:
        return _taken_back(run, stages, (*health.reasons, f"the smoke test failed: {error}"))
    reasons = (*health.reasons, "it answered the smoke test's questions")
    return Wait(
        world.pace.at_once,
        f"{name} did well with {stage.share} % of the traffic",
        msgspec.structs.replace(run.facts, shares=_closed(stages, reasons)),
    )


def _closed(stages: list[Stage], reasons: tuple[str, ...]) -> list[Stage]:
    return [*stages[:-1], msgspec.structs.replace(stages[-1], verdict=list(reasons))]


def _taken_back(run: Run, stages: list[Stage], reasons: tuple[str, ...]) -> Outcome:
    """The end of the rollout; letting go gives the traffic back and deletes the deployment."""
    why = f"the canary is taken back at {stages[-1].share} % of the traffic: {'; '.join(reasons)}"
    facts = msgspec.structs.replace(run.facts, shares=_closed(stages, reasons))
    return Stop(Phase.FAILED, why, facts=facts)
