"""What managed online endpoints refuse, and how they share out traffic. Decisions only, no effects.

The texts are those that users of the real service quote in public issues; where none is known, the
text says the same rule in the same envelope.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from local.azureml.wire import PROVIDER, ArmError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    Problems = dict[str, list[str]]
    """Refusals by the field that they are about; the empty name is the request as a whole."""

_NAME = re.compile(r"[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?")
SHORTEST, LONGEST = 3, 32
"""Bounds of a name's length
(learn.microsoft.com/azure/machine-learning/how-to-manage-quotas, online endpoints)."""


def invalid(problems: Mapping[str, Iterable[str]]) -> ArmError:
    """The 400 in which the service packs the refusals of its inferencing back end."""
    text = {
        "errors": {field: list(said) for field, said in problems.items()},
        "title": "One or more validation errors occurred.",
    }
    inner = ArmError(400, "InferencingClientCallFailed", json.dumps(text))
    return ArmError(400, "BadRequest", "The request is invalid.", details=(inner,))


def refuse(*said: str) -> ArmError:
    """`invalid` about the request as a whole."""
    return invalid({"": said})


def missing(group: str, path: str) -> ArmError:
    """ARM's 404 for a tracked resource; `path` begins with the workspace's name."""
    return ArmError(
        404,
        "ResourceNotFound",
        f"The Resource '{PROVIDER}/workspaces/{path}' under resource group '{group}' was not "
        "found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    )


def busy(kind: str, name: str, state: str) -> ArmError:
    """The 409 for a second operation on a resource while the first one is under way."""
    return ArmError(
        409,
        "Conflict",
        f"There is already an operation in progress on {kind} '{name}' (provisioning state: "
        f"{state}). Wait until it is done, then try again.",
    )


def name_problems(kind: str, name: str) -> list[str]:
    """What is wrong with the name of an `endpoint` or a `deployment`."""
    if SHORTEST <= len(name) <= LONGEST and _NAME.fullmatch(name):
        return []
    said = (
        f"The {kind} name '{name}' is invalid: it must begin with a letter, end with a letter or "
        f"digit, hold only letters, digits and dashes, and be {SHORTEST} to {LONGEST} long."
    )
    return [said]


def traffic_problems(traffic: Mapping[str, Any], deployments: Collection[str]) -> list[str]:
    """What is wrong with a traffic split.

    Args:
        traffic: Per cent by deployment name; names are compared without case, as the SDK lowers
            them.
        deployments: The names that can take traffic: those that have been made successfully.
    """
    whole = {name: share for name, share in traffic.items() if type(share) is int}
    said = [
        f"Traffic of deployment '{name}' must be a whole number of per cent from 0 to 100."
        for name, share in traffic.items()
        if name not in whole or share not in range(101)
    ]
    known = {name.lower() for name in deployments}
    said += [
        f"Deployment '{name}' in the endpoint's traffic does not exist or is not ready."
        for name, share in traffic.items()
        if share != 0 and name.lower() not in known
    ]
    total = sum(whole.values())
    if not said and total not in (0, 100):
        said.append(f"Traffic values must sum to 0 or 100; they sum to {total}.")
    return said


def choose(traffic: Mapping[str, int], draw: float) -> str | None:
    """The deployment that a request goes to.

    Args:
        traffic: Weights by deployment name.
        draw: A number from 0 (inclusive) to 1 (exclusive).

    Returns:
        None when no deployment has positive weight.
    """
    total = sum(traffic.values())
    point = draw * total
    for name, weight in sorted(traffic.items()):
        if point < weight:
            return name
        point -= weight
    return None
