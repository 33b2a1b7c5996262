"""Azurite, as every other part uses it."""

from __future__ import annotations

import subprocess

import pytest
from azure.core.exceptions import ResourceExistsError, ServiceRequestError
from azure.storage.blob import BlobServiceClient, ContainerClient
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from local.azurite.installation import HERE
from local.azurite.server import DURABLE
from local.ports import free_port, free_ports
from local.processes import StartFailed


def two_ports() -> tuple[int, ...]:
    """Two that differ, and stay free from one start to the next."""
    return tuple(free_ports(["blob", "queue"]).values())


def test_unmodified_blob_client_reads_what_it_wrote(azurite):
    """Blobs go through the unmodified client over HTTPS, with conditions on ETags."""
    with ContainerClient.from_connection_string(azurite.connection_string, "plain") as container:
        container.create_container()
        with container.upload_blob("a/b.json", b"{}", overwrite=True) as blob:
            assert blob.download_blob().readall() == b"{}"
            with pytest.raises(ResourceExistsError):
                blob.upload_blob(b"other", overwrite=False)


def test_unmodified_queue_client_receives_what_it_sent(azurite):
    """Messages go through the unmodified client over HTTPS."""
    with QueueClient.from_connection_string(azurite.connection_string, "plain") as queue:
        queue.create_queue()
        queue.send_message("look", visibility_timeout=0)
        assert [message.content for message in queue.receive_messages()] == ["look"]


def test_what_was_stored_is_there_after_a_restart(tmp_path, azurite):
    """A second start on the same folder finds the blobs of the first."""
    own = Azurite(tmp_path, azurite.certificates, *two_ports())
    for overwrite in (True, False):
        with own, BlobServiceClient.from_connection_string(own.connection_string) as service:
            container = service.get_container_client("kept")
            if overwrite:
                container.create_container()
                container.upload_blob("x", b"1").close()
            assert container.download_blob("x").readall() == b"1"


def test_it_is_gone_after_stop(tmp_path, azurite):
    """Nothing answers once it has stopped."""
    own = Azurite(tmp_path, azurite.certificates, *two_ports())
    with own:
        assert own.is_ready()
    assert not own.is_ready()
    with (
        BlobServiceClient.from_connection_string(
            own.connection_string, retry_total=0, connection_timeout=1
        ) as service,
        pytest.raises(ServiceRequestError),
    ):
        service.get_service_properties()


def test_a_failed_start_says_why(tmp_path, azurite):
    """A port that is taken ends in one error that shows Azurite's own words."""
    with pytest.raises(StartFailed, match="EADDRINUSE"):
        Azurite(tmp_path, azurite.certificates, azurite.blob_port, free_port()).start()


def test_what_was_acknowledged_survives_a_kill(tmp_path, azurite):
    """Every blob and message whose write was answered is there after SIGKILL."""
    own = Azurite(tmp_path, azurite.certificates, *two_ports())
    own.start()
    with (
        ContainerClient.from_connection_string(own.connection_string, "kept") as container,
        QueueClient.from_connection_string(own.connection_string, "kept") as queue,
    ):
        container.create_container()
        queue.create_queue()
        for number in range(10):
            container.upload_blob(f"{number}", f"{number}".encode()).close()
            queue.send_message(f"{number}")
        container.upload_blob("0", b"changed", overwrite=True).close()
        own.kill()
        with own:
            assert container.download_blob("0").readall() == b"changed"
            assert container.download_blob("9").readall() == b"9"
            assert queue.get_queue_properties().approximate_message_count == 10


WHILE_LOADING = """
const http = require("node:http");
const Loki = require("lokijs");
const adapter = { saves: 0, loadDatabase(_, loaded) { this.loaded = loaded; } };
adapter.saveDatabase = (_name, _text, saved) => { adapter.saves += 1; saved(); };
const database = new Loki("kept", { adapter, autosave: true });
const server = http.createServer((_, answer) => answer.end("ok"));
const ask = (then) =>
  http.get({ port: server.address().port, host: "127.0.0.1", agent: false }, (answer) => {
    answer.resume();
    answer.on("end", then);
  });
server.listen(0, "127.0.0.1", () => {
  database.loadDatabase({}, () => {
    database.addCollection("blobs").insert({ name: "a" });
    ask(() => {
      console.log(`saved ${adapter.saves}`);
      server.close();
    });
  });
  ask(() => {
    console.log(`answered, saved ${adapter.saves}`);
    adapter.loaded(null);
  });
});
"""


def test_a_database_that_is_being_loaded_keeps_no_answer_back(azurite):
    """Azurite's services load one after the other; the first answers while the last still loads."""
    node, preload = azurite.command[0], ["--require", str(DURABLE)]
    done = subprocess.run(
        [node, *preload, "--eval", WHILE_LOADING],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split("\n")[:2] == ["answered, saved 0", "saved 1"], done.stderr
