"""Jobs that prepare data: this package's own code on a CPU cluster or on serverless compute.

The job is a command around `shared.cloud.data_job`. It is given no secret: it reads and writes the storage account by
its address with the identity of its compute, so it works where shared keys are off, and the preparation is the same
code with the same adapters as in a function.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from shared.cloud import data_job
from shared.cloud.failures import failing
from shared.cloud.jobs import building, job_from
from shared.cloud.sdk import workspace_client
from shared.cloud.storage import connection_from
from shared.errors import Busy, Refused
from shared.runs.naming import TAG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.cloud.arm import Place
    from shared.cloud.jobs import Jobs
    from shared.cloud.storage import StorageConnection
    from shared.runs.ports import DataJobRequest, Job
    from shared.settings import Settings

PARTS: Final = (
    "__init__.py",
    "assets.py",
    "errors.py",
    "durations.py",
    "sizes.py",
    "data",
    "runs",
    "cloud",
)
"""What of the package `shared` the job needs."""

IMAGE: Final = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
PYTHON: Final = "3.11"
REQUIREMENTS: Final = (
    "azure-core==1.41.0",
    "azure-identity==1.27.0",
    "azure-storage-blob==12.27.1",
    "datasets==5.2.0",
    "huggingface-hub==2.4.0",
    "msgspec==0.22.0",
    "pyarrow==26.0.1",
    "pydantic==2.14.3",
    "pyyaml==6.0.3",
    "xxhash==4.1.0",
)
"""What the environment that is made for the job holds; the same versions as in requirements.txt."""

_HUB: Final = "HF_ENDPOINT"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DataCompute:
    """Where and in what the job runs.

    Attributes:
        cluster: A CPU cluster's name; empty: serverless compute.
        size: The VM size of serverless compute.
        environment: An Azure ML environment, `azureml:NAME:VERSION` or of a registry; empty: one is made.
        storage: The account, of which the job is told the address alone.
        datastore: The workspace's name for the container `datasets`.
        hosts: Servers that may be asked for files.
    """

    cluster: str
    size: str
    environment: str
    storage: StorageConnection
    datastore: str
    hosts: frozenset[str] = frozenset()


class DataJobs:
    """Submits them.

    Args:
        jobs: Knows the workspace's jobs.
        place: The workspace.
        compute: Where they run.
    """

    def __init__(self, jobs: Jobs, place: Place, compute: DataCompute) -> None:
        self._jobs = jobs
        self._place = place
        self._compute = compute

    def submit(self, request: DataJobRequest) -> Job:
        """Submit the job. A job of this name that is there already is returned as it is.

        Raises:
            Refused: Azure will not run it.
        """
        present = self._jobs.get(request.name)
        if present is not None:
            return present
        client = workspace_client(self._place)
        try:
            with (
                tempfile.TemporaryDirectory(prefix="droptune-") as folder,
                failing(f"submitting the job {request.name}"),
            ):
                gather(Path(folder))
                with building:
                    job = command_job(request, self._compute, folder)
                return job_from(client.jobs.create_or_update(job))
        except (Busy, Refused) as error:
            # Somebody else may have submitted it since we looked.
            present = self._jobs.get(request.name)
            if present is None:
                raise
            logger.info("%s was there already: %s", request.name, error)
            return present


def gather(folder: Path) -> None:
    """Put the code that the job needs into `folder`; the same code is the same bytes, and uploaded once."""
    package = Path(__file__).parents[1]
    for module in _modules(package):
        target = folder / "shared" / module.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(module, target)


def _modules(package: Path) -> Iterator[Path]:
    for part in PARTS:
        path = package / part
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def command_job(request: DataJobRequest, compute: DataCompute, code: str) -> Any:
    """The command job, ready to be submitted.

    Args:
        request: What is wanted.
        compute: Where it runs.
        code: The folder of its code.
    """
    from azure.ai.ml import ManagedIdentityConfiguration, command

    variables = {
        data_job.ADDRESS: compute.storage.blob_address,
        data_job.DATASTORE: compute.datastore,
        data_job.HOSTS: ",".join(sorted(compute.hosts)),
        data_job.AT_MOST: str(int(request.at_most.total_seconds())),
    }
    if hub := os.environ.get(_HUB):
        variables[_HUB] = hub
    job: Any = command(
        name=request.name,
        display_name=request.display_name,
        experiment_name=request.experiment,
        tags={TAG: request.run},
        code=code,
        command=f"python -m shared.cloud.data_job {request.fingerprint} {request.name}",
        environment=compute.environment or _environment(),
        environment_variables=variables,
        compute=compute.cluster or None,
        instance_type=None if compute.cluster else compute.size,
        instance_count=request.nodes,
        # Azure ML starts a command on every node, and tells each its number, only when it is distributed.
        distribution={"type": "pytorch", "process_count_per_instance": 1}
        if request.nodes > 1
        else None,
        timeout=int(request.at_most.total_seconds()),
        identity=ManagedIdentityConfiguration(),
    )
    job.name = request.name
    return job


def _environment() -> Any:
    from azure.ai.ml.entities import Environment

    return Environment(
        image=IMAGE,
        conda_file={
            "name": "droptune-data",
            "channels": ["conda-forge"],
            "dependencies": [f"python={PYTHON}", "pip", {"pip": list(REQUIREMENTS)}],
        },
    )


def compute_from(settings: Settings) -> DataCompute:
    """What the app settings name."""
    return DataCompute(
        cluster=settings.prepare_cluster,
        size=settings.prepare_size,
        environment=settings.prepare_environment,
        storage=connection_from(settings),
        datastore=settings.datastore,
        hosts=settings.data_hosts,
    )
