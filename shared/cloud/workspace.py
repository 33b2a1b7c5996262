"""Azure ML as the core sees it: `shared.runs.ports.Workspace`, put together from its parts."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shared.cloud import metrics, registry
from shared.cloud.arm import Arm, Place
from shared.cloud.compute import ComputeTargets
from shared.cloud.data_jobs import DataJobs, compute_from
from shared.cloud.failures import failing
from shared.cloud.foundation import FoundationModels
from shared.cloud.jobs import OUTPUT, Jobs
from shared.cloud.online import Online
from shared.cloud.registry import ComponentReference
from shared.cloud.sdk import workspace_client
from shared.errors import Busy, Missing, Refused
from shared.runs.naming import TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from shared.cloud.data_jobs import DataCompute
    from shared.runs.machines import Allowance, Cluster, ClusterRequest, Priority, VmSize
    from shared.runs.measures import Measured, Seen
    from shared.runs.parameters import Component
    from shared.runs.ports import (
        DataJobRequest,
        Deployment,
        DeploymentRequest,
        Endpoint,
        FoundationModel,
        Job,
        JobRequest,
        Message,
        ModelRequest,
        Standing,
    )
    from shared.settings import Settings


logger = logging.getLogger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class AzureWorkspace:
    """`shared.runs.ports.Workspace` for one workspace.

    Args:
        place: The workspace.
        component: Which fine-tuning component.
        data: Where jobs run that prepare data; `None`: nowhere.
        metrics_endpoint: Azure Monitor's; empty for that of the workspace's region.
        metadata_url: Where the cloud describes itself; empty for the public cloud.
        now: The time.
    """

    def __init__(
        self,
        place: Place,
        component: ComponentReference | None = None,
        *,
        data: DataCompute | None = None,
        metrics_endpoint: str = "",
        metadata_url: str = "",
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._place = place
        self._component = component or ComponentReference()
        self._arm = Arm(metadata_url)
        self._models = FoundationModels(self._arm)
        self._targets = ComputeTargets(self._arm, place, self._region)
        self._jobs = Jobs(self._arm, place)
        self._data_jobs = DataJobs(self._jobs, place, data) if data is not None else None
        self._online = Online(self._arm, place, self._region)
        self._requests = metrics.Requests(self._arm, place, metrics_endpoint, self._region, now)
        self._known: Mapping[str, Any] | None = None
        self._looking = threading.Lock()

    @property
    def place(self) -> str:
        """Subscription, resource group and workspace in one line; part of endpoint names."""
        return self._place.line

    def close(self) -> None:
        """Close the connections that are kept open; the next call opens new ones."""
        self._online.close()
        self._arm.close()

    def _workspace(self) -> Mapping[str, Any]:
        """The workspace itself, read once: neither its region nor its addresses change."""
        with self._looking:
            if self._known is None:
                doing = f"reading the workspace {self._place.workspace}"
                self._known = self._arm.ask("GET", self._place.path, doing).body
            return self._known

    def _region(self) -> str:
        return str(self._workspace()["location"])

    # What there is to start from ---------------------------------------------------------------

    def foundation_model(self, registry_name: str, name: str, version: str) -> FoundationModel:
        """The model version; `latest` is resolved.

        Raises:
            Missing: There is none.
        """
        return self._models.get(registry_name, name, version)

    def model_versions(self, registry_name: str, name: str) -> Sequence[FoundationModel]:
        """Every version of a model, newest first, archived ones too; none when there is no such model.

        Raises:
            Missing: There is no such registry.
        """
        return self._models.versions(registry_name, name)

    def component(self) -> Component:
        """The newest version of the fine-tuning pipeline component, or the one it is pinned to."""
        return registry.component(self._component)

    def vm_size(self, name: str) -> VmSize | None:
        """The VM size of this name, in any case; `None` when the region does not have it."""
        return self._targets.size(name)

    def quota(self, size: VmSize, priority: Priority) -> Sequence[Allowance]:
        """The quotas that nodes of this size count against.

        Raises:
            Denied: We may not read them.
        """
        return self._targets.quota(size, priority)

    def cluster(self, name: str) -> Cluster | None:
        """The compute cluster, if there is one.

        Raises:
            Refused: There is compute of this name and it is no cluster.
        """
        return self._targets.get(name)

    def create_cluster(self, request: ClusterRequest) -> None:
        """Begin to make a compute cluster.

        Raises:
            Refused: Azure will not make it.
        """
        self._targets.create(request)

    def delete_cluster(self, name: str) -> None:
        """Begin to delete the compute cluster; nothing happens if it is not there."""
        self._targets.delete(name)

    # Jobs and models ---------------------------------------------------------------------------

    def job(self, name: str) -> Job | None:
        """The job, if there is one."""
        return self._jobs.get(name)

    def submit(self, request: JobRequest) -> Job:
        """Submit the job. A job of this name that is there already is returned as it is."""
        return self._jobs.submit(request)

    def submit_data_job(self, request: DataJobRequest) -> Job:
        """Submit a job that prepares data; likewise."""
        if self._data_jobs is None:
            raise Refused("no compute is named for jobs that prepare data")
        return self._data_jobs.submit(request)

    def cancel_job(self, name: str) -> None:
        """Begin to cancel the job; nothing happens if it has ended."""
        self._jobs.cancel(name)

    def measured(self, job: str) -> Measured:
        """What the job logged: last values, curves, tokens.

        Raises:
            Missing: Nothing is known of such a job.
        """
        properties = self._workspace().get("properties") or {}
        found = metrics.measured(str(properties["mlFlowTrackingUri"]), job)
        if found.tokens:
            return found
        # The component writes them as properties of the root run, which need not show as tags of MLflow's.
        return replace(found, tokens=metrics.tokens_in(self._jobs.properties(job)))

    def has_model(self, name: str, version: str) -> bool:
        """Whether the model version is registered."""
        client = workspace_client(self._place)
        try:
            with failing(f"looking for the model {name}:{version}"):
                client.models.get(name, version=version)
        except Missing:
            return False
        return True

    def register(self, request: ModelRequest) -> None:
        """Register the model version; one that is there already is left as it is."""
        client = workspace_client(self._place)
        try:
            with failing(f"registering the model {request.name}:{request.version}"):
                client.models.create_or_update(_model(request))
        except (Busy, Refused):
            if not self.has_model(request.name, request.version):
                raise

    # Endpoints and deployments -----------------------------------------------------------------

    def endpoint(self, name: str) -> Endpoint | None:
        """The endpoint, if there is one."""
        return self._online.endpoint(name)

    def standing(self) -> Iterator[Standing]:
        """Every online endpoint of the workspace, ours or not, for finding orphans."""
        return self._online.standing()

    def create_endpoint(self, name: str, run: str) -> None:
        """Begin to make an endpoint with key authentication."""
        self._online.create_endpoint(name, run)

    def delete_endpoint(self, name: str) -> None:
        """Begin to delete the endpoint with all its deployments."""
        self._online.delete_endpoint(name)

    def deployment(self, endpoint: str, name: str) -> Deployment | None:
        """The deployment, if there is one."""
        return self._online.deployment(endpoint, name)

    def deployments(self, endpoint: str) -> Sequence[Deployment]:
        """The endpoint's deployments; none when there is no such endpoint."""
        return self._online.deployments(endpoint)

    def create_deployment(self, request: DeploymentRequest) -> None:
        """Begin to make a deployment; it gets no traffic."""
        self._online.create_deployment(request)

    def delete_deployment(self, endpoint: str, name: str) -> None:
        """Begin to delete the deployment."""
        self._online.delete_deployment(endpoint, name)

    def logs(self, endpoint: str, deployment: str) -> str:
        """The tail of the deployment's log; empty when there is none."""
        return self._online.logs(endpoint, deployment)

    def set_traffic(self, endpoint: str, traffic: Mapping[str, int]) -> None:
        """Begin to set the traffic shares, in percent by deployment."""
        self._online.set_traffic(endpoint, traffic)

    def ask(self, endpoint: str, deployment: str, messages: Sequence[Message]) -> str:
        """Put a conversation to one deployment, whatever traffic it has, and return its answer.

        Raises:
            Refused: It answered with an error, or with nothing.
        """
        return self._online.ask(endpoint, deployment, messages)

    def key(self, endpoint: str) -> str:
        """The endpoint's primary key, for the proxy.

        Raises:
            Missing: There is no such endpoint.
        """
        return self._online.key(endpoint)

    def seen(self, endpoint: str, since: datetime) -> Mapping[str, Seen]:
        """How each deployment of the endpoint answered since `since`, as Azure Monitor counts."""
        return self._requests.seen(endpoint, since)

    def last_requests(
        self, endpoints: Sequence[str], since: datetime
    ) -> Mapping[str, datetime | None]:
        """When each endpoint was last asked, as Azure Monitor counts; `None`: not since `since`.

        An endpoint that could not be measured is missing from the answer.
        """
        return self._requests.last(endpoints, since)


def _model(request: ModelRequest) -> Any:
    from azure.ai.ml.constants import AssetTypes
    from azure.ai.ml.entities import Model

    return Model(
        name=request.name,
        version=request.version,
        path=f"azureml://jobs/{request.job}/outputs/{OUTPUT}",
        type=AssetTypes.MLFLOW_MODEL,
        description=request.description,
        tags={**request.tags, TAG: request.run},
        properties=dict(request.lineage),
    )


def workspace_from(
    settings: Settings, component: ComponentReference | None = None
) -> AzureWorkspace:
    """The workspace that the app settings name.

    The cloud is the one that `ARM_CLOUD_METADATA_URL` points to, as for azure-ai-ml itself.
    """
    return AzureWorkspace(
        Place(settings.subscription, settings.resource_group, settings.workspace),
        component,
        data=compute_from(settings),
        metrics_endpoint=settings.metrics_endpoint,
        metadata_url=os.environ.get("ARM_CLOUD_METADATA_URL", ""),
    )
