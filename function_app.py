"""The Functions app: registers the blueprints and nothing else."""

from __future__ import annotations

import azure.functions as func

from functions import (
    advance_run,
    cancel_run,
    chat_completions,
    job_event,
    list_models,
    manifest_uploaded,
    reconcile,
    retire_idle_endpoints,
    run,
    runs,
    score,
    sweep_manifests,
)

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

for module in (
    manifest_uploaded,
    job_event,
    advance_run,
    reconcile,
    sweep_manifests,
    retire_idle_endpoints,
    chat_completions,
    list_models,
    score,
    runs,
    run,
    cancel_run,
):
    app.register_functions(module.blueprint)
