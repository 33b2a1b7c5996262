"""What the service checks before it takes a job: component, inputs, compute, name.

This is for pipelines around one registry component, in either of the two forms in which the SDK
sends them: a pipeline function with one step, or a job made of the component itself. Command jobs
have a module of their own (`command_checks`). Everything else is 501.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.azureml import computes, job_files, registry, sizes
from local.azureml.component_inputs import (
    GivenPath,
    Inputs,
    bind,
    binding,
    check_inputs,
)
from local.azureml.wire import ArmError, NotEmulated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.azureml.plane import Plane

_NAME = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}$")
_CLUSTER_ID = re.compile(r"/computes/(?P<name>[^/]+)$", re.IGNORECASE)
_ROLES = ("model_import", "preprocess", "finetune")


@dataclass(frozen=True, slots=True)
class Checked:
    """A job that may run.

    Attributes:
        component: Its component's id.
        step: The name of the pipeline's step.
        inputs: The component's inputs, read and complete.
        outputs: The job's outputs by name: `type`, `mode`, and `of`, the component's output.
    """

    component: str
    step: str
    inputs: Inputs
    outputs: dict[str, dict[str, Any]]


def check_job(plane: Plane, name: str, sent: Mapping[str, Any]) -> Checked:
    """Check the properties of a job's PUT.

    Raises:
        ArmError: As Azure refuses it, with all problems of the inputs at once.
        NotEmulated: Another kind of job.
    """
    if sent.get("jobType") != "Pipeline":
        raise NotEmulated(f"jobs of type {sent.get('jobType')!r} (only Pipeline and Command)")
    step, node = _only_step(sent)
    component_id = str(node.get("componentId") or "")
    component = registry.find_component(component_id)
    if component is None:
        raise _no_component(component_id)
    bound, problems = bind(node.get("inputs") or {}, sent.get("inputs") or {})
    inputs, wrong = check_inputs(component["inputs"], bound)
    problems += wrong
    outputs, wrong = _outputs(component["outputs"], node, sent)
    problems += wrong
    if problems:
        inner = tuple(ArmError(400, "InvalidInput", each) for each in problems)
        text = f"Pipeline {name} cannot run. " + "; ".join(problems) + "."
        raise ArmError(400, "UserError", text, details=inner)
    _check_computes(plane, sent, inputs)
    for path in inputs.paths.values():
        job_files.locate(plane, path)
    return Checked(component_id, step, inputs, outputs)


def check_name(plane: Plane, name: str) -> None:
    """Check what every job has in common.

    Raises:
        ArmError: The name is none.
        NotEmulated: There is no MLflow server.
    """
    if not _NAME.match(name):
        raise ArmError(
            400,
            "UserError",
            f"Job name '{name}' is invalid: letters, digits, '_' and '-' only, begin with a "
            "letter or digit, at most 255 characters.",
        )
    if not plane.settings.tracking_uri or not plane.settings.train_command:
        raise NotEmulated("jobs without an MLflow server (start it with --tracking-uri)")


def _only_step(sent: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The one step of the pipeline: its name and its body."""
    if sent.get("componentId"):
        return "pipeline", {**sent, "outputs": {}}
    nodes = sent.get("jobs") or {}
    if len(nodes) != 1:
        raise NotEmulated(f"a pipeline of {len(nodes)} steps (only one registry component)")
    ((step, node),) = nodes.items()
    return step, node


def _no_component(component_id: str) -> ArmError:
    matched = re.search(r"components/([^/]+)/versions/([^/]+)$", component_id)
    name, version = matched.groups() if matched else (component_id, "?")
    return ArmError(
        404,
        "NotFound",
        f"key: {component_id}, Message: Not found component {name} (version: {version}).",
    )


def _outputs(
    declared: Mapping[str, Mapping[str, Any]],
    node: Mapping[str, Any],
    sent: Mapping[str, Any],
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The job's outputs, and what is wrong with them.

    An output of the component that the job does not bind keeps the component's name for it.
    """
    of_job = sent.get("outputs") or {}
    problems = [
        f"output {name} is unknown" for name in node.get("outputs") or {} if name not in declared
    ]
    bound = {}
    for name, entry in (node.get("outputs") or {}).items():
        target = binding(entry.get("value")) if isinstance(entry, dict) else None
        if target and target[0] == "outputs" and target[1] in of_job:
            bound[name] = target[1]
    made: dict[str, dict[str, Any]] = {}
    for name, declaration in declared.items():
        shown = bound.get(name, name)
        given = of_job.get(shown) or {}
        kind = given.get("jobOutputType") or declaration["type"]
        if given.get("uri"):
            problems.append(f"output {shown}: an address of its own is not emulated")
        made[shown] = {"of": name, "type": kind, "mode": given.get("mode")}
    problems += [f"output {name} belongs to no step" for name in of_job if name not in made]
    return made, problems


def _check_computes(plane: Plane, sent: Mapping[str, Any], inputs: Inputs) -> None:
    """Refuse clusters that do not exist and sizes that are none."""
    for role in _ROLES:
        wanted = str(inputs.literals.get(f"compute_{role}") or "serverless")
        if wanted == "serverless":
            _check_size(role, str(inputs.literals[f"instance_type_{role}"]))
        else:
            _check_cluster(plane, wanted)
    if sent.get("computeId"):
        _check_cluster(plane, str(sent["computeId"]))


def _check_size(role: str, name: str) -> None:
    size = sizes.find_size(name)
    if size is None or "AmlCompute" not in size["supportedComputeTypes"]:
        raise ArmError(
            400,
            "UserError",
            f"instance_type_{role}: the VM size '{name}' is not supported in this region.",
        )


def _check_cluster(plane: Plane, wanted: str) -> None:
    matched = _CLUSTER_ID.search(wanted)
    name = matched["name"] if matched else wanted
    if name.lower() != "serverless" and computes.find_cluster(plane, name) is None:
        raise ArmError(400, "UserError", f"Unknown compute target '{name}'.")


def paths_of(job: Mapping[str, Any]) -> dict[str, GivenPath]:
    """The inputs of a kept job that name data."""
    return {name: GivenPath(**each) for name, each in job["paths"].items()}
