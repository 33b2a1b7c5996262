"""Blob triggers with Event Grid as their source, against real storage."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from tests.host.process import eventually
from tests.host.test_queues import _peek

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.storage.blob import BlobClient

    from tests.host.conftest import Account
    from tests.host.process import HostProcess, Reply


def upload(account: Account, name: str, content: str, **metadata: str) -> BlobClient:
    container = account.blobs.get_container_client(account.inbox)
    if not container.exists():
        container.create_container()
    blob = container.get_blob_client(name)
    blob.upload_blob(content, overwrite=True, metadata=metadata)
    return blob


def tell(host: HostProcess, account: Account, name: str, **changes: Any) -> Reply:
    """Post what Event Grid would."""
    code = host.keys["system"]["blobs_extension"]
    event = {
        "id": "e",
        "topic": "t",
        "subject": f"/blobServices/default/containers/{account.inbox}/blobs/{name}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-01-02T03:04:05Z",
        "data": {"api": "PutBlob", "url": "https://elsewhere"},
        "dataVersion": "",
        **changes,
    }
    return host.ask(
        "POST",
        f"/runtime/webhooks/blobs?functionName=Host.Functions.file_arrived&code={code}",
        json.dumps([event]).encode(),
        {"aeg-event-type": "Notification"},
    )


def test_a_new_blob_runs_the_function_with_its_content_and_metadata(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    host = start()
    blob = upload(account, "a/b c.json", "content", by="ann")
    assert tell(host, account, "a/b c.json").status == 202
    (seen,) = host.sees("blob")
    assert seen["blob"] == f"{account.inbox}/a/b c.json"
    assert seen["content"] == "content"
    assert seen["length"] == 7
    assert seen["uri"] == blob.url
    assert seen["metadata"] == {"by": "ann"}
    assert seen["etag"] == blob.get_blob_properties().etag


def test_the_same_version_told_twice_runs_once_and_a_new_one_again(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    host = start()
    upload(account, "x.json", "one")
    assert [tell(host, account, "x.json").status for _ in range(3)] == [202] * 3
    host.sees("blob")
    upload(account, "x.json", "one")
    assert tell(host, account, "x.json").status == 202
    host.sees("blob", 2)
    upload(account, "y.json", "last")
    tell(host, account, "y.json")
    seen = host.sees("blob", 3)
    assert [entry["content"] for entry in seen] == ["one", "one", "last"]


def test_events_of_no_concern_are_taken_and_dropped(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    host = start()
    upload(account, "x.txt", "other ending")
    assert tell(host, account, "x.txt").status == 202
    assert tell(host, account, "gone.json").status == 202
    upload(account, "x.json", "deleted")
    assert tell(host, account, "x.json", eventType="Microsoft.Storage.BlobDeleted").status == 202
    upload(account, "y.json", "meant")
    tell(host, account, "y.json")
    assert [entry["content"] for entry in host.sees("blob")] == ["meant"]


def test_a_blob_that_keeps_failing_is_poison_after_five_tries(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    host = start()
    etag = upload(account, "x.json", "fail").get_blob_properties().etag
    tell(host, account, "x.json")
    host.sees("blob", 5)
    poison = account.queues.get_queue_client("webjobs-blobtrigger-poison")

    def mine() -> dict[str, Any]:
        bodies = (json.loads(base64.b64decode(m.content)) for m in _peek(poison))
        return next((b for b in bodies if b["ContainerName"] == account.inbox), {})

    assert eventually(mine, "the poison message") == {
        "Type": "BlobTrigger",
        "FunctionId": "Host.Functions.file_arrived",
        "BlobType": "BlockBlob",
        "ContainerName": account.inbox,
        "BlobName": "x.json",
        "ETag": etag,
    }
    assert len(host.seen("blob")) == 5
    assert "x.json, try 5 of 5): RuntimeError" in host.says("try 5 of 5")


def message(account: Account, blob: str, etag: str) -> None:
    """Put into the host's own queue what it would."""
    queue = account.queues.get_queue_client(f"azure-webjobs-blobtrigger-host-{account.mark}")
    queue.create_queue()
    body = {
        "Type": "BlobTrigger",
        "FunctionId": "Host.Functions.file_arrived",
        "BlobType": "BlockBlob",
        "ContainerName": account.inbox,
        "BlobName": blob,
        "ETag": etag,
    }
    queue.send_message(base64.b64encode(json.dumps(body).encode()).decode())


def test_a_blob_overwritten_before_its_turn_runs_with_the_new_content(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    upload(account, "x.json", "new")
    message(account, "x.json", '"0x8D000000000000"')
    host = start()
    assert [entry["content"] for entry in host.sees("blob")] == ["new"]


def test_a_blob_gone_before_its_turn_is_dropped(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    upload(account, "y.json", "there")
    message(account, "x.json", '"0x8D000000000000"')
    host = start()
    assert "x.json is gone: dropped" in host.says("dropped")
    assert host.seen("blob") == []


def test_the_webhook_asks_for_its_key_and_a_known_function(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    host = start()
    path = "/runtime/webhooks/blobs?functionName=Host.Functions."
    code = host.keys["system"]["blobs_extension"]
    kind = {"aeg-event-type": "SubscriptionValidation"}
    body = json.dumps([{"data": {"validationCode": "abc"}}]).encode()
    assert host.ask("POST", f"{path}file_arrived", body, kind).status == 401
    assert host.ask("POST", f"{path}hello&code={code}", body, kind).status == 404
    reply = host.ask("POST", f"{path}file_arrived&code={code}", body, kind)
    assert reply.json() == {"validationResponse": "abc"}


def test_a_blob_is_run_by_hand(account: Account, start: Callable[..., HostProcess]) -> None:
    host = start()
    upload(account, "x.json", "by hand")
    assert host.start("file_arrived", f"{account.inbox}/x.json").status == 202
    assert host.sees("blob")[0]["content"] == "by hand"
    assert host.start("file_arrived", f"{account.inbox}/gone.json").status == 202
    assert "there is no blob" in host.says("gone.json")
    assert host.start("file_arrived", "no-path").status == 400
    assert host.start("take_order", "by hand too").status == 202
    assert host.sees("order")[0]["order"] == "by hand too"
