"""Compute instances: people's workstations, which stand among a workspace's computes and are no clusters.

One is there because the test control has put it there; it runs, and nothing is run on it. It is shown as users'
logs of the real service show one (ms-henglu/azurerm-rest-api-testing-tool, `2021-07-01`), with the fields that
came later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from local.azureml import sizes
from local.azureml.clock import iso
from local.azureml.identity import PRINCIPAL
from local.azureml.wire import ArmError

if TYPE_CHECKING:
    from local.azureml.plane import Plane

TYPE: Final = "ComputeInstance"
_KEYS: Final = {"size"}
_NOTHING: Final = (
    "computeInstanceAuthorizationType",
    "containers",
    "dataDisks",
    "dataMounts",
    "osImageMetadata",
    "personalComputeInstanceSettings",
    "setupScripts",
    "subnet",
)
"""Of a new instance, null."""


def kept(plane: Plane, identity: str, name: str, asked: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an instance, as of a cluster.

    Args:
        plane: The control plane.
        identity: Its ARM id.
        name: Its name.
        asked: The body of the test control.

    Raises:
        ArmError: 400 that names what is wrong with the body.
    """
    if unknown := sorted(set(asked) - _KEYS):
        text = f"Unknown keys {unknown}; known are {sorted(_KEYS)}."
        raise ArmError(400, "BadInstance", text)
    wanted = str(asked.get("size", "Standard_DS3_v2"))
    size = sizes.find_size(wanted)
    if size is None or TYPE not in size["supportedComputeTypes"]:
        raise ArmError(400, "BadInstance", f"There is no compute instance of size '{wanted}'.")
    now = iso(plane.clock.now())
    return {
        "id": identity,
        "name": name,
        "type": TYPE,
        "location": plane.region,
        "tags": {},
        "description": None,
        "disable_local_auth": True,
        "size": size["name"],
        "created_on": now,
        "modified_on": now,
        "ready_at": now,
        "gone_at": None,
        "fails": None,
    }


def shown(body: dict[str, Any]) -> dict[str, Any]:
    """The instance's own part, as ARM shows it."""
    address = f"https://{body['name']}.{body['location']}.instances.azureml.ms"
    return {
        **dict.fromkeys(_NOTHING),
        "vmSize": body["size"].upper(),
        "sshSettings": {
            "sshPublicAccess": "Disabled",
            "adminUserName": "azureuser",
            "sshPort": 4001,
            "adminPublicKey": None,
        },
        "errors": [],
        "connectivityEndpoints": {"publicIpAddress": "192.0.2.1", "privateIpAddress": "10.0.0.5"},
        "applications": [
            {"displayName": "Jupyter", "endpointUri": f"{address}/tree/"},
            {"displayName": "Jupyter Lab", "endpointUri": f"{address}/lab"},
        ],
        "state": "Running",
        "lastOperation": {
            "operationName": "Create",
            "operationTime": body["created_on"],
            "operationStatus": "Succeeded",
            "operationTrigger": "User",
        },
        "createdBy": {"userOrgId": PRINCIPAL, "userId": PRINCIPAL, "userName": "somebody"},
        "applicationSharingPolicy": "Shared",
        "schedules": {"computeStartStop": []},
        "versions": {"runtime": "3.0.01915.0001"},
    }
