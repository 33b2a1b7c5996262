"""From `registered` to `serving`: the endpoint, this run's deployment, its smoke test, the traffic.

Waking does the same again without the smoke test. What runs share is changed only while the endpoint's lease
is held, and only after looking at it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shared.durations import spell
from shared.errors import Refused, Unavailable
from shared.runs import canary, naming
from shared.runs.endpoints import Rest
from shared.runs.fencing import still_wanted
from shared.runs.outcomes import Advance, Outcome, Stop, Wait
from shared.runs.phases import Phase
from shared.runs.ports import Provisioning
from shared.runs.smoke_test import smoke_test
from shared.runs.standing_up import end_of, failures_now, stand_up_deployment, with_logs
from shared.runs.takeover import given_way, given_way_by_now, is_emptied, record_of, take_over
from shared.runs.training import manifest_of

if TYPE_CHECKING:
    from shared.runs.ports import World
    from shared.runs.record import Run


def registered(run: Run, world: World) -> Outcome:
    """Have the endpoint made, unless it stands."""
    ended = _too_late(run, world) or given_way_by_now(run, world)
    waiting = ended or _stand_up_endpoint(run, world)
    if waiting is not None:
        return waiting
    facts = msgspec.structs.replace(run.facts, deployment=naming.deployment_name(run.id))
    return Advance(Phase.DEPLOYING, f"endpoint {run.facts.endpoint} stands", facts)


def deploying(run: Run, world: World) -> Outcome:
    """Have the deployment made, question it, then give it the traffic, at once or share by share."""
    waiting = _too_late(run, world) or _stand_up(run, world)
    if waiting is not None:
        return waiting
    facts = run.facts
    if not facts.answers:
        try:
            facts = msgspec.structs.replace(facts, answers=smoke_test(run, world))
        except (Refused, Unavailable) as error:
            if isinstance(error, Unavailable) and not _is_down(run, world):
                raise  # its container may just be replaced
            why = f"the smoke test failed: {error}"
            return Stop(Phase.FAILED, why, facts=with_logs(run, world))
        return Wait(world.pace.at_once, f"it answered {len(facts.answers)} test prompts", facts)
    waiting = canary.next_share(run, world)
    if waiting is not None:
        return waiting
    why = f"it answered {len(facts.answers)} test prompts"
    if facts.shares:
        shares = " and ".join(f"{stage.share} %" for stage in facts.shares)
        why += f", did well with {shares} of the traffic"
    return take_over(run, world, facts, why)


def _is_down(run: Run, world: World) -> bool:
    """Whether the deployment has not answered for longer than it may take to load its model."""
    since = run.failing_since or world.now()
    return world.now() - since > manifest_of(run).deploy.startup


def waking(run: Run, world: World) -> Outcome:
    """Have endpoint and deployment made again, and give it the traffic."""
    late = _too_late(run, world)
    if late is not None:
        return late
    with world.endpoints.hold(manifest_of(run).endpoint) as held:
        record = held.record
        if record is None or record.owner != run.id:
            return Stop(Phase.SUPERSEDED, "another run has the endpoint")
        if is_emptied(record, run, world):
            return Stop(Phase.ASLEEP, f"{record.emptied_for} is being rolled out in its place")
        if record.rest is not Rest.WAKING:
            held.save(record.silent(Rest.WAKING, world.now()))
    waiting = _stand_up(run, world)
    return waiting or take_over(run, world, run.facts, "it woke")


def _too_late(run: Run, world: World) -> Outcome | None:
    deploy = manifest_of(run).deploy
    allowed = world.pace.rolling_out + deploy.startup * (1 + len(failures_now(run)))
    if run.facts.shares:
        allowed += canary.time_for(deploy.canary)
    if world.now() - run.since <= allowed:
        return None
    why = f"the rollout took longer than {spell(allowed)}: {run.why}"
    return Stop(end_of(run), why, facts=with_logs(run, world) if run.facts.deployment else None)


def _stand_up(run: Run, world: World) -> Outcome | None:
    """What to wait for until endpoint and deployment stand; `None` when they do."""
    waiting = _stand_up_endpoint(run, world)
    return waiting if waiting is not None else stand_up_deployment(run, world)


def _stand_up_endpoint(run: Run, world: World) -> Outcome | None:
    name = run.facts.endpoint or ""
    endpoint = world.workspace.endpoint(name)
    if endpoint is not None and endpoint.run is None:
        raise Refused(f"the endpoint {name} is there and was not made by Droptune")
    if endpoint is not None and endpoint.provisioning is Provisioning.SUCCEEDED:
        return None
    with world.endpoints.hold(manifest_of(run).endpoint) as held:
        still_wanted(run, world)
        if (gone := given_way(record_of(held), run, world)) is not None:
            return gone
        held.confirm()
        if endpoint is None:
            world.workspace.create_endpoint(name, run.id)
            return Wait(world.pace.rollout, f"endpoint {name} is being made")
        if endpoint.provisioning is Provisioning.FAILED and not endpoint.traffic:
            world.workspace.delete_endpoint(name)
            return Wait(world.pace.rollout, f"endpoint {name} failed and is made again")
        if endpoint.provisioning is Provisioning.FAILED:
            # A change of its traffic failed; saying the same again mends it, deleting it would not.
            world.workspace.set_traffic(name, endpoint.traffic)
            return Wait(world.pace.rollout, f"endpoint {name} failed and is mended")
    return Wait(world.pace.rollout, f"endpoint {name} is {endpoint.provisioning}")
