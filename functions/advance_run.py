"""A message of the queue `run-steps`: look at a run, and bring it as far as it goes without waiting."""

from __future__ import annotations

import azure.functions as func

from shared import wiring

blueprint = func.Blueprint()


@blueprint.function_name("advance_run")
@blueprint.queue_trigger(arg_name="message", queue_name="run-steps", connection="DROPTUNE_STORAGE")
def advance_run(message: func.QueueMessage) -> None:
    """Look at the run that the message names."""
    from shared.runs import reconciler

    reconciler.look(wiring.world(), wiring.look_in(message.get_body()))
