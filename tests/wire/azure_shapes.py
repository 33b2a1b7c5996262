"""Holds JSON bodies to Azure's types, and every answer that a test sees to the type of its route.

The facts are `local/azureml/seed/types.json`: the Azure REST API specification of
Microsoft.MachineLearningServices, version 2025-12-01. The reading of them here is not the
emulator's. `RECORDED` adds what that specification leaves to paths and what the public test
recordings of azure-ai-ml (Azure/azure-sdk-assets) show; `BESIDES` and `MAY_LACK` name every field
in which those recordings differ from the specification.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

FACTS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "local/azureml/seed/types.json").read_text()
)["types"]

RECORDED: dict[str, Any] = {
    "MfeOperation": {
        "fields": {
            "id": "string required",
            "name": "string required",
            "status": "'Updating'|'Succeeded'|'Failed'|'Canceled' required",
            "startTime": "string required",
            "endTime": "string required",
            "percentComplete": "number required",
            "error": "ErrorDetail",
        }
    },
    "ComputeOperation": {
        "fields": {
            "status": "'InProgress'|'Succeeded'|'Failed'|'Canceled' required",
            "percentComplete": "number",
            "error": "ErrorDetail",
        }
    },
    "VirtualMachineSize": {
        "fields": {
            "name": "string readOnly",
            "family": "string readOnly",
            "vCPUs": "int readOnly",
            "gpus": "int readOnly",
            "osVhdSizeMB": "int readOnly",
            "maxResourceVolumeMB": "int readOnly",
            "memoryGB": "number readOnly",
            "lowPriorityCapable": "bool readOnly",
            "premiumIO": "bool readOnly",
            "estimatedVMPrices": "any",
            "supportedComputeTypes": "string[]",
        }
    },
    "UsageName": {"fields": {"value": "string readOnly", "localizedValue": "string readOnly"}},
    "ResourceQuota": {
        "fields": {
            "id": "string readOnly",
            "amlWorkspaceLocation": "string readOnly",
            "type": "string readOnly",
            "name": "UsageName readOnly",
            "limit": "int readOnly",
            "unit": "'Count' readOnly",
        }
    },
    "SkuResource": {
        "fields": {
            "capacity": "SkuCapacity",
            "resourceType": "string readOnly",
            "sku": "SkuSetting",
        }
    },
    "SkuCapacity": {
        "fields": {
            "default": "int",
            "maximum": "int",
            "minimum": "int",
            "scaleType": "'Automatic'|'Manual'|'None'",
        }
    },
    "SkuSetting": {
        "fields": {"name": "string required", "tier": "'Free'|'Basic'|'Standard'|'Premium'"}
    },
}
RECORDED["Usage"] = {
    "fields": {**RECORDED["ResourceQuota"]["fields"], "currentValue": "int readOnly"}
}

PREVIEW_FIELDS = {
    "workspaces/jobs": (
        "properties.secretsConfiguration",
        "properties.inputs.*.pathOnCompute",
        "properties.outputs.*.assetVersion",
        "properties.outputs.*.pathOnCompute",
        "properties.outputs.*.autoDeleteSetting",
        "properties.autologgerSettings",
        "properties.resources.maxInstanceCount",
        "properties.resources.locations",
        "properties.queueSettings.priority",
    ),
    "workspaces/environments/versions": (
        "properties.autoDeleteSetting",
        "properties.intellectualProperty",
    ),
    "workspaces/codes/versions": (
        "properties.autoDeleteSetting",
        "properties.intellectualProperty",
    ),
    "workspaces/models/versions": (
        "properties.autoDeleteSetting",
        "properties.intellectualProperty",
    ),
    "workspaces/computes": ("properties.properties.enableBatchPrivateLink",),
}
"""Shown by the recordings that ask with a preview version up to 2024, and by no later one."""

BESIDES = {
    "workspaces": ("etag",),
    "workspaces/jobs": ("properties.parentJobName",),
    "workspaces/computes": ("properties.provisioningWarnings",),
    "registries/models/versions": (
        "properties.originAssetId",
        "properties.intellectualProperty",
        "properties.systemMetadata",
    ),
    "registries/components/versions": ("properties.stage",),
    "VirtualMachineSize": ("generation", "supportsIB"),
}
"""Shown whatever the version, though the specification of 2025-12-01 does not have it."""

MAY_LACK = {
    "workspaces": (
        "properties.privateEndpointConnections",
        "properties.serviceProvisionedResourceGroup",
        "properties.managedNetwork.networkId",
        "properties.managedNetwork.firewallPublicIpAddress",
    ),
    "workspaces/computes": (
        "systemData",
        "properties.properties.allocationStateTransitionTime",
        "properties.provisioningErrors[*].error.target",
        "properties.provisioningErrors[*].error.details",
        "properties.provisioningErrors[*].error.additionalInfo",
    ),
    "registries/models/versions": ("properties.provisioningState", "systemData"),
    "ErrorResponse": ("error.target", "error.details[*].target"),
    "MfeOperation": ("error.target", "error.additionalInfo"),
}
"""Read-only fields that recorded bodies do not have; a cluster's transition time is there later.
No failed cluster was recorded: of an error, code and message are asked for."""

_LEAVES = {"string": (str,), "int": (int,), "number": (int, float), "bool": (bool,)}


def problems(
    name: str, body: Any, *, besides: tuple[str, ...] = (), may_lack: tuple[str, ...] = ()
) -> list[str]:
    """What is wrong with a body, by Azure's types; nothing if it is right.

    Args:
        name: A type, such as `workspaces/jobs`.
        body: The JSON value.
        besides: Paths of fields that the type does not have and the body may; `*` stands for any
            key.
        may_lack: Paths of read-only fields that the body need not have.
    """
    walk = _Walk(besides, may_lack)
    walk.object(name, body, "")
    return walk.found


class _Walk:
    def __init__(self, besides: tuple[str, ...], may_lack: tuple[str, ...]) -> None:
        self.found: list[str] = []
        self._besides = [_pattern(each) for each in besides]
        self._may_lack = [_pattern(each) for each in may_lack]

    def object(self, name: str, body: Any, place: str) -> None:
        if not isinstance(body, dict):
            self.found.append(f"{place or name} is {body!r}, not an object ({name})")
            return
        facts = FACTS.get(name) or RECORDED[name]
        if "fields" not in facts and "values" in facts:
            for key, each in body.items():
                self._value(facts["values"], each, f"{place}.{key}" if place else key)
            return
        fields = dict(facts["fields"])
        if "kind" in facts:
            chosen = body.get(facts["kind"])
            if facts["kinds"].get(chosen) is None:
                self.found.append(f"{place}: {facts['kind']} is {chosen!r}")
                return
            fields |= {facts["kind"]: "string", **facts["kinds"][chosen]}
        self._fields(name, fields, body, place)

    def _fields(self, name: str, fields: dict[str, str], body: dict, place: str) -> None:
        for key, each in body.items():
            inside = f"{place}.{key}" if place else key
            if key in fields:
                self._value(fields[key], each, inside)
            elif not any(each.fullmatch(inside) for each in self._besides):
                self.found.append(f"{inside} is no field of {name}")
        for key, spec in fields.items():
            inside, flags = f"{place}.{key}" if place else key, spec.split(" ")[1:]
            if key in body or not ({"required", "readOnly"} & set(flags)):
                continue
            if "writeOnly" not in flags and not any(
                each.fullmatch(inside) for each in self._may_lack
            ):
                self.found.append(f"{inside} is missing ({' '.join(flags)})")

    def _value(self, spec: str, value: Any, place: str) -> None:
        kind, *flags = spec.split(" ")
        if value is None:
            if "required" in flags:
                self.found.append(f"{place} is null and required")
            return
        if "writeOnly" in flags:
            self.found.append(f"{place} is write-only and shown")
            return
        if kind.endswith("[]"):
            if not isinstance(value, list):
                self.found.append(f"{place} is {value!r}, not a list")
                return
            for number, each in enumerate(value):
                self._value(kind.removesuffix("[]"), each, f"{place}[{number}]")
        elif kind.startswith("'") or kind in _LEAVES:
            if not _fits(kind, value):
                self.found.append(f"{place} is {value!r}, not of {kind}")
        elif kind != "any":
            self.object(kind, value, place)


def _fits(kind: str, value: Any) -> bool:
    if kind.startswith("'"):
        return value in re.findall(r"'([^']*)'", kind)
    return isinstance(value, _LEAVES[kind]) and (type(value) is bool) == (kind == "bool")


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(path).replace(r"\*", r"[^.\[\]]+"))


_WORKSPACE = (
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.MachineLearningServices"
    r"/workspaces/[^/]+"
)
_REGISTRY = r"/regional/.+/registries/[^/]+"
_LOCATION = r"/subscriptions/[^/]+/providers/Microsoft\.MachineLearningServices/locations/[^/]+"
_ONE = "/[^/]+"
_ENDPOINT = f"{_WORKSPACE}/onlineEndpoints"
_RESOURCES = {
    "workspaces/computes": f"{_WORKSPACE}/computes",
    "workspaces/datastores": f"{_WORKSPACE}/datastores",
    "workspaces/jobs": f"{_WORKSPACE}/jobs",
    "workspaces/environments": f"{_WORKSPACE}/environments",
    "workspaces/environments/versions": f"{_WORKSPACE}/environments{_ONE}/versions",
    "workspaces/codes": f"{_WORKSPACE}/codes",
    "workspaces/codes/versions": f"{_WORKSPACE}/codes{_ONE}/versions",
    "workspaces/models": f"{_WORKSPACE}/models",
    "workspaces/models/versions": f"{_WORKSPACE}/models{_ONE}/versions",
    "workspaces/onlineEndpoints": _ENDPOINT,
    "workspaces/onlineEndpoints/deployments": f"{_ENDPOINT}{_ONE}/deployments",
    "registries/models": f"{_REGISTRY}/models",
    "registries/models/versions": f"{_REGISTRY}/models{_ONE}/versions",
    "registries/components": f"{_REGISTRY}/components",
    "registries/components/versions": f"{_REGISTRY}/components{_ONE}/versions",
}
ROUTES: list[tuple[str, str, bool]] = [
    (_WORKSPACE, "workspaces", False),
    *((f"{path}{_ONE}", name, False) for name, path in _RESOURCES.items()),
    *((path, name, True) for name, path in _RESOURCES.items()),
    (
        f"{_WORKSPACE}/codes{_ONE}/versions{_ONE}/startPendingUpload",
        "PendingUploadResponseDto",
        False,
    ),
    (f"{_WORKSPACE}/datastores{_ONE}/listSecrets", "DatastoreSecrets", False),
    (f"{_ENDPOINT}{_ONE}/listKeys", "EndpointAuthKeys", False),
    (f"{_ENDPOINT}{_ONE}/token", "EndpointAuthToken", False),
    (f"{_ENDPOINT}{_ONE}/deployments{_ONE}/getLogs", "DeploymentLogs", False),
    (f"{_ENDPOINT}{_ONE}/deployments{_ONE}/skus", "SkuResource", True),
    (f"{_LOCATION}/mfeOperationsStatus{_ONE}", "MfeOperation", False),
    (f"{_LOCATION}/computeOperationsStatus{_ONE}", "ComputeOperation", False),
    (f"{_LOCATION}/vmSizes", "VirtualMachineSize", True),
    (f"{_LOCATION}/usages", "Usage", True),
    (f"{_LOCATION}/quotas", "ResourceQuota", True),
]
"""Path, type, and whether the answer is a list of it."""
# Resource Manager's own, Azure Monitor's (whose errors differ), and what has no body.
_UNTYPED = re.compile(r"/subscriptions/[^/]+|.+/metrics(:getBatch)?|.+/mfeOperationResults/.+")


class Watch:
    """Every answer of the control plane, held to its type as it arrives.

    Attributes:
        found: What was wrong, with the request that it answered.
        untyped: Requests whose path has no type here.
        states: The provisioning states and statuses that were seen, by type.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        self.untyped: list[str] = []
        self.states: dict[str, set[str]] = defaultdict(set)

    def see(self, answer: requests.Response) -> None:
        """Check one answer."""
        url, version = urlsplit(answer.url), ""
        typed = url.path.startswith(("/subscriptions/", "/regional/"))
        if not typed or _UNTYPED.fullmatch(url.path):
            return
        version = parse_qs(url.query).get("api-version", [""])[0]
        if not answer.content or (body := answer.json()) is None:
            return
        told = f"{answer.request.method} {url.path} {version} {answer.status_code}"
        if answer.status_code >= 400:
            self._hold("ErrorResponse", body, version, told)
            return
        for path, name, listed in ROUTES:
            if re.fullmatch(path, url.path, re.IGNORECASE):
                for each in body["value"] if listed else [body]:
                    self._hold(name, each, version, told)
                if listed and set(body) - {"value", "nextLink"}:
                    self.found.append(f"{told}: a list has {sorted(body)}")
                return
        self.untyped.append(told)

    def _hold(self, name: str, body: Any, version: str, told: str) -> None:
        previews = version.endswith("-preview") and version < "2025"
        besides = BESIDES.get(name, ()) + (PREVIEW_FIELDS.get(name, ()) if previews else ())
        wrong = problems(name, body, besides=besides, may_lack=MAY_LACK.get(name, ()))
        if name.startswith("registries/"):  # the registry's own API has short types
            kind = name.split("/")[1]
            wrong = [each for each in wrong if not each.startswith(f"type is '{kind}'")]
        self.found += [f"{told}: {each}" for each in wrong]
        properties = body.get("properties") or {}
        for key in ("provisioningState", "status"):
            if (state := properties.get(key) or body.get(key)) is not None:
                self.states[name].add(state)


@contextlib.contextmanager
def watching():
    """A `Watch` over everything that this process asks through requests, the SDK included."""
    watch, send = Watch(), requests.Session.send

    def sent(session, request, **how):
        answer = send(session, request, **how)
        watch.see(answer)
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.Session, "send", sent)
        yield watch
