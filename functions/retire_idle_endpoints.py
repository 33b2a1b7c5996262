"""The timer that saves money: endpoints that nobody uses go to sleep."""

from __future__ import annotations

import azure.functions as func

from shared import wiring

blueprint = func.Blueprint()


@blueprint.function_name("retire_idle_endpoints")
@blueprint.timer_trigger(arg_name="timer", schedule="%CLEANUP_SCHEDULE%")
def retire_idle_endpoints(timer: func.TimerRequest) -> None:
    """Wish sleep for every run whose endpoint is idle, and delete endpoints that no run owns."""
    del timer
    from shared.serving.retiring import delete_orphans, retire_idle

    retire_idle(wiring.world())
    delete_orphans(wiring.world())
