"""The smoke test: a new deployment has to answer conversations of the test split before anybody else asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.errors import Refused
from shared.runs import naming
from shared.runs.record import Answer

if TYPE_CHECKING:
    from shared.runs.ports import World
    from shared.runs.record import Run

SMOKE_PROMPTS: Final = 3
"""How many conversations of the test split a new deployment has to answer."""


def smoke_test(run: Run, world: World) -> list[Answer]:
    """Question the deployment with rows of the test split, past any traffic.

    Raises:
        Refused: An answer was an error or empty, or there is nothing to ask.
    """
    endpoint, deployment = run.facts.endpoint or "", naming.deployment_name(run.id)
    prompts = world.preparation.prompts(run.facts.fingerprint or "", SMOKE_PROMPTS)
    if not prompts:
        raise Refused("the test split has no conversation with a user's turn to ask")
    return [
        Answer(
            question=messages[-1]["content"],
            answer=world.workspace.ask(endpoint, deployment, messages),
        )
        for messages in prompts
    ]
