"""What the service checks before it takes a command job, and what of such a job is not emulated.

A command job runs one command in a folder of code, on one node or on several. Whatever would change what runs is
either honoured or refused with 501.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.azureml import codes, computes, environments, job_files, sizes
from local.azureml.component_inputs import GivenPath
from local.azureml.wire import ArmError, NotEmulated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.azureml.plane import Plane

_HONOURED = frozenset(
    {
        "codeId",
        "command",
        "computeId",
        "description",
        "displayName",
        "distribution",
        "environmentId",
        "environmentVariables",
        "experimentName",
        "identity",
        "inputs",
        "isArchived",
        "jobType",
        "limits",
        "outputs",
        "properties",
        "resources",
        "tags",
    }
)
_RESOURCES = frozenset({"instanceCount", "instanceType", "shmSize", "dockerArgs"})
_CLUSTER_ID = re.compile(r"/computes/(?P<name>[^/]+)$", re.IGNORECASE)
_BINDING = re.compile(r"\$\{\{\s*(?P<side>inputs|outputs)\.(?P<name>\w+)\s*\}\}")
_DURATION = re.compile(r"^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$")
_READ_MODES = (None, "ReadOnlyMount", "Download")
_WRITE_MODES = (None, "ReadWriteMount", "Upload")


@dataclass(frozen=True, slots=True)
class CheckedCommand:
    """A command job that may run.

    Attributes:
        command: With `${{inputs.x}}` and `${{outputs.x}}` still in it.
        code: The code version's id, or None.
        nodes: How many nodes it runs on.
        processes: How many processes on each.
        distributed: Whether the processes are told their numbers.
        managed_identity: Whether it runs with the compute's identity.
        timeout: Seconds after which it is cancelled.
        literals: Inputs that are values, as text.
        paths: Inputs that are data.
        outputs: By name: `of`, `type` and `mode`, as for pipelines.
    """

    command: str
    code: str | None
    nodes: int
    processes: int
    distributed: bool
    managed_identity: bool
    timeout: int | None
    literals: dict[str, str]
    paths: dict[str, GivenPath]
    outputs: dict[str, dict[str, Any]]


def check_command(plane: Plane, name: str, sent: Mapping[str, Any]) -> CheckedCommand:
    """Check the properties of a command job's PUT.

    Raises:
        ArmError: As Azure refuses it, with all problems of inputs and command at once.
        NotEmulated: It asks for something that would be ignored here.
    """
    _refuse_unknown(sent)
    resources = sent.get("resources") or {}
    nodes = int(resources.get("instanceCount") or 1)
    processes = _processes(sent.get("distribution"), nodes)
    problems = _missing(plane, sent)
    literals, paths, wrong = _inputs(sent.get("inputs") or {})
    outputs = {
        key: _output(key, given or {}) for key, given in (sent.get("outputs") or {}).items()
    }
    problems += wrong + _unbound(str(sent.get("command") or ""), {*literals, *paths}, outputs)
    if problems:
        inner = tuple(ArmError(400, "InvalidInput", each) for each in problems)
        raise ArmError(
            400, "UserError", f"Job {name} cannot run. " + "; ".join(problems) + ".", details=inner
        )
    _check_compute(plane, sent.get("computeId"), resources, nodes)
    for path in paths.values():
        job_files.locate(plane, path)
    return CheckedCommand(
        command=str(sent["command"]),
        code=sent.get("codeId"),
        nodes=nodes,
        processes=processes or 1,
        distributed=processes is not None,
        managed_identity=_is_managed(sent.get("identity")),
        timeout=_timeout(sent.get("limits") or {}),
        literals=literals,
        paths=paths,
        outputs=outputs,
    )


def _refuse_unknown(sent: Mapping[str, Any]) -> None:
    unknown = sorted(key for key, value in sent.items() if value and key not in _HONOURED)
    resources = sent.get("resources") or {}
    unknown += sorted(
        f"resources.{key}" for key, value in resources.items() if value and key not in _RESOURCES
    )
    if unknown:
        raise NotEmulated(f"a command job with {', '.join(unknown)}")


def _processes(distribution: Mapping[str, Any] | None, nodes: int) -> int | None:
    """Processes per node of a distributed job; None for one that is not."""
    if not distribution:
        if nodes > 1:
            raise NotEmulated("a command job on several nodes without a distribution")
        return None
    kind = str(distribution.get("distributionType"))
    if kind.lower() != "pytorch":
        raise NotEmulated(f"a distribution of type {kind!r} (only PyTorch)")
    return int(distribution.get("processCountPerInstance") or 1)


def _is_managed(identity: Mapping[str, Any] | None) -> bool:
    kind = str((identity or {}).get("identityType") or "AMLToken")
    if kind not in ("AMLToken", "Managed"):
        raise NotEmulated(f"a command job with an identity of type {kind!r}")
    return kind == "Managed"


def _timeout(limits: Mapping[str, Any]) -> int | None:
    text = limits.get("timeout")
    if not text:
        return None
    matched = _DURATION.match(str(text))
    if matched is None:
        raise ArmError(400, "UserError", f"limits.timeout '{text}' is no ISO 8601 duration.")
    days, hours, minutes, seconds = (int(each or 0) for each in matched.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _missing(plane: Plane, sent: Mapping[str, Any]) -> list[str]:
    """What the job names and is not there."""
    problems = []
    if not sent.get("command"):
        problems.append("command is required")
    code, environment = sent.get("codeId"), str(sent.get("environmentId") or "")
    if code and codes.VERSIONS.find(plane, str(code)) is None:
        problems.append(f"code {code} is not found")
    if environment.startswith("azureml://registries/"):
        raise NotEmulated(f"an environment of a registry ({environment})")
    if not environment:
        problems.append("environmentId is required")
    elif environments.VERSIONS.find(plane, environment) is None:
        problems.append(f"environment {environment} is not found")
    return problems


def _inputs(
    given: Mapping[str, Any],
) -> tuple[dict[str, str], dict[str, GivenPath], list[str]]:
    literals: dict[str, str] = {}
    paths: dict[str, GivenPath] = {}
    problems = []
    for name, entry in given.items():
        kind = str(entry.get("jobInputType"))
        if kind == "literal":
            literals[name] = str(entry.get("value"))
        elif kind not in ("uri_file", "uri_folder"):
            raise NotEmulated(f"a command job's input of type {kind!r}")
        elif entry.get("mode") not in _READ_MODES:
            raise NotEmulated(f"a command job's input in mode {entry.get('mode')!r}")
        elif not entry.get("uri"):
            problems.append(f"input {name} has no address")
        else:
            paths[name] = GivenPath(kind, str(entry["uri"]))
    return literals, paths, problems


def _output(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(given.get("jobOutputType") or "uri_folder")
    if kind != "uri_folder" or given.get("uri") or given.get("mode") not in _WRITE_MODES:
        raise NotEmulated("a command job's output that is not a folder at its usual place")
    return {"of": name, "type": kind, "mode": given.get("mode")}


def _unbound(command: str, inputs: set[str], outputs: Mapping[str, Any]) -> list[str]:
    sides = {"inputs": inputs, "outputs": set(outputs)}
    return [
        f"the command names {found['side']}.{found['name']}, which the job does not have"
        for found in _BINDING.finditer(command)
        if found["name"] not in sides[found["side"]]
    ]


def filled(command: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    """The command with its inputs and outputs in place."""
    sides = {"inputs": inputs, "outputs": outputs}
    return _BINDING.sub(lambda found: sides[found["side"]][found["name"]], command)


def _check_compute(
    plane: Plane, compute: str | None, resources: Mapping[str, Any], nodes: int
) -> None:
    """Refuse compute that is not there, and more nodes than it may have."""
    matched = _CLUSTER_ID.search(str(compute or ""))
    name = matched["name"] if matched else str(compute or "serverless")
    if name.lower() == "serverless":
        wanted = str(resources.get("instanceType") or "")
        size = sizes.find_size(wanted)
        if wanted and (size is None or "AmlCompute" not in size["supportedComputeTypes"]):
            raise ArmError(
                400,
                "UserError",
                f"resources.instance_type: the VM size '{wanted}' is not supported in this region.",
            )
        return
    cluster = computes.find_cluster(plane, name)
    if cluster is None:
        raise ArmError(400, "UserError", f"Unknown compute target '{name}'.")
    most = int((cluster["cluster"].get("scaleSettings") or {}).get("maxNodeCount") or 1)
    if nodes > most:
        raise ArmError(
            400,
            "UserError",
            f"The job asks for {nodes} nodes and the compute target '{name}' has at most {most}.",
        )
