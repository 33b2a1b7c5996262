"""Files on https servers, over real sockets: what may be asked, and what a bad server can do."""

from __future__ import annotations

import gzip
import io
import json
import socket

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from file_server import FileServer, Reply, broken_after, instead, without

from shared.cloud import web_files
from shared.cloud.datasets import CloudPreparation
from shared.cloud.web import Web
from shared.cloud.web_files import WebFile
from shared.data.formats.reading import rows_of
from shared.errors import DataRejected, Missing, StaleRecord, Unavailable
from shared.runs.manifest import Dataset
from tests.memory import conversations, jsonl

ROWS = conversations(60)
LINES = jsonl(*ROWS)
BIG = jsonl(*conversations(40_000))


@pytest.fixture
def server(certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.bundle))
    with FileServer(certificates) as running:
        running.files = {"/a.jsonl": LINES, "/big.jsonl": BIG}
        yield running


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def file(server, pauses):
    """A file of the server, whose host is listed and whose address is permitted though it is this machine's."""

    def made(path="/a.jsonl", hosts=None, permits=lambda _: True):
        listed = frozenset({server.host} if hosts is None else hosts)
        url = path if "://" in path else server.url + path
        return WebFile(Web(listed, permits), url, pauses.append)

    return made


def whole(file):
    return b"".join(file.blocks())


def test_a_file_comes_as_it_is(file, server):
    """In blocks, or any part of it; asked for without coding and under one identity."""
    found = file("/big.jsonl")
    assert whole(found) == BIG
    assert found.size() == len(BIG)
    assert found.span(1000, 50) == BIG[1000:1050]
    assert found.span(0, len(BIG)) == BIG
    assert found.identity == file("/big.jsonl").identity
    assert max(map(len, found.blocks())) <= 1 << 20
    assert all(headers["Accept-Encoding"] == "identity" for _, headers in server.asked)


@pytest.mark.parametrize("path", ["/a.parquet", "/a.jsonl.gz", "/a.json"])
def test_every_format_is_read(file, server, path):
    body = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), body, row_group_size=7)
    server.files |= {
        "/a.parquet": body.getvalue(),
        "/a.jsonl.gz": gzip.compress(LINES),
        "/a.json": json.dumps(ROWS).encode(),
    }
    found = rows_of(file(path), limit=1 << 20, count=lambda _: None)
    assert [json.loads(line) for some in found for line in some.lines if line] == ROWS


def test_an_empty_file_is_empty(file, server):
    server.files["/a.jsonl"] = b""
    assert whole(file()) == b""
    server.changes = lambda reply: Reply(200, {"Last-Modified": "yesterday"}, reply.body)
    assert whole(file()) == b""


def test_a_query_is_sent_and_part_of_the_identity_but_never_shown(file, server):
    """It may be a signature."""
    found = file("/a.jsonl?sig=very%20secret")
    assert whole(found) == LINES
    assert {path for path, _ in server.asked} == {"/a.jsonl?sig=very%20secret"}
    assert found.name == f"{server.url}/a.jsonl"
    assert found.identity != file("/a.jsonl").identity
    server.faults = [instead(403)]
    with pytest.raises(DataRejected) as raised:
        whole(file("/a.jsonl?sig=very%20secret"))
    assert "secret" not in found.identity + str(raised.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://{host}/a.jsonl", "is not https"),
        ("https://example.org/a.jsonl", "is on the host 'example.org', which is not on the list"),
        ("https://localhost/a.jsonl", "is on the host 'localhost', which is not on the list"),
        ("https://me:pw@{host}/a.jsonl", "holds a user or password"),
        ("https://{host}/a b.jsonl", "holds spaces or letters beyond ASCII"),
        ("https://{host}/a\r\nX:y.jsonl", "holds spaces or letters beyond ASCII"),
        ("https://[::1/a.jsonl", "is no address"),
        ("file:///etc/passwd.jsonl", "is not https"),
    ],
)
def test_only_https_of_listed_hosts_is_asked(file, server, url, why):
    with pytest.raises(DataRejected, match=why) as raised:
        whole(file(url.format(host=server.host)))
    assert "pw" not in str(raised.value)
    assert server.asked == []


def test_an_address_that_is_not_public_is_never_connected_to(server):
    """The policy that runs in Azure, on this machine's own address: the name is listed, the address refused."""
    found = WebFile(Web(frozenset({server.host})), f"{server.url}/a.jsonl")
    with pytest.raises(DataRejected, match="which is no address of the public internet"):
        whole(found)
    assert server.asked == []


def test_a_name_is_resolved_once_for_each_connection_and_the_checked_address_is_used(
    file, server, monkeypatch
):
    """A name that means another address a moment later gains nothing."""
    resolve, looked_up, checked = socket.getaddrinfo, [], []

    def rebinding(host, *rest, **more):
        if host != "localhost":
            return resolve(host, *rest, **more)  # an address already
        looked_up.append(host)
        address = "127.0.0.1" if len(looked_up) % 2 else "127.0.0.9"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, rest[0]))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)

    def permits(address):
        checked.append(address)
        return address == "127.0.0.1"

    with pytest.raises(DataRejected, match=r"is at 127\.0\.0\.9"):
        whole(file(permits=permits))
    assert checked == ["127.0.0.1", "127.0.0.9"]
    assert len(looked_up) == 2
    assert len(server.asked) == 1


def test_one_address_among_several_that_is_not_public_is_enough(file, server, monkeypatch):
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *_, **__: [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))
            for address in ("127.0.0.1", "10.0.0.1")
        ],
    )
    with pytest.raises(DataRejected, match=r"is at 10\.0\.0\.1"):
        whole(file(permits=lambda address: address != "10.0.0.1"))
    assert server.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_among_listed_hosts(file, server, status):
    server.changes = lambda reply: (
        Reply(status, {"Location": "/a.jsonl"}) if reply.status == 404 else reply
    )
    assert whole(file("/moved.jsonl")) == LINES


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://{host}/a.jsonl", "which is not https"),
        (
            "https://169.254.169.254/metadata",
            "which is on the host '169.254.169.254', which is not",
        ),
        (
            "//example.org/a.jsonl?sig=secret",
            "redirects to https://example.org/a.jsonl, which is on",
        ),
        ("file:///etc/passwd", "which is not https"),
        ("//[::1/a.jsonl", "redirects to what is no address"),
        ("/moved.jsonl", "redirects more than 5 times"),
    ],
)
def test_no_redirect_leads_out_of_what_is_allowed(file, server, location, why):
    server.changes = lambda _: Reply(302, {"Location": location.format(host=server.host)})
    with pytest.raises(DataRejected, match=why) as raised:
        whole(file("/moved.jsonl"))
    assert "secret" not in str(raised.value)


def test_the_address_behind_a_redirect_is_checked_anew(file, server, certificates):
    with FileServer(certificates) as other:
        other.files = {"/a.jsonl": LINES}
        aside = other.url.replace("localhost", "127.0.0.1")
        server.changes = lambda _: Reply(302, {"Location": f"{aside}/a.jsonl"})
        hosts = {server.host, aside.removeprefix("https://")}
        assert whole(file("/b.jsonl", hosts)) == LINES
        before, checked = len(other.asked), []

        def permits(address):
            checked.append(address)
            return len(checked) < 2

        with pytest.raises(DataRejected, match="no address of the public internet"):
            whole(file("/b.jsonl", hosts, permits))
        assert len(other.asked) == before


def test_a_certificate_that_nobody_signed_is_not_trusted(file, server, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    with pytest.raises(DataRejected, match="a certificate that is not trusted"):
        whole(file())
    assert server.asked == []


def test_a_connection_that_breaks_is_taken_up_where_it_broke(file, server, pauses):
    found = file("/big.jsonl")
    assert found.identity
    server.asked.clear()
    server.faults = [broken_after(100_000), instead(503), broken_after(0), broken_after(500_000)]
    assert whole(found) == BIG
    ranges = [headers["Range"].partition("-")[0] for _, headers in server.asked]
    assert ranges == [f"bytes={at}" for at in (0, 100_000, 100_000, 100_000, 600_000)]
    assert all(headers["If-Match"] in found.identity for _, headers in server.asked)
    assert pauses == [1, 2, 4, 1]


def test_a_part_that_breaks_is_asked_for_again(file, server):
    found = file("/big.jsonl")
    assert found.size()
    server.faults = [broken_after(10), instead(500)]
    assert found.span(5, 5000) == BIG[5:5005]


def test_patience_ends(file, server, pauses):
    """What keeps failing is for the reconciler to try again, later."""
    server.faults = [instead(429, Retry_After="3")] * 3 + [instead(429, Retry_After="3000")] * 50
    with pytest.raises(Exception, match="answers 429") as raised:
        whole(file())
    assert type(raised.value).__name__ == "Throttled"
    assert raised.value.retry_after.total_seconds() == 3000
    assert pauses == [3, 3, 3]
    server.faults = [broken_after(0)] * 50
    with pytest.raises(Unavailable, match="ended early"):
        whole(file("/big.jsonl"))


def test_a_server_that_lets_a_little_through_each_time_wears_out_as_well(file, server, pauses):
    found = file("/big.jsonl")
    assert found.size()
    server.faults = [broken_after(10)] * 1000
    with pytest.raises(Unavailable, match="ended early"):
        whole(found)
    assert len(pauses) == 50


def test_a_server_that_is_not_there_is_unavailable(file, server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"localhost:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable):
            whole(file(f"https://{host}/a.jsonl", {host}))


def test_a_file_that_is_replaced_while_it_is_read_is_not_mixed(file, server):
    """By the condition, or by what the answer tells when the server ignores conditions."""
    found = file()
    assert found.identity
    server.files["/a.jsonl"] = LINES[: len(LINES) // 2]
    with pytest.raises(StaleRecord):
        whole(found)

    server.files["/a.jsonl"] = LINES
    server.changes = without("ETag")
    found = file()
    assert "17 May 2026" in found.identity
    server.files["/a.jsonl"] = LINES + b"\n"
    with pytest.raises(StaleRecord):
        found.span(0, 10)


def test_a_server_without_ranges_gives_files_from_their_beginning_only(file, server):
    def no_ranges(reply):
        headers = {name: value for name, value in reply.headers.items() if name != "Content-Range"}
        return Reply(200, headers, BIG)

    server.changes = no_ranges
    found = file("/big.jsonl")
    server.faults = [lambda reply: reply, broken_after(300_000)]
    assert whole(found) == BIG
    with pytest.raises(DataRejected, match="gives no parts of files"):
        found.span(5, 10)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without("ETag", "Last-Modified"), "has no version"),
        (without("Content-Range"), "of a length that the server does not tell"),
        (
            instead(200, ETag="x", Content_Length="\xb2"),
            "of a length that the server does not tell",
        ),
        (
            instead(200, ETag="x", Content_Length="9" * 9999),
            "of a length that the server does not",
        ),
        (instead(403), "the server answers 403"),
        (instead(204, ETag="x"), "the server answers 204"),
        (
            lambda reply: Reply(206, {**reply.headers, "Content-Encoding": "br"}, reply.body),
            "coding 'br'",
        ),
        (
            lambda reply: Reply(
                206, {**reply.headers, "Content-Range": f"bytes 0-0/{1 << 40}"}, reply.body
            ),
            "larger than 64 GiB",
        ),
    ],
)
def test_an_answer_that_cannot_be_relied_on_is_refused_with_what_to_do(file, server, change, why):
    server.changes = change
    with pytest.raises(DataRejected, match=why) as raised:
        whole(file())
    (problem,) = raised.value.problems
    assert problem.place == f"{server.url}/a.jsonl"
    assert problem.mend == "Upload the file to the container 'data'"


def test_another_part_than_was_asked_for_is_refused(file, server):
    found = file()
    assert found.size()
    server.faults = [
        lambda reply: Reply(
            206, {**reply.headers, "Content-Range": f"bytes 3-9/{len(LINES)}"}, reply.body
        )
    ]
    with pytest.raises(DataRejected, match="comes as another part"):
        whole(found)


def test_a_file_that_is_not_there_is_missing(file):
    with pytest.raises(Missing, match="the server has no such file"):
        assert file("/none.jsonl").identity


def test_more_than_was_promised_is_not_read(file, server):
    """A server that goes on after the end adds no rows."""
    found = file()
    assert found.size()
    server.faults = [lambda reply: Reply(206, reply.headers, reply.body + b"more\n")]
    assert whole(found) == LINES


def test_a_manifests_https_files_are_prepared(server, connection, monkeypatch):
    """Through the port that the core uses; what is wrong has its place in the manifest."""
    monkeypatch.setattr(web_files.time, "sleep", lambda _: None)
    web = Web(frozenset({server.host}), lambda _: True)
    preparation = CloudPreparation(connection, "d", web)

    def a_dataset(*paths):
        return Dataset.model_validate({"files": {"train": list(paths)}})

    good = a_dataset(f"{server.url}/a.jsonl")
    assert preparation.problems(good) == []
    prepared = preparation.prepare(good, None, lambda: None)
    assert sum(prepared.rows.values()) == len(ROWS)
    assert preparation.prepare(good, None, lambda: None) == prepared
    problems = preparation.problems(
        a_dataset(
            f"{server.url}/none.jsonl",
            f"{server.url}/a.exe?x=.jsonl",
            "https://example.org/a.jsonl?sig=secret",
        )
    )
    assert [problem.place for problem in problems] == ["dataset.files.train"] * 3
    assert "the server has no" in problems[0].reason
    assert "no format" in problems[1].reason
    assert "DROPTUNE_DATA_HOSTS" in problems[2].mend
    assert "secret" not in str(problems)


def test_addresses_that_differ_in_their_query_alone_are_two_files(server, connection):
    """Some servers have one path for everything."""
    server.files["/get.jsonl"] = LINES
    preparation = CloudPreparation(connection, "d", Web(frozenset({server.host}), lambda _: True))

    def found(**files):
        return preparation.sources(Dataset.model_validate({"files": files}))

    one, two = (f"{server.url}/get.jsonl?file={number}" for number in (1, 2))
    assert len(found(train=[one, two, one])["train"]) == 2
    assert len(found(train=[one], test=[two])["test"]) == 1
    with pytest.raises(DataRejected, match="is named for another split, too"):
        found(train=[one], test=[one])
