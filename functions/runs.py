"""`GET /api/runs`: the runs there are, newest first, a page at a time."""

from __future__ import annotations

import azure.functions as func

from functions.http import as_json, problem
from shared import wiring

blueprint = func.Blueprint()

LONGEST_PAGE = 100


@blueprint.function_name("runs")
@blueprint.route(route="runs", methods=["GET"])
def runs(req: func.HttpRequest) -> func.HttpResponse:
    """List runs; `manifest` and `phase` filter, `limit` and `after` page."""
    from shared.errors import Refused
    from shared.runs import views
    from shared.runs.phases import phase_named

    asked, phase = req.params.get("limit", "20"), req.params.get("phase")
    if not asked.isdecimal() or not 1 <= int(asked) <= LONGEST_PAGE:
        return problem(400, f"limit is '{asked}'; it must be a number from 1 to {LONGEST_PAGE}")
    try:
        page, after = wiring.runs_page(
            limit=int(asked),
            after=req.params.get("after"),
            manifest=req.params.get("manifest"),
            phase=phase_named(phase) if phase else None,
        )
    except Refused as error:
        return problem(400, str(error))
    return as_json({"runs": [views.summary(run) for run in page], "after": after})
