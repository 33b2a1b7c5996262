"""Command jobs: how one is kept, what its processes are given, how the wire shows it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from local.azureml import codes, datastores, identity, job_documents, job_files
from local.azureml.command_checks import check_command, filled
from local.azureml.job_checks import paths_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.azureml.job_documents import Job
    from local.azureml.plane import Plane

TYPE: Final = "Command"
PROCESS: Final = (sys.executable, "-m", "local.azureml.command_process")
_PASSED_ON: Final = ("HOME", "LANG", "LC_ALL", "TMPDIR")
_SHOWN: Final = (
    "codeId",
    "command",
    "environmentId",
    "distribution",
    "environmentVariables",
    "limits",
    "resources",
)
_COMMON: Final = ("computeId", "experimentName", "inputs", "outputs", "identity")


def is_command(job: Job) -> bool:
    """Whether the kept job is a command job."""
    return "command" in job


def kept(plane: Plane, name: str, sent: Mapping[str, Any]) -> Job:
    """What is kept of a command job beside what every job has.

    Raises:
        ArmError, NotEmulated: As `check_command`.
    """
    checked = check_command(plane, name, sent)
    return {
        "sent": {key: sent.get(key) for key in (*_SHOWN, *_COMMON) if key in sent},
        "command": checked.command,
        "code": checked.code,
        "nodes": checked.nodes,
        "processes": checked.processes,
        "distributed": checked.distributed,
        "managed_identity": checked.managed_identity,
        "timeout": checked.timeout,
        "component": None,
        "step": None,
        "literals": dict(checked.literals),
        "paths": {
            key: {"type": each.type, "uri": each.uri} for key, each in checked.paths.items()
        },
        "outputs": checked.outputs,
        "settings": {},
    }


async def job_file(plane: Plane, job: Job, run_id: str) -> dict[str, Any]:
    """Bring code and inputs to the job's folder; the content of its `job.json`.

    Raises:
        FileNotFoundError: Something is not there; the message says what.
    """
    folder = job_documents.folder(plane, job["name"])
    work = folder / "code"
    work.mkdir(parents=True, exist_ok=True)
    if job["code"]:
        work = await asyncio.to_thread(_fetch_code, plane, job["code"], work)
    inputs = dict(job["literals"])
    for key, given in paths_of(job).items():
        where = job_files.locate(plane, given)
        store = datastores.storage(plane)
        found = await asyncio.to_thread(
            job_files.fetch, store, where, key, given, folder / "inputs"
        )
        inputs[key] = str(found)
    outputs = {}
    for key in job["outputs"]:
        made = folder / "outputs" / key
        made.mkdir(parents=True, exist_ok=True)
        outputs[key] = str(made)
    return {
        "name": job["name"],
        "command": filled(job["command"], inputs, outputs),
        "folder": str(work),
        "timeout": job["timeout"],
        "environment": _environment(plane, job, run_id),
        "processes": _processes(job),
    }


def _fetch_code(plane: Plane, code_id: str, target: Path) -> Path:
    code = codes.VERSIONS.find(plane, code_id)
    if code is None:
        raise FileNotFoundError(f"code {code_id} is not there any more")
    container, path = codes.place_of(plane, code)
    try:
        return datastores.storage(plane).download(container, path, target)
    except FileNotFoundError:
        raise FileNotFoundError(f"code: nothing is at {code['uri']}") from None


def _environment(plane: Plane, job: Job, run_id: str) -> dict[str, str]:
    """What every process of the job has in its environment.

    Nothing of the control plane's own but what finds programs and trusts this laptop's certificates. The variables
    of the workspace and of tracking are Azure ML's; with a managed identity the token endpoint is there as Azure ML
    has it (`MSI_ENDPOINT`, `MSI_SECRET`, which azure-identity knows).
    """
    names, settings = plane.settings, plane.settings
    python = settings.command_python or sys.executable
    made = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    bundle = str(settings.certificates.bundle)
    made |= {
        "PATH": os.pathsep.join([str(Path(python).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "SSL_CERT_FILE": bundle,
        "REQUESTS_CA_BUNDLE": bundle,
        "AZUREML_RUN_ID": job["name"],
        "AZUREML_ARM_SUBSCRIPTION": names.subscription,
        "AZUREML_ARM_RESOURCEGROUP": names.group,
        "AZUREML_ARM_WORKSPACE_NAME": names.workspace,
        "AZUREML_EXPERIMENT_NAME": job["experiment"],
        "MLFLOW_TRACKING_URI": str(settings.tracking_uri),
        "MLFLOW_RUN_ID": run_id,
    }
    if job["managed_identity"]:
        made |= {
            "MSI_ENDPOINT": f"http://127.0.0.1:{plane.identity_port}/msi/token",
            "MSI_SECRET": identity.identity_header(plane),
            "DEFAULT_IDENTITY_CLIENT_ID": identity.PRINCIPAL,
        }
    return {**made, **(job["sent"].get("environmentVariables") or {})}


def _processes(job: Job) -> list[dict[str, str]]:
    """What each process has of its own: its numbers, as for PyTorch."""
    if not job["distributed"]:
        return [{}]
    per_node, nodes = job["processes"], job["nodes"]
    return [
        {
            "NODE_RANK": str(node),
            "LOCAL_RANK": str(local),
            "RANK": str(node * per_node + local),
            "WORLD_SIZE": str(nodes * per_node),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "6105",
        }
        for node in range(nodes)
        for local in range(per_node)
    ]


def shown(job: Job) -> dict[str, Any]:
    """The properties that only a command job has on the wire."""
    sent = job["sent"]
    return {
        "jobType": TYPE,
        **{key: sent.get(key) for key in _SHOWN},
        "inputs": sent.get("inputs") or {},
        "parameters": {},
        "queueSettings": None,
    }
