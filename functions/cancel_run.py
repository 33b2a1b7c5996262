"""`POST /api/runs/{id}/cancel`: call a run off while it is on its way."""

from __future__ import annotations

import azure.functions as func

from functions.http import as_json, problem
from shared import wiring

blueprint = func.Blueprint()


@blueprint.function_name("cancel_run")
@blueprint.route(route="runs/{id}/cancel", methods=["POST"])
def cancel_run(req: func.HttpRequest) -> func.HttpResponse:
    """Call the run off; what it holds is let go of before it ends."""
    from shared.errors import Missing
    from shared.runs import reconciler, views
    from shared.runs.phases import Phase

    run_id = req.route_params["id"]
    try:
        run = reconciler.cancel(wiring.world(), run_id, "somebody called it off")
    except Missing:
        return problem(404, f"there is no run '{run_id}'")
    called_off = run.ending is not None and run.ending.phase is Phase.CANCELLED
    if not called_off and run.phase is not Phase.CANCELLED:
        return problem(409, f"run '{run_id}' is {run.phase}: it can no longer be called off")
    return as_json(views.summary(run), 202)
