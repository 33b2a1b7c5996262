"""A Functions host: any Python v2 app on Microsoft's own runtime, with the host's triggers around.

    python -m local.host --app . --port 7071 --state .local/host

The .NET host does not run everywhere, and `func start` hides what Azure does: keys are not asked
for, blob events do not arrive, time-outs kill nothing. This host keeps to what the Functions host
4.x documents and does.
"""
