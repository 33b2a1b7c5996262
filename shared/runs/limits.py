"""What may be spent, and how patient we are.

Whoever may drop a manifest may spend no more than this. The values come from the app settings; the core only
knows that they are bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from shared.assets import AssetId
    from shared.runs.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a manifest may ask for.

    Attributes:
        registries: Registries that models may come from.
        instance_types: VM sizes that may be trained or served on, compared without case.
        nodes: Most nodes of a training job.
        instances: Most instances of a deployment.
        runs: Most runs that train at the same time.
        attempts: Most training attempts of one run; as many jobs may try to prepare its data. Of its
            deployment, most failures in a row that are tried again.
        fallback_models: Models that may stand in for one that cannot be had, in this order.
        tokens: Most tokens that one training may take, by estimate; `None` for any number.
        in_function: Most bytes of sources that are prepared in a function; more is a job's work.
        preparing_nodes: Most nodes of a job that prepares data.
    """

    registries: Collection[str]
    instance_types: Collection[str]
    nodes: int
    instances: int
    runs: int
    attempts: int
    fallback_models: Sequence[AssetId] = ()
    tokens: int | None = None
    in_function: int = 2 * 10**9
    preparing_nodes: int = 4

    def problems(self, manifest: Manifest) -> list[Problem]:
        """Everything in `manifest` that asks for more than is allowed."""
        problems = []
        if manifest.model.registry not in self.registries:
            problems.append(
                Problem(
                    "model.registry",
                    f"'{manifest.model.registry}' is not allowed here",
                    f"Allowed: {', '.join(sorted(self.registries))}",
                )
            )
        if manifest.compute.cluster is None:  # a cluster may have a size of its own
            problems += self.size_problems("compute.size", manifest.compute.size)
        problems += self.size_problems("deploy.instance_type", manifest.deploy.instance_type)
        for size in manifest.deploy.instance_types:
            problems += self.size_problems("deploy.instance_types", size)
        for place, asked, bound in (
            ("compute.max_nodes", manifest.compute.max_nodes, self.nodes),
            ("deploy.instances", manifest.deploy.instances, self.instances),
        ):
            if asked > bound:
                problems.append(Problem(place, f"is {asked}; at most {bound} is allowed here"))
        return problems

    def size_problems(self, place: str, size: str) -> list[Problem]:
        """Whether a VM size is beyond what is allowed."""
        if size.lower() in {allowed.lower() for allowed in self.instance_types}:
            return []
        return [
            Problem(
                place,
                f"'{size}' is not allowed here",
                f"Allowed: {', '.join(sorted(self.instance_types))}",
            )
        ]


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to look, and how long to be patient.

    Attributes:
        job: Between looks at a job that trains (an event usually comes first).
        rollout: Between looks at an endpoint or deployment that is being made.
        turn: Between looks while waiting for other runs.
        beat: Between heartbeats of a long step; after three without one it is taken over.
        silence: How long a long step may only wait, for a server say, before its heart stops.
        grace: How late a look may be before `reconcile` takes it for lost.
        first_pause: After the first failure; doubled at each further one.
        longest_pause: The pause never grows beyond this.
        patience: After failing for this long without a break, a run is given up.
        appearing: How long a resource just made may still be missing from reads.
        training: Longest time a job may take before its run is given up.
        preparing: Longest time a job may take to prepare data, counted from when it first had machines, before its
            run is given up.
        leeway: How much later Azure ML's own end of such a job is: it says `cancelled`, as of one that a person
            cancels, so ours comes first. More than a look may be late.
        queued: Longest time a run may wait for quota, or its job for machines.
        unresponsive: Longest time a job may not respond before it is cancelled.
        rolling_out: Longest time a rollout or a wake may take, on top of what the manifest gives each attempt to
            load its model, and its canary to bake.
        freeing: How long quota that is in use is waited for before a deployment is refused for want of it.
    """

    job: timedelta = timedelta(minutes=1)
    rollout: timedelta = timedelta(seconds=30)
    turn: timedelta = timedelta(minutes=1)
    beat: timedelta = timedelta(seconds=20)
    silence: timedelta = timedelta(minutes=10)
    grace: timedelta = timedelta(seconds=30)
    first_pause: timedelta = timedelta(seconds=5)
    longest_pause: timedelta = timedelta(minutes=5)
    patience: timedelta = timedelta(hours=6)
    appearing: timedelta = timedelta(minutes=5)
    training: timedelta = timedelta(days=7)
    preparing: timedelta = timedelta(days=1)
    leeway: timedelta = timedelta(hours=1)
    queued: timedelta = timedelta(days=1)
    unresponsive: timedelta = timedelta(hours=1)
    rolling_out: timedelta = timedelta(hours=2)
    freeing: timedelta = timedelta(minutes=10)

    @property
    def at_once(self) -> timedelta:
        """No delay."""
        return timedelta()

    def pause(self, failures: int) -> timedelta:
        """How long to wait after the `failures`-th failure in a row (from 1)."""
        doubled: timedelta = self.first_pause * (1 << min(failures - 1, 16))
        return min(self.longest_pause, doubled)
