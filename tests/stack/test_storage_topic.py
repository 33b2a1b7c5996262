"""The storage account's system topic, over a real Azurite."""

from __future__ import annotations

import uuid

import pytest
from azure.storage.blob import ContainerClient, ContentSettings

from .conftest import running


@pytest.fixture
def container(azurite):
    with ContainerClient.from_connection_string(
        azurite.connection_string, f"watched-{uuid.uuid4().hex[:8]}"
    ) as client:
        client.create_container()
        yield client


def configuration(hook, container, **wants):
    one = {"name": "s", "endpointUrl": hook.url, "filter": wants}
    return {
        "topics": [
            {
                "name": "t", "key": "k", "source": "/accounts/devstoreaccount1",
                "storageContainers": [container.container_name], "subscriptions": [one],
            }
        ]
    }  # fmt: skip


async def test_an_upload_becomes_blob_created_as_azure_writes_it(
    tmp_path, hook, azurite, container
):
    """Subject, type and data name the blob, its size, kind and ETag."""
    body = configuration(hook, container)
    with container.upload_blob(
        "a/b.json", b"{}", content_settings=ContentSettings(content_type="application/json")
    ) as blob:
        etag = blob.get_blob_properties().etag.strip('"')
        url = blob.url
    async with running(tmp_path, body, connection_string=azurite.connection_string):
        await hook.until(lambda: bool(hook.received))
    [event] = hook.received
    name = container.container_name
    assert event["subject"] == f"/blobServices/default/containers/{name}/blobs/a/b.json"
    assert event["eventType"] == "Microsoft.Storage.BlobCreated"
    assert event["topic"] == "/accounts/devstoreaccount1"
    data = event["data"]
    assert (data["contentLength"], data["contentType"]) == (2, "application/json")
    assert (data["eTag"], data["blobType"], data["api"]) == (etag, "BlockBlob", "PutBlob")
    assert data["url"].rpartition("/")[2] == url.rpartition("/")[2].replace("a%2F", "")


async def test_each_change_makes_an_event_and_a_restart_makes_none(
    tmp_path, hook, azurite, container
):
    """ETags are remembered over restarts: what was told is not told again."""
    body = configuration(hook, container)
    options = {"connection_string": azurite.connection_string}
    async with running(tmp_path, body, **options) as grid:
        container.upload_blob("x", b"1").close()
        await hook.until(lambda: len(hook.received) == 1)
        container.upload_blob("x", b"22", overwrite=True).close()
        # Not only received: what is cut off before its answer is heard is delivered again.
        await grid.until(lambda one: one["counts"].get("delivered") == 2)
    async with running(tmp_path, body, **options):
        container.upload_blob("y", b"1").close()
        await hook.until(lambda: len(hook.received) == 3)
        container.delete_blob("x")
        await hook.until(lambda: len(hook.received) == 4)
    told = [(e["eventType"].rpartition(".")[2], e["subject"][-1]) for e in hook.received]
    assert told == [
        ("BlobCreated", "x"), ("BlobCreated", "x"), ("BlobCreated", "y"), ("BlobDeleted", "x"),
    ]  # fmt: skip


async def test_the_manifest_filter_keeps_other_blobs_out(tmp_path, hook, azurite, container):
    """Suffix and size decide, over more blobs than one page holds."""
    body = configuration(
        hook,
        container,
        includedEventTypes=["Microsoft.Storage.BlobCreated"],
        advancedFilters=[
            {"operatorType": "StringEndsWith", "key": "subject", "values": [".json", ".yml"]},
            {"operatorType": "NumberLessThanOrEquals", "key": "data.contentLength", "value": 8},
        ],
    )
    for name, content in (
        ("a.json", b"{}"),
        ("b.txt", b"{}"),
        ("c.json", b"x" * 9),
        ("d.yml", b""),
    ):
        container.upload_blob(name, content).close()
    async with running(tmp_path, body, connection_string=azurite.connection_string) as grid:
        await grid.until(lambda one: one["counts"].get("delivered") == 2)
    assert sorted(event["subject"].rpartition("/")[2] for event in hook.received) == [
        "a.json", "d.yml",
    ]  # fmt: skip


async def test_a_missing_container_is_waited_for(tmp_path, hook, azurite, capfd):
    """A container that is made later is watched from then on; the trouble is told once."""
    with ContainerClient.from_connection_string(
        azurite.connection_string, f"late-{uuid.uuid4().hex[:8]}"
    ) as late:
        body = configuration(hook, late)
        async with running(tmp_path, body, connection_string=azurite.connection_string):
            await hook.until(lambda: hook.handshakes == 1)
            late.create_container()
            late.upload_blob("x", b"1").close()
            await hook.until(lambda: bool(hook.received))
    assert capfd.readouterr().out.count("cannot be listed") <= 1
