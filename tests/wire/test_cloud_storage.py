"""The records in real storage: saves on condition, leases, marks, the queue's delay."""

from __future__ import annotations

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from azure.storage.queue import QueueClient

from shared import wiring
from shared.cloud import storage
from shared.cloud.endpoint_store import BlobEndpointStore, key_of
from shared.cloud.looks import QueueLooks, parse
from shared.cloud.manifests import BlobManifests
from shared.cloud.run_store import BlobRunStore
from shared.cloud.uses import BlobUses
from shared.errors import Busy, Missing, Refused, StaleRecord, Unavailable
from shared.runs.endpoints import EndpointRecord, Rest
from shared.runs.manifest import SIZE_LIMIT
from shared.runs.phases import Phase
from shared.runs.ports import Dropped, Look
from shared.runs.record import Facts, Run, moved, received

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def a_run(name="m-0123456789-g1", at=START) -> Run:
    return received(name, manifest="m.json", etag="0x1", generation=1, source=b"{}\xff", now=at)


def a_record(name="Chat", **changes) -> EndpointRecord:
    return EndpointRecord(
        name=name,
        azure_name="chat-1",
        manifest="m.json",
        claimed_by="m-1",
        since=START,
        idle_after=7200.0,
        **changes,
    )


class Losing:
    """Loses the answers to some requests after the work was done, as a network does."""

    def __init__(self, monkeypatch, method):
        from azure.core.exceptions import ServiceResponseError
        from azure.core.pipeline.transport import RequestsTransport

        send = RequestsTransport.send
        self.left = 1

        def losing(transport, request, **options):
            response = send(transport, request, **options)
            if request.method == method and self.left and "runs/runs/" in request.url:
                self.left -= 1
                raise ServiceResponseError("the answer was lost")
            return response

        monkeypatch.setattr(RequestsTransport, "send", losing)


def test_a_record_comes_back_as_it_was_saved(connection):
    """Everything in a record survives the storage, bytes and times included."""
    store = BlobRunStore(connection)
    run = msgspec.structs.replace(a_run(), facts=Facts(metrics={"eval_loss": 1.25}))
    etag = store.create(run)
    assert store.load(run.id) == (run, etag)
    after = moved(run, Phase.PREPARED, "done", START)
    assert store.load(run.id)[0] == run
    etag = store.save(after, etag)
    assert store.load(run.id) == (after, etag)


def test_of_two_saves_with_the_same_etag_one_wins(connection):
    """Whoever saves second with the ETag that both read is told so, and changes nothing."""
    store = BlobRunStore(connection)
    run = a_run()
    etag = store.create(run)
    start = threading.Barrier(8)

    def save(number):
        start.wait()
        try:
            store.save(msgspec.structs.replace(run, why=str(number)), etag)
        except StaleRecord:
            return None
        return str(number)

    with ThreadPoolExecutor(8) as threads:
        won = [result for result in threads.map(save, range(8)) if result is not None]
    assert won == [store.load(run.id)[0].why]


def test_a_record_is_created_once(connection):
    """The second who creates a record is told that it exists."""
    store = BlobRunStore(connection)
    store.create(a_run())
    with pytest.raises(StaleRecord):
        store.create(msgspec.structs.replace(a_run(), why="mine"))
    assert store.load(a_run().id)[0].why == "the manifest was dropped"


def test_a_save_whose_answer_is_lost_is_known_to_be_ours(connection, monkeypatch):
    """The client tries again after a lost answer; its own first write is not taken for another's."""
    store = BlobRunStore(connection)
    run = a_run()
    losing = Losing(monkeypatch, "PUT")
    etag = store.create(run)
    assert losing.left == 0
    losing.left = 1
    etag = store.save(msgspec.structs.replace(run, why="again"), etag)
    assert losing.left == 0
    assert store.load(run.id) == (msgspec.structs.replace(run, why="again"), etag)


def test_a_run_that_is_not_there_is_missing(connection):
    """Loading or saving what does not exist says so."""
    store = BlobRunStore(connection)
    with pytest.raises(Missing, match="reading the run nobody-0-g1"):
        store.load("nobody-0-g1")


def test_a_damaged_record_is_told_as_such(connection):
    """A record that cannot be read names itself and the reason."""
    blob = connection.container(storage.RUNS).get_blob_client("runs/bad-0-g1.json")
    blob.upload_blob(b'{"id": 3')
    with pytest.raises(Refused, match="bad-0-g1 cannot be read"):
        BlobRunStore(connection).load("bad-0-g1")


def test_marks_are_idempotent_and_say_since_when(connection):
    """Marking and unmarking twice is as good as once."""
    store = BlobRunStore(connection)
    for name in ("a-0-g1", "b-0-g1", "a-0-g1"):
        store.mark_active(name)
    marks = list(store.active())
    assert [mark.run for mark in marks] == ["a-0-g1", "b-0-g1"]
    assert all(abs(mark.at - datetime.now(UTC)) < timedelta(minutes=1) for mark in marks)
    store.mark_inactive("a-0-g1")
    store.mark_inactive("a-0-g1")
    assert [mark.run for mark in store.active()] == ["b-0-g1"]


def test_pages_give_the_newest_first_and_each_run_once(connection):
    """However ids sort, the newest run comes first, and pages join without a gap."""
    store = BlobRunStore(connection)
    ids = [f"{letter}-0123456789-g1" for letter in "dacbe"]
    for minute, name in enumerate(ids):
        store.create(a_run(name, START + timedelta(minutes=minute)))
    found, after, pages = [], None, 0
    while pages == 0 or after is not None:
        page = store.page(after, limit=2)
        found += [run.id for run in page.runs]
        after, pages = page.after, pages + 1
    assert found == ids[::-1]
    assert pages == 3


def test_a_filtered_page_has_no_more_runs_than_were_asked_for(connection, monkeypatch):
    """And pages join without a gap, however the runs that match lie among the others."""
    monkeypatch.setattr(wiring, "_storage", lambda: connection)
    store = BlobRunStore(connection)
    ids = [f"{letter}-0123456789-g1" for letter in "abcdefgh"]
    for minute, name in enumerate(ids):
        run = a_run(name, START + timedelta(minutes=minute))
        other = {"manifest": "other.json"} if name[0] in "bg" else {}
        store.create(msgspec.structs.replace(run, **other))
    pages, after = [], None
    while not pages or after is not None:
        found, after = wiring.runs_page(limit=2, after=after, manifest="m.json")
        pages.append([run.id[0] for run in found])
    assert pages == [["h", "f"], ["e", "d"], ["c", "a"]]


def test_a_page_passes_over_runs_that_came_to_nothing(connection):
    """An index entry without a record, or with another one's time, shows no run."""
    store = BlobRunStore(connection)
    store.create(a_run("a-0-g1"))
    with pytest.raises(StaleRecord):
        store.create(a_run("a-0-g1", START + timedelta(seconds=1)))
    container = connection.container(storage.RUNS)
    container.get_blob_client("by-time/0000000000001-gone-0-g1").upload_blob(b"")
    assert [run.id for run in store.page().runs] == ["a-0-g1"]
    assert [run.received_at for run in store.page().runs] == [START]


def test_an_endpoint_is_nobodys_until_it_is_saved(connection):
    """Holding an unknown endpoint works, and leaves no record behind unless one is saved."""
    store = BlobEndpointStore(connection)
    assert store.load("Chat") is None
    with store.hold("Chat") as held:
        assert held.record is None
    assert store.load("Chat") is None
    assert list(store.all()) == []
    with store.hold("Chat") as held:
        held.save(a_record())
        assert held.record == a_record()
        held.save(a_record(rest=Rest.SERVING))
    assert store.load("chat") == a_record(rest=Rest.SERVING)
    assert list(store.all()) == [a_record(rest=Rest.SERVING)]


def test_how_long_old_deployments_are_kept_is_read_as_it_was_written(connection):
    """By run; a record of before has one time for all of them."""
    store = BlobEndpointStore(connection)
    with store.hold("Chat") as held:
        held.save(a_record(kept={"m-1": START}))
    found = store.load("Chat")
    assert (found.kept_until("m-1"), found.kept_until("m-2")) == (START, None)
    before = msgspec.json.encode(a_record(keep_until=START))
    assert b'"kept"' not in before
    container = connection.container(storage.RUNS)
    container.upload_blob(f"endpoints/{key_of('Chat')}.json", before, overwrite=True)
    assert store.load("Chat").kept_until("m-2") == START


def test_a_held_endpoint_refuses_a_second_holder(connection):
    """One holder at a time; others are told to come again, and readers are not kept out."""
    store = BlobEndpointStore(connection)
    with store.hold("Chat") as held:
        held.save(a_record())
        with pytest.raises(Busy), store.hold("Chat"):
            raise AssertionError("held twice")
        assert store.load("Chat") == a_record()
    with store.hold("Chat") as held:
        assert held.record == a_record()


def test_an_exception_gives_the_lease_back(connection):
    """Whatever happens in the block, the next one gets in, and the exception is seen."""
    store = BlobEndpointStore(connection)
    with pytest.raises(KeyError), store.hold("Chat"):
        raise KeyError("x")
    with store.hold("Chat") as held:
        held.confirm()


def test_a_lost_lease_is_noticed(connection):
    """Who lost the lease can neither confirm nor save, and does not take it from its new holder."""
    store = BlobEndpointStore(connection)
    blob = connection.container(storage.RUNS).get_blob_client(f"endpoints/{key_of('Chat')}.json")
    with store.hold("Chat") as first:
        first.save(a_record())
        from azure.storage.blob import BlobLeaseClient

        BlobLeaseClient(blob).break_lease(lease_break_period=0)
        with store.hold("Chat") as second:
            with pytest.raises(StaleRecord):
                first.confirm()
            with pytest.raises(StaleRecord):
                first.save(a_record(owner="first"))
            second.save(a_record(owner="second"))
            second.confirm()
    record = store.load("Chat")
    assert record is not None
    assert record.owner == "second"


def test_a_lease_that_ran_out_unnoticed_may_be_renewed(connection):
    """As long as nobody else took it, the lease is still ours."""
    store = BlobEndpointStore(connection)
    blob = connection.container(storage.RUNS).get_blob_client(f"endpoints/{key_of('Chat')}.json")
    with store.hold("Chat") as held:
        held.confirm()
        held.confirm()
        assert blob.get_blob_properties().lease.state == "leased"
    assert blob.get_blob_properties().lease.state == "available"


def test_names_that_azure_would_not_tell_apart_share_a_record(connection):
    """The fence follows Azure's name of the endpoint, not the author's spelling."""
    store = BlobEndpointStore(connection)
    with store.hold("Ultra Chat"), pytest.raises(Busy), store.hold("ultra-chat"):
        raise AssertionError("held twice")


def test_a_look_arrives_as_the_host_expects_it(connection):
    """The message is base64 of JSON, and reads back as the look that was sent."""
    QueueLooks(connection).send(Look("a-0-g1", 7), timedelta())
    raw = QueueClient.from_connection_string(connection.connection_string, storage.RUN_STEPS)
    (message,) = list(raw.receive_messages())
    body = base64.b64decode(message.content)
    assert json.loads(body) == {"run": "a-0-g1", "number": 7}
    assert parse(body) == Look("a-0-g1", 7)


def test_a_delayed_look_is_hidden_until_its_time(connection):
    """A look for later cannot be received now, and is never dropped for waiting long."""
    looks = QueueLooks(connection)
    looks.send(Look("later-0-g1"), timedelta(days=30))
    looks.send(Look("now-0-g1"), timedelta(seconds=-3))
    received = [parse(message.content) for message in connection.queue().receive_messages()]
    assert received == [Look("now-0-g1")]
    assert connection.queue().get_queue_properties().approximate_message_count == 2


def test_manifests_are_listed_and_read_with_comparable_etags(connection):
    """Reading and listing give the same ETag, so that a drop is recognised."""
    manifests = BlobManifests(connection)
    container = connection.container(storage.MANIFESTS)
    container.get_blob_client("a/ä b.json").upload_blob(b"{}")
    content, etag = manifests.read("a/ä b.json")
    assert content == b"{}"
    assert list(manifests.listed()) == [Dropped("a/ä b.json", etag)]
    assert '"' not in etag


def test_an_oversized_manifest_is_read_no_further_than_needed(connection):
    """One byte over the limit is all that is fetched of a huge blob; an empty one is empty."""
    container = connection.container(storage.MANIFESTS)
    container.get_blob_client("huge.json").upload_blob(b"x" * (SIZE_LIMIT * 3))
    container.get_blob_client("empty.json").upload_blob(b"")
    manifests = BlobManifests(connection)
    assert len(manifests.read("huge.json")[0]) == SIZE_LIMIT + 1
    assert manifests.read("empty.json")[0] == b""
    with pytest.raises(Missing, match=r"none\.json"):
        manifests.read("none.json")


def test_seen_drops_come_back_whole(connection):
    """Path and ETag of every note are told, whatever letters and length the path has."""
    manifests = BlobManifests(connection)
    drops = {Dropped("a.json", "0x1"), Dropped("a.json", "0x2"), Dropped("ü/" + "x" * 900, "0x3")}
    for drop in [*drops, Dropped("a.json", "0x1")]:
        manifests.note_seen(drop)
    found = list(manifests.seen())
    assert set(found) == drops
    assert len(found) == len(drops)


def test_a_report_lies_where_its_author_looks(connection):
    """The report of a manifest is named after it."""
    BlobManifests(connection).report("a/x.yaml", b"{}")
    blob = connection.container(storage.REPORTS).get_blob_client("a/x.yaml.errors.json")
    assert blob.download_blob().readall() == b"{}"
    assert blob.get_blob_properties().content_settings.content_type.startswith("application/json")


def test_a_browser_opens_the_page_on_a_manifests_data(connection):
    """It lies beside the report, says that it is a page, and gives way to the next one."""
    manifests = BlobManifests(connection)
    manifests.show_data("a/x.yaml", b"<p>once</p>")
    manifests.show_data("a/x.yaml", "<p>für Ä</p>".encode())
    blob = connection.container(storage.REPORTS).get_blob_client("a/x.yaml.data.html")
    assert blob.download_blob().readall().decode() == "<p>für Ä</p>"
    kind = blob.get_blob_properties().content_settings.content_type
    assert kind == "text/html; charset=utf-8"


def test_the_last_use_is_remembered(connection):
    """The last noted use of each endpoint, to the microsecond, by any spelling of its name."""
    uses = BlobUses(connection)
    assert uses.last("Chat") is None
    at = datetime(2026, 1, 5, 8, 0, 0, 123456, tzinfo=UTC)
    uses.note("Chat", at - timedelta(hours=1))
    uses.note("Chat", at)
    assert uses.last("chat") == at


def test_storage_that_is_not_there_is_unavailable(monkeypatch):
    """No connection is told as something to try again, without the account's key."""
    from local.ports import free_port

    monkeypatch.setattr(storage, "_RETRIES", 0)
    nowhere = storage.StorageConnection(
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=c2VjcmV0LXNlY3JldA==;"
        f"BlobEndpoint=https://127.0.0.1:{free_port()}/a"
    )
    with pytest.raises(Unavailable) as raised:
        BlobRunStore(nowhere).load("a-0-g1")
    assert "c2VjcmV0" not in str(raised.value)
    assert "c2VjcmV0" not in repr(nowhere)
