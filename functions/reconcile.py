"""The timer that correctness rests on: every run that is overdue is looked at, whatever was lost."""

from __future__ import annotations

import logging

import azure.functions as func

from shared import wiring

blueprint = func.Blueprint()
logger = logging.getLogger(__name__)


@blueprint.function_name("reconcile")
@blueprint.timer_trigger(arg_name="timer", schedule="%RECONCILE_SCHEDULE%")
def reconcile(timer: func.TimerRequest) -> None:
    """Send a hint for each active run whose next look is overdue."""
    del timer
    from shared.runs import reconciler

    overdue = reconciler.reconcile(wiring.world())
    if overdue:
        logger.info("overdue: %s", ", ".join(overdue))
