"""Azure ML as the core uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from shared.runs.machines import Allowance, Cluster, ClusterRequest, Priority, VmSize
    from shared.runs.measures import Measured, Seen
    from shared.runs.parameters import Component
    from shared.runs.ports.azure_ml import (
        DataJobRequest,
        Deployment,
        DeploymentRequest,
        Endpoint,
        FoundationModel,
        Job,
        JobRequest,
        ModelRequest,
        Standing,
    )
    from shared.runs.ports.preparation import Message


class Workspace(Protocol):
    """Azure ML. Whatever begins a long operation returns as soon as it has begun."""

    @property
    def place(self) -> str:
        """Subscription, resource group and workspace in one line; part of endpoint names."""

    def foundation_model(self, registry: str, name: str, version: str) -> FoundationModel:
        """The model version; `latest` is resolved.

        Raises:
            Missing: There is none.
        """

    def model_versions(self, registry: str, name: str) -> Sequence[FoundationModel]:
        """Every version of a model, newest first, archived ones too; none when there is no such model."""

    def component(self) -> Component:
        """The newest version of the fine-tuning pipeline component."""

    def vm_size(self, name: str) -> VmSize | None:
        """The VM size of this name, in any case; `None` when the region does not have it."""

    def quota(self, size: VmSize, priority: Priority) -> Sequence[Allowance]:
        """The quotas that nodes of this size count against.

        Raises:
            Denied: We may not read them.
        """

    def cluster(self, name: str) -> Cluster | None:
        """The compute cluster, if there is one.

        Raises:
            Refused: There is compute of this name and it is no cluster.
        """

    def create_cluster(self, request: ClusterRequest) -> None:
        """Begin to make a compute cluster.

        Raises:
            Refused: Azure will not make it.
        """

    def delete_cluster(self, name: str) -> None:
        """Begin to delete the compute cluster; nothing happens if it is not there."""

    def job(self, name: str) -> Job | None:
        """The job, if there is one."""

    def submit(self, request: JobRequest) -> Job:
        """Submit the job. A job of this name that is there already is returned as it is."""

    def submit_data_job(self, request: DataJobRequest) -> Job:
        """Submit a job that prepares data; likewise. `job` and `cancel_job` know it by its name."""

    def cancel_job(self, name: str) -> None:
        """Begin to cancel the job; nothing happens if it has ended."""

    def measured(self, job: str) -> Measured:
        """What the job logged: last values, curves, tokens.

        Raises:
            Missing: Nothing is known of such a job.
        """

    def has_model(self, name: str, version: str) -> bool:
        """Whether the model version is registered."""

    def register(self, request: ModelRequest) -> None:
        """Register the model version."""

    def endpoint(self, name: str) -> Endpoint | None:
        """The endpoint, if there is one."""

    def standing(self) -> Iterator[Standing]:
        """Every online endpoint of the workspace, ours or not."""

    def create_endpoint(self, name: str, run: str) -> None:
        """Begin to make an endpoint with key authentication."""

    def delete_endpoint(self, name: str) -> None:
        """Begin to delete the endpoint with all its deployments."""

    def deployment(self, endpoint: str, name: str) -> Deployment | None:
        """The deployment, if there is one."""

    def deployments(self, endpoint: str) -> Sequence[Deployment]:
        """The endpoint's deployments; none when there is no such endpoint."""

    def create_deployment(self, request: DeploymentRequest) -> None:
        """Begin to make a deployment; it gets no traffic.

        Raises:
            Refused: Azure will not make it; its words say why.
        """

    def delete_deployment(self, endpoint: str, name: str) -> None:
        """Begin to delete the deployment."""

    def logs(self, endpoint: str, deployment: str) -> str:
        """The tail of the deployment's log; empty when there is none."""

    def set_traffic(self, endpoint: str, traffic: Mapping[str, int]) -> None:
        """Begin to set the traffic shares, in percent by deployment."""

    def ask(self, endpoint: str, deployment: str, messages: Sequence[Message]) -> str:
        """Put a conversation to one deployment, whatever traffic it has, and return its answer.

        Raises:
            Refused: It answered with an error, or with nothing.
        """

    def seen(self, endpoint: str, since: datetime) -> Mapping[str, Seen]:
        """How each deployment of the endpoint answered since `since`, as Azure Monitor counts.

        A deployment that nobody asked is missing from the answer.
        """

    def last_requests(
        self, endpoints: Sequence[str], since: datetime
    ) -> Mapping[str, datetime | None]:
        """When each endpoint was last asked, as Azure Monitor counts; `None`: not since `since`.

        An endpoint that could not be measured is missing from the answer.
        """
