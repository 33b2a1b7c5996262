"""Event Grid as in Azure: job events and manifest uploads, each to its function."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from local.environment import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE
from local.kept import write_private

if TYPE_CHECKING:
    from pathlib import Path

    from local.kept import Kept

JOBS, STORAGE = "azureml", "storage"
MANIFEST_ENDINGS = (".json", ".yaml", ".yml")
LARGEST_MANIFEST = 256 * 1024

_GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}/providers"
_EVENTS = "Microsoft.MachineLearningServices"


def publish_address(kept: Kept) -> str:
    """Where the control plane publishes what happens to jobs."""
    return f"http://127.0.0.1:{kept.ports['event_grid']}/topics/{JOBS}/api/events"


def write_configuration(file: Path, kept: Kept, host_keys: Path) -> None:
    """Write the configuration of `local.eventgrid`; the host must have made its keys.

    Raises:
        OSError, ValueError, KeyError: The keys cannot be read.
    """
    system = json.loads(host_keys.read_text())["system"]
    body = configuration(
        kept, events_key=system["eventgrid_extension"], blobs_key=system["blobs_extension"]
    )
    write_private(file, json.dumps(body, indent=1))


def configuration(kept: Kept, *, events_key: str, blobs_key: str) -> dict[str, Any]:
    """The topics and their subscriptions, in the words of `local.eventgrid.configuration`."""
    hooks = f"http://127.0.0.1:{kept.ports['host']}/runtime/webhooks"
    return {
        "topics": [
            {
                "name": JOBS,
                "key": kept.topic_key,
                "source": f"{_GROUP}/{_EVENTS}/workspaces/{WORKSPACE}",
                "subscriptions": [
                    {
                        "name": "job-event",
                        "endpointUrl": f"{hooks}/EventGrid?functionName=job_event"
                        f"&code={events_key}",
                        "filter": {
                            "includedEventTypes": [
                                f"{_EVENTS}.RunCompleted",
                                f"{_EVENTS}.RunStatusChanged",
                            ],
                            # Only what Droptune started; other jobs are not its own.
                            "advancedFilters": [
                                {"operatorType": "IsNotNull", "key": "data.runTags.droptune_run"}
                            ],
                        },
                    }
                ],
            },
            {
                "name": STORAGE,
                "key": kept.topic_key,
                "source": f"{_GROUP}/Microsoft.Storage/storageAccounts/devstoreaccount1",
                "storageContainers": ["manifests"],
                "subscriptions": [
                    {
                        "name": "manifest-uploaded",
                        "endpointUrl": f"{hooks}/blobs"
                        f"?functionName=Host.Functions.manifest_uploaded&code={blobs_key}",
                        "filter": _MANIFESTS,
                    }
                ],
            },
        ]
    }


_MANIFESTS = {
    "includedEventTypes": ["Microsoft.Storage.BlobCreated"],
    "subjectBeginsWith": "/blobServices/default/containers/manifests/",
    "advancedFilters": [
        {
            "operatorType": "StringEndsWith",
            "key": "subject",
            "values": list(MANIFEST_ENDINGS),
        },
        {
            "operatorType": "NumberLessThanOrEquals",
            "key": "data.contentLength",
            "value": LARGEST_MANIFEST,
        },
    ],
}
