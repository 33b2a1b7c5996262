"""A manifest was uploaded: have its run made.

The event is a hint. What counts is read from the container again, with its ETag, by the core.
"""

from __future__ import annotations

import azure.functions as func

from shared import wiring

blueprint = func.Blueprint()


@blueprint.function_name("manifest_uploaded")
@blueprint.blob_trigger(
    arg_name="manifest",
    path="manifests/{name}",
    connection="DROPTUNE_STORAGE",
    source=func.BlobSource.EVENT_GRID,
)
def manifest_uploaded(manifest: func.InputStream) -> None:
    """Make the run of the manifest at this path, or recognise it."""
    from shared.runs import intake

    _, _, path = (manifest.name or "").partition("/")
    intake.receive(wiring.world(), path)
