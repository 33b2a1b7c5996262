"""Workspace, computes, datastores and models, asked by the unmodified SDK."""

from __future__ import annotations

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError


def cluster(name: str, **changed):
    from azure.ai.ml.entities import AmlCompute

    usual = {"size": "Standard_NC24ads_A100_v4", "max_instances": 2}
    return AmlCompute(name=name, **{**usual, **changed})


def test_the_workspace_tells_where_tracking_is(ml_client, control_plane):
    """The workspace names an `azureml://` tracking address on this server."""
    workspace = ml_client.workspaces.get("droptune-local")
    assert workspace.location == "eastus"
    port = control_plane.plane.port
    assert workspace.mlflow_tracking_uri.startswith(f"azureml://localhost:{port}/mlflow/v")


def test_another_workspace_is_not_found(ml_client):
    """Only the one workspace exists; another is ARM's ResourceNotFound."""
    with pytest.raises(ResourceNotFoundError, match="ARMResourceNotFoundFix"):
        ml_client.workspaces.get("another")


def test_a_missing_cluster_is_404_without_a_body(ml_client, control_plane):
    """A cluster that does not exist is 404 with an empty body, as on Azure."""
    with pytest.raises(ResourceNotFoundError):
        ml_client.compute.get("nobody")


def test_a_cluster_is_made_found_listed_and_deleted(ml_client):
    """A cluster lives through the SDK's long-running operations."""
    made = ml_client.compute.begin_create_or_update(cluster("gpu-one")).result()
    assert (made.name, made.provisioning_state) == ("gpu-one", "Succeeded")
    assert ml_client.compute.get("gpu-one").size == "Standard_NC24ads_A100_v4"
    assert "gpu-one" in {each.name for each in ml_client.compute.list()}
    ml_client.compute.begin_delete("gpu-one").result()
    with pytest.raises(ResourceNotFoundError):
        ml_client.compute.get("gpu-one")


def test_lists_are_paged(ml_client, control_plane, monkeypatch):
    """A list longer than a page carries on through `nextLink`, without loss or repeat."""
    from local.azureml import wire

    names = {f"page-{number}" for number in range(5)}
    for name in names:
        ml_client.compute.begin_create_or_update(cluster(name)).result()
    monkeypatch.setattr(wire.page_size, "__defaults__", (2,))
    listed = [each.name for each in ml_client.compute.list()]
    assert names <= set(listed)
    assert len(listed) == len(set(listed))
    counts = requests.get(f"{control_plane.url}/_emulator/counts", timeout=10).json()["requests"]
    assert sum(n for route, n in counts.items() if route.endswith("/computes")) >= 3
    for name in names:
        ml_client.compute.begin_delete(name).result()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": "Standard_NC999"}, "Standard_NC999"),
        ({"min_instances": 3, "max_instances": 2}, "minNodeCount"),
        ({"max_instances": 0}, "maxNodeCount"),
    ],
)
def test_a_bad_cluster_is_refused(ml_client, changed, message):
    """A size or a node count that cannot be is 400 and says which."""
    with pytest.raises(HttpResponseError, match=message) as refused:
        ml_client.compute.begin_create_or_update(cluster("bad-one", **changed)).result()
    assert refused.value.status_code == 400


def test_datastores_tell_how_to_reach_the_storage(ml_client):
    """The default datastore gives a working signature; the declared one has no credentials."""
    default = ml_client.datastores.get_default()
    assert default.name == "workspaceblobstore"
    names = {each.name for each in ml_client.datastores.list()}
    assert {"workspaceblobstore", "workspaceartifactstore", "droptune_datasets"} <= names
    declared = ml_client.datastores.get("droptune_datasets", include_secrets=True)
    assert declared.container_name == "datasets"
    assert type(declared.credentials).__name__ == "NoneCredentialConfiguration"


def test_a_datastore_can_be_added(ml_client):
    """A datastore that the SDK makes is there afterwards."""
    from azure.ai.ml.entities import AzureBlobDatastore

    made = AzureBlobDatastore(name="mine", account_name="somebody", container_name="stuff")
    ml_client.datastores.create_or_update(made)
    assert ml_client.datastores.get("mine").container_name == "stuff"
    ml_client.datastores.delete("mine")
    with pytest.raises(ResourceNotFoundError):
        ml_client.datastores.get("mine")


def test_a_local_model_is_uploaded_and_registered(ml_client, tmp_path):
    """Registering a local folder uploads it with the datastore's own signature; versions count."""
    from azure.ai.ml.entities import Model

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    first = ml_client.models.create_or_update(
        Model(name="local-one", path=str(folder), type="mlflow_model", tags={"a": "1"})
    )
    assert first.version == "1"
    (folder / "MLmodel").write_text("flavors: {python_function: {}}\n")
    second = ml_client.models.create_or_update(
        Model(name="local-one", path=str(folder), type="mlflow_model")
    )
    assert second.version == "2"
    assert ml_client.models.get("local-one", label="latest").version == "2"
    assert ml_client.models.get("local-one", "1").tags == {"a": "1"}
    ml_client.models.download("local-one", "1", download_path=tmp_path / "back")
    assert list((tmp_path / "back").rglob("MLmodel"))


def test_archived_versions_leave_the_list(ml_client):
    """Archive and restore of a version and of a whole model decide what lists show."""
    from azure.ai.ml.entities import Model

    path = "azureml://datastores/workspaceblobstore/paths/somewhere/"
    for version in ("1", "2"):
        ml_client.models.create_or_update(
            Model(name="archived-one", version=version, path=path, type="custom_model")
        )
    ml_client.models.archive("archived-one", "2")
    assert ml_client.models.get("archived-one", label="latest").version == "1"
    ml_client.models.restore("archived-one", "2")
    assert [each.version for each in ml_client.models.list("archived-one")] == ["2", "1"]
    ml_client.models.archive("archived-one")
    assert "archived-one" not in {each.name for each in ml_client.models.list()}
    ml_client.models.restore("archived-one")
    assert "archived-one" in {each.name for each in ml_client.models.list()}


def test_a_versions_path_cannot_change(ml_client):
    """Another path under the same version is Azure's `Asset paths cannot be updated.`."""
    from azure.ai.ml.entities import Model

    path = "azureml://datastores/workspaceblobstore/paths/a/"
    model = Model(name="fixed-one", version="1", path=path, type="custom_model")
    ml_client.models.create_or_update(model)
    ml_client.models.create_or_update(model)  # the same again is no change
    model.path = "azureml://datastores/workspaceblobstore/paths/b/"
    with pytest.raises(Exception, match=r"already linked|cannot be updated"):
        ml_client.models.create_or_update(model)


def test_an_unknown_model_of_the_workspace_is_not_found(ml_client):
    """A missing model container is Azure's nested ModelNotFound."""
    with pytest.raises(ResourceNotFoundError, match="The specified resource was not found"):
        ml_client.models.get("nobody", label="latest")
