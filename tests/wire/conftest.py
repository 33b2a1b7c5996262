"""One control plane for the session, and the unmodified SDK pointed at it by environment alone."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local.azureml.plane import REPOSITORY, Settings
from local.azureml.server import ControlPlane
from local.ports import free_port
from local.processes import answers, end, spawn, wait_until_ready
from shared.cloud import sdk, storage
from shared.cloud.arm import Place
from shared.cloud.storage import StorageConnection
from shared.cloud.workspace import AzureWorkspace
from tests.sdk_warnings import SDK_WARNINGS
from tests.wire.azure_shapes import watching
from tests.wire.journeys import Journey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from azure.ai.ml import MLClient
    from whole_runs import Droptune

    from local.azurite import Azurite
    from local.certificates import Certificates
    from shared.cloud.data_jobs import DataCompute
    from shared.cloud.workspace import AzureWorkspace

TRAINING_PROCESS = (sys.executable, str(Path(__file__).with_name("training_process.py")))

SCORING_PROCESS = (sys.executable, str(Path(__file__).with_name("scoring_process.py")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            for each in SDK_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(each))


@pytest.fixture(autouse=True)
def azures_types() -> Iterator[None]:
    """Whatever a test asks the control plane for, each answer agrees with Azure's types."""
    with watching() as watch:
        yield
    assert not watch.found, "\n".join(sorted(set(watch.found)))


@contextlib.contextmanager
def pointed_at(plane: ControlPlane) -> Iterator[None]:
    """The environment that points any Azure SDK at `plane`, restored afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in plane.environment.items():
            patch.setenv(name, value)
        # azure-ai-ml notes the cloud that it found here; keep that note inside.
        patch.setenv("AZUREML_CURRENT_CLOUD", "DroptuneLocal")
        # Its telemetry would leave this machine.
        patch.setenv("AZUREML_DISABLE_TELEMETRY", "true")
        # The least wait between two polls of `jobs.stream`.
        patch.setenv("AZUREML_RUN_POLLING_INTERVAL_MIN", "1")
        # azureml-mlflow reads the clouds once, at its import, which another test may have caused.
        if clouds := sys.modules.get("azureml.mlflow._common._cloud.cloud"):
            patch.setattr(clouds, "KNOWN_CLOUDS", clouds.get_known_clouds())
        yield


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server."""
    mlflow = REPOSITORY / ".venv-train" / "bin" / "mlflow"
    if not mlflow.exists():
        pytest.fail("The training environment is missing: run `make install`.")
    folder = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    child = spawn(
        [
            str(mlflow),
            "server",
            "--backend-store-uri",
            f"sqlite:///{folder}/mlflow.db",
            "--artifacts-destination",
            str(folder / "artifacts"),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
        ],
        log=folder / "log.txt",
        # Its job runner, which nothing here uses, would be eight processes more.
        environment={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )
    try:
        wait_until_ready(
            child,
            lambda: answers(f"http://127.0.0.1:{port}/health") == 200,
            name="MLflow",
            log=folder / "log.txt",
            timeout=240,
        )
        yield f"http://127.0.0.1:{port}"
    finally:
        end([child])


@pytest.fixture(scope="session")
def plane_settings(
    certificates: Certificates, azurite: Azurite, tracking_uri: str
) -> Callable[..., Settings]:
    """Settings of a control plane with real storage and tracking: `plane_settings(folder, ...)`."""

    def made(state: Path, **changed: object) -> Settings:
        usual = {
            "certificates": certificates,
            "storage": azurite.connection_string,
            "tracking_uri": tracking_uri,
            "train_command": TRAINING_PROCESS,
            "score_command": SCORING_PROCESS,
            "pace": "instant",
            "datastores": {"droptune_datasets": "datasets"},
            "training_slots": 2,
        }
        return Settings(state=state, **{**usual, **changed})

    return made


@pytest.fixture(scope="session")
def control_plane(
    tmp_path_factory: pytest.TempPathFactory, plane_settings: Callable[..., Settings]
) -> Iterator[ControlPlane]:
    """The session's control plane at pace instant, with the environment pointed at it."""
    settings = plane_settings(tmp_path_factory.mktemp("plane"))
    with ControlPlane(settings) as plane, pointed_at(plane):
        yield plane


def make_client(registry: str | None = None) -> MLClient:
    """An unmodified client from the environment; of the workspace, or of a registry."""
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    credential = DefaultAzureCredential()
    if registry:
        return MLClient(credential, registry_name=registry)
    return MLClient(
        credential,
        os.environ["AZURE_SUBSCRIPTION_ID"],
        os.environ["AZURE_RESOURCE_GROUP"],
        os.environ["AZUREML_WORKSPACE"],
    )


@pytest.fixture(scope="session")
def ml_client(control_plane: ControlPlane) -> MLClient:
    """A client of the workspace."""
    return make_client()


@pytest.fixture(scope="session")
def registry_client(control_plane: ControlPlane) -> MLClient:
    """A client of the registry."""
    return make_client("azureml")


@pytest.fixture(scope="session")
def ask(control_plane: ControlPlane) -> Callable[..., dict]:
    """Ask an ARM path by REST with a token of the managed identity: `ask(path, **query)`."""
    import requests
    from azure.identity import DefaultAzureCredential

    scope = f"{control_plane.url}/.default"
    token = DefaultAzureCredential().get_token(scope).token

    def asked(path: str, **query: str) -> dict:
        answered = requests.get(
            f"{control_plane.url}{path}",
            params={"api-version": "2024-10-01", **query},
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )
        answered.raise_for_status()
        return answered.json()

    return asked


@pytest.fixture
def connection(azurite: Azurite) -> StorageConnection:
    """Real storage with every container there and empty."""
    connection = StorageConnection(azurite.connection_string)
    storage.make_ready(connection)
    for name in storage.CONTAINERS:  # whoever used them before, other folders' tests included
        container = connection.container(name)
        for blob in container.list_blobs():
            container.get_blob_client(blob.name).delete_blob()
    connection.queue().clear_messages()
    return connection


@contextlib.contextmanager
def travelling(
    plane: ControlPlane, connection: StorageConnection, data: DataCompute | None = None
) -> Iterator[Journey]:
    """Runs whose Azure ML is `plane`, with `data` for jobs that prepare it; what its control was told is taken back."""
    for cached in (storage.credential, sdk._workspace_client, sdk._registry_client):
        cached.cache_clear()
    names = plane.plane.settings
    workspace = AzureWorkspace(
        Place(names.subscription, names.group, names.workspace),
        data=data,
        metrics_endpoint=plane.url,
        metadata_url=plane.environment["ARM_CLOUD_METADATA_URL"],
    )
    journey = Journey(workspace, connection, plane.url)
    try:
        yield journey
    finally:
        journey.undo()
        workspace.close()


@pytest.fixture
def journey(control_plane: ControlPlane, connection: StorageConnection) -> Iterator[Journey]:
    """Runs whose Azure ML is the session's control plane."""
    with travelling(control_plane, connection) as journey:
        yield journey


@pytest.fixture(scope="module")
def own_plane(
    tmp_path_factory: pytest.TempPathFactory, plane_settings: Callable[..., Settings]
) -> Iterator[ControlPlane]:
    """A control plane of the module's own, whose clock and quota it may change."""
    with ControlPlane(plane_settings(tmp_path_factory.mktemp("own-plane"))) as plane:
        yield plane


@pytest.fixture
def droptune(own_plane: ControlPlane, connection: StorageConnection) -> Iterator[Droptune]:
    """Whole runs on the module's own control plane; what was injected is taken back.

    The environment is pointed at it for as long: a test before or after may use the session's.
    """
    from whole_runs import FAMILY, droptune

    with pointed_at(own_plane), droptune(own_plane, connection) as running:
        try:
            yield running
        finally:
            for path in ("deployment-failures", "scoring-failures", "faults"):
                running.control("DELETE", path)
            running.control("PUT", "quota", {"out_of_capacity": [], "limits": {FAMILY: 192}})
            for endpoint in list(running.workspace.standing()):
                if not endpoint.deleting:
                    running.until(
                        lambda name=endpoint.name: _gone(running.workspace, name),
                        lambda gone: gone,
                    )


def _gone(workspace: AzureWorkspace, endpoint: str) -> bool:
    """Whether the endpoint is gone; begins its deletion."""
    from shared.errors import Busy

    with contextlib.suppress(Busy):
        workspace.delete_endpoint(endpoint)
    return workspace.endpoint(endpoint) is None
