"""`GET /api/runs/{id}`: one run's whole record, with its timeline."""

from __future__ import annotations

import azure.functions as func

from functions.http import as_json, problem
from shared import wiring

blueprint = func.Blueprint()


@blueprint.function_name("run")
@blueprint.route(route="runs/{id}", methods=["GET"])
def run(req: func.HttpRequest) -> func.HttpResponse:
    """Show the run."""
    from shared.errors import Missing
    from shared.runs import views

    run_id = req.route_params["id"]
    try:
        found, _ = wiring.world().runs.load(run_id)
    except Missing:
        return problem(404, f"there is no run '{run_id}'")
    return as_json(views.whole(found))
