"""A slower timer: manifests whose upload event was lost become runs after all."""

from __future__ import annotations

import logging

import azure.functions as func

from shared import wiring

blueprint = func.Blueprint()
logger = logging.getLogger(__name__)


@blueprint.function_name("sweep_manifests")
@blueprint.timer_trigger(arg_name="timer", schedule="%SWEEP_SCHEDULE%")
def sweep_manifests(timer: func.TimerRequest) -> None:
    """List the manifests and make the runs of those that were never seen."""
    del timer
    from shared.runs import intake

    for run in intake.sweep(wiring.world()):
        logger.info("%s: its upload event was lost", run.id)
