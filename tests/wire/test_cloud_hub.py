"""Hub datasets through the real libraries, against a hub on this machine.

The libraries read the hub's address when they are imported, hence a process of its own for each look.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import COMMIT, Hub

from local.azureml.plane import REPOSITORY
from local.ports import free_port
from tests.memory import jsonl

ROWS = [
    {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}]}
    for n in range(40)
]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
CHATS = {"README.md": b"# Chats\n", "train.jsonl": LINES, "test.jsonl": LINES}

PROGRAM = """
import json, sys
from shared.cloud.hub import Hub
from shared.data.formats.reading import rows_of, unit_of
from shared.data.options import Options
from shared.data.rows import Reader
from shared.errors import DroptuneError
from shared.runs.manifest import Dataset

dataset = Dataset.model_validate(json.loads(sys.argv[1]))
hub = Hub(sys.argv[3])

def rows(sources):
    read = Reader(Options(columns=dataset.columns)).read
    for source in sources:
        unit = unit_of(source)
        for some in rows_of(source, limit=1 << 22, count=lambda _: None):
            for number, line in enumerate(some.lines, some.first):
                verdict = some.refusal or read(line)
                if verdict is not None:
                    reason = getattr(verdict, "reason", None)
                    place = f"{source.name} {unit} {number}"
                    yield place, line.decode(errors="replace"), reason

try:
    if sys.argv[2] == "problems":
        told = [[each.place, each.reason, each.mend] for each in hub.problems(dataset)]
    elif sys.argv[2] == "in a job":
        told = [[p.place, p.reason, p.mend] for p in hub.problems_without_token(dataset)]
    elif sys.argv[2] == "sizes":
        told = {
            split: {source.identity: source.size() for source in found}
            for split, found in hub.sources(dataset).items()
        }
    elif sys.argv[2] == "memory":
        from pathlib import Path
        status = Path("/proc/self/status")
        peak = lambda: 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
        found = hub.sources(dataset)
        few, many = (found[split] for split in ("test", "train"))
        list(rows(few))
        before, size = peak(), 0
        for _, line, _ in rows(many):
            size += len(line)
        told = [size, peak() - before]
    elif sys.argv[2] == "last":
        told = list(rows(hub.sources(dataset)["train"][-1:]))
    elif sys.argv[2] == "twice":
        told = [len(hub.problems(dataset)), len(hub.sources(dataset)), len(hub.sources(dataset))]
    else:
        told = {
            split: [[source.identity for source in found], list(rows(found))]
            for split, found in hub.sources(dataset).items()
        }
except DroptuneError as error:
    told = [type(error).__name__, str(error)]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def hub():
    with Hub("someone/chats", CHATS) as running:
        yield running


@pytest.fixture
def look(hub, tmp_path):
    """What the adapter tells of a dataset, in a process that knows only this hub."""

    def looked(what, *, address=hub.url, token="", **dataset):
        given = {"hub": "someone/chats", "splits": {"train": "train", "test": "test"}, **dataset}
        environment = {
            **os.environ,
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path / "home"),
            "PYTHONPATH": str(REPOSITORY),
        }
        environment.pop("HF_TOKEN", None)
        command = [sys.executable, "-c", PROGRAM, json.dumps(given), what, token]
        found = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        assert not token or token not in found.stdout + found.stderr
        return json.loads(found.stdout.splitlines()[-1])

    return looked


def contents(rows):
    """What the rows hold, each of which the adapter gave as its place, its line and why it is refused."""
    assert not [reason for _, _, reason in rows if reason]
    return [json.loads(line) for _, line, _ in rows]


def test_rows_stream_from_the_commit_that_the_revision_names(look):
    """Each split's rows come out whole and in order; the identity holds the commit."""
    found = look("sources")
    assert set(found) == {"train", "test"}
    for split, (identities, rows) in found.items():
        assert identities == [f"hub:someone/chats@{COMMIT}/{split}.jsonl"]
        assert contents(rows) == ROWS


@pytest.mark.parametrize(
    ("wrong", "place", "said"),
    [
        ({"hub": "some/other"}, "dataset.hub", "there is no dataset 'some/other'"),
        ({"revision": "nope"}, "dataset.hub", "has no revision 'nope'"),
        ({"config": "what"}, "dataset.config", "'what' not found"),
        ({"splits": {"train": "trian"}}, "dataset.splits.train", "has no split 'trian'"),
    ],
)
def test_what_the_hub_does_not_have_is_told_before_any_row_is_read(look, wrong, place, said):
    """Dataset, revision, configuration, split: each wrong name has its own place."""
    (problem,) = look("problems", **wrong)
    assert problem[0] == place
    assert said in problem[1]


def test_a_right_dataset_has_no_problems_and_a_slip_is_recognised(look):
    """The nearest split's name is offered."""
    assert look("problems") == []
    ((_, _, mend),) = look("problems", splits={"train": "trian"})
    assert mend == "Did you mean 'train'?"


def test_a_hub_that_is_not_there_is_unavailable(look):
    """No connection is something to try again, not a problem of the manifest's."""
    kind, said = look("problems", address=f"http://127.0.0.1:{free_port()}")
    assert kind == "Unavailable"
    assert "someone/chats" in said


def test_files_that_cannot_be_read_reject_the_data(look):
    """The author is told which file, not shown a traceback; of lines only the broken one is lost."""
    with Hub("someone/chats", {"train.parquet": b"PAR1 no more"}) as broken:
        kind, said = look("sources", address=broken.url, splits={"train": "train"})
    assert kind == "DataRejected"
    assert f"hub:someone/chats@{COMMIT}/train.parquet" in said
    with Hub("someone/chats", {"train.jsonl": LINES + b"{nonsense"}) as broken:
        found = look("sources", address=broken.url, splits={"train": "train"})
    *good, (place, _, reason) = found["train"][1]
    assert contents(good) == ROWS
    assert (place, reason) == (f"hub:someone/chats@{COMMIT}/train.jsonl line 41", "not_json")


LONE = b'{"messages": [{"role": "user", "content": "\\ud800"}, {"role": "assistant", "content": "a"}]}\n'


def as_tar(members):
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return body.getvalue()


def in_an_archive(*rows):
    """Rows as WebDataset has them: a member for each."""
    return as_tar({f"{n:03}.json": json.dumps(row).encode() for n, row in enumerate(rows)})


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("train.jsonl", LINES + LONE, "lone_surrogate"),
        ("train.jsonl.gz", gzip.compress(LINES + LONE), "lone_surrogate"),
        ("train.ndjson", LINES + LONE, "lone_surrogate"),
        ("train.jsonl", LINES + b'{"messages": "\xff"}\n', "not_utf8"),
        ("train.csv", b"prompt,completion\n" + b"q,a\n" * 40 + b"q\xff,a\n", "not_utf8"),
        # What the library unpacks from JSON may have no UTF-8.
        (
            "train.tar",
            in_an_archive(
                *[row["messages"] for row in ROWS],
                [{"role": "user", "content": "\ud800"}, {"role": "assistant", "content": "a"}],
            ),
            "lone_surrogate",
        ),
    ],
)
def test_a_row_that_is_no_text_is_refused_alone(look, name, body, reason):
    """The rows beside it stay, as with files of the storage account."""
    columns = {"messages": "json"} if name.endswith(".tar") else {}
    with Hub("someone/chats", {name: body}) as hub:
        found = look("sources", address=hub.url, splits={"train": "train"}, columns=columns)
    reasons = [reason for _, _, reason in found["train"][1]]
    assert reasons == [None] * 40 + [reason]


def test_each_file_of_a_split_is_a_source_of_its_own_size(look):
    """So a job's nodes share a split as they share files of the storage account, by bytes."""
    files = {f"train-{n}.jsonl": LINES * (n + 1) for n in range(3)} | {"test.jsonl": LINES}
    with Hub("someone/chats", files) as hub:
        found = look("sizes", address=hub.url)
        assert not [asked for asked in hub.asked if ".jsonl" in asked]
    named = {f"hub:someone/chats@{COMMIT}/{name}": len(body) for name, body in files.items()}
    assert found["test"] | found["train"] == named
    assert len(found["train"]) == 3


def test_what_a_commit_holds_is_asked_once(look):
    """The function looks several times; a look that knows the commit costs one request, and none reads rows."""
    with Hub("someone/chats", CHATS) as once:
        assert look("problems", address=once.url) == []
    with Hub("someone/chats", CHATS) as often:
        assert look("twice", address=often.url) == [0, 2, 2]
    revision, harness = "GET /api/datasets/someone/chats/revision/main", "GET /api/agent-harnesses"
    assert often.asked.count(revision) == 3
    beside = [
        [asked for asked in running.asked if asked not in (revision, harness)]
        for running in (once, often)
    ]
    # The card stays on the disk.
    assert len(beside[1]) <= len(beside[0]) < 12


def test_a_file_is_asked_for_as_often_as_its_bytes_are_wanted(look):
    """No byte of a Parquet file is fetched to be thrown away, and a file of lines comes in one answer."""
    body = as_parquet(ROWS, row_group_size=7)
    with Hub("someone/chats", {"train.parquet": body}) as hub:
        look("sources", address=hub.url, splits={"train": "train"})
        assert hub.sent["train.parquet"] < 2 * len(body)
    with Hub("someone/chats", {"train.jsonl": LINES * 2000}) as hub:
        look("sources", address=hub.url, splits={"train": "train"})
        assert sum("train.jsonl" in asked for asked in hub.asked) == 1


def test_a_connection_that_breaks_is_taken_up_where_it_broke(look):
    """The rows are whole, or it is something to try again; never fewer of them."""
    many = LINES * 1000
    with Hub("someone/chats", {"train.jsonl": many}) as hub:
        hub.breaking = 1
        found = look("sources", address=hub.url, splits={"train": "train"})
        assert len(contents(found["train"][1])) == len(ROWS) * 1000
        hub.breaking = 1000
        kind, said = look("sources", address=hub.url, splits={"train": "train"})
    assert kind == "Unavailable"
    assert "train.jsonl" in said


def as_parquet(rows, **how):
    body = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), body, **how)
    return body.getvalue()


def in_formats():
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["question", "answer"])
    writer.writerows([f"q{n}", "a, b"] for n in range(40))
    return {
        "parquet": ({"train.parquet": as_parquet(ROWS, row_group_size=7)}, ROWS),
        "csv": (
            {"train.csv": text.getvalue().encode()},
            [{"question": f"q{n}", "answer": "a, b"} for n in range(40)],
        ),
        "packed": ({"train.jsonl.gz": gzip.compress(LINES)}, ROWS),
        "tools of many shapes": (
            {
                "train.jsonl": b"".join(
                    json.dumps({**row, "tools": [{"name": "f", "of": {f"x{n % 3}": n}}]}).encode()
                    + b"\n"
                    for n, row in enumerate(ROWS)
                )
            },
            None,
        ),
    }


@pytest.mark.parametrize("form", in_formats())
def test_every_format_of_the_hub_gives_the_same_rows(look, form):
    """Parquet, as most of the hub's datasets are, goes by columns; the others row by row."""
    files, rows = in_formats()[form]
    with Hub("someone/chats", files) as hub:
        found = look("sources", address=hub.url, splits={"train": "train"})
    told = contents(found["train"][1])
    if rows is None:
        assert [row["messages"] for row in told] == [row["messages"] for row in ROWS]
    else:
        assert told == rows


def test_the_named_configuration_is_read(look):
    """A dataset of several configurations is told apart by name; without one, that is the problem."""
    card = b"""---
configs:
- config_name: few
  data_files: few.jsonl
- config_name: all
  data_files: all.jsonl
---
"""
    few = b"".join(LINES.splitlines(keepends=True)[:3])
    files = {"README.md": card, "few.jsonl": few, "all.jsonl": LINES}
    with Hub("someone/chats", files) as hub:
        splits = {"train": "train"}
        found = look("sources", address=hub.url, config="few", splits=splits)
        (problem,) = look("problems", address=hub.url, splits=splits)
    assert found["train"][0] == [f"hub:someone/chats@{COMMIT}/few.jsonl"]
    assert contents(found["train"][1]) == ROWS[:3]
    assert problem[0] == "dataset.config"
    assert "few" in problem[1]


def test_the_first_rows_of_a_split_are_those_of_all_its_files_in_order(look):
    """Which rows are the first takes the whole split: it is one source then, whose rows are numbered through."""
    files = {f"train-{n}.jsonl": LINES for n in range(2)}
    splits = {"train": "train"}
    with Hub("someone/chats", files) as hub:
        first = look("sources", address=hub.url, splits=splits, sampling="first", percent=5)
        whole = look("sources", address=hub.url, splits=splits, sampling="first")
    ((identity,), rows) = first["train"]
    assert identity.startswith(f"hub:someone/chats@{COMMIT}/train#")
    assert contents(rows) == ROWS * 2
    assert [place for place, _, _ in rows] == [
        f"hub:someone/chats@{COMMIT}/train row {number}" for number in range(1, 81)
    ]
    assert len(whole["train"][0]) == 2


CARD = """---
configs:
- config_name: own
  data_files: '%s'
  %s
---
"""


@pytest.mark.parametrize(
    ("option", "name", "bodies"),
    [
        (
            "field: rows",
            "%d.json",
            [json.dumps({"rows": ROWS[:25]}), json.dumps({"rows": ROWS[25:]})],
        ),
        ("sep: ';'", "%d.csv", ["prompt;completion\nq0;a\nq1;a\n", "prompt;completion\nq2;a\n"]),
        ("columns: [messages]", "%d.parquet", [as_parquet(ROWS[:25]), as_parquet(ROWS[25:])]),
    ],
)
def test_what_a_card_says_of_reading_is_kept(look, option, name, bodies):
    """Such files come as the library reads them, each a source all the same, and a row's number is its place there."""
    card = (CARD % (name.replace("%d", "*"), option)).encode()
    files = {
        name % n: body if isinstance(body, bytes) else body.encode()
        for n, body in enumerate(bodies)
    }
    with Hub("someone/chats", {"README.md": card, **files}) as hub:
        found = look("sources", address=hub.url, config="own", splits={"train": "train"})
    identities, rows = found["train"]
    names = [f"hub:someone/chats@{COMMIT}/own/train/{each}" for each in files]
    assert identities == [f"{each}//config=own;split=train" for each in names]
    wanted = [{"prompt": f"q{n}", "completion": "a"} for n in range(3)] if "csv" in name else ROWS
    assert contents(rows) == wanted
    place, _, _ = rows[-1]
    assert place.split()[1] == "row"
    assert int(place.rpartition(" ")[2]) == sum(row[0].startswith(names[1]) for row in rows)


def half_of(body):
    """As a connection or a program left it that ended early."""
    return body[: len(body) // 2]


def damaged(body):
    """The same, with its second half turned over."""
    return half_of(body) + bytes(255 - each for each in body[len(body) // 2 :])


@pytest.mark.parametrize(
    ("option", "name", "body"),
    [
        (None, "train.jsonl.xz", damaged(lzma.compress(LINES))),
        (None, "train.jsonl.xz", half_of(lzma.compress(LINES))),
        (None, "train.jsonl.bz2", half_of(bz2.compress(LINES))),
        (None, "train.xml", b"<a/>"),
        ("field: rows", "train.json.gz", damaged(gzip.compress(LINES))),
        ("field: rows", "train.json", b'{"others": []}'),
        ("field: rows", "train.json", b"[1]"),
        ("encoding: nonsense", "train.jsonl", LINES),
        ("skiprows: x", "train.csv", b"prompt,completion\nq,a\n"),
        ("columns: 5", "train.parquet", as_parquet(ROWS)),
        ("filters: 5", "train.parquet", as_parquet(ROWS)),
    ],
)
def test_whatever_the_library_raises_at_a_file_rejects_the_data(look, option, name, body):
    """The author is told which file it is, whether it is damaged or the card wants of it what cannot be."""
    card = {"README.md": (CARD % (name, option)).encode()} if option else {}
    with Hub("someone/chats", {**card, name: body}) as hub:
        kind, said = look("sources", address=hub.url, splits={"train": "train"})
    assert kind == "DataRejected"
    assert said.startswith(f"hub:someone/chats@{COMMIT}/train/{name}: cannot be read: ")


BIG = [
    {
        "messages": [
            {"role": "user", "content": hashlib.sha512(b"%d" % n).hexdigest() * 8},
            {"role": "assistant", "content": "a"},
        ]
    }
    for n in range(40)
]
TAR = in_an_archive(*[row["messages"] for row in BIG])
MIDDLE = TAR.index(b"020.json")
"""Where the header of the file in the middle begins."""


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("train.tar", TAR[:MIDDLE] + b"1" + TAR[MIDDLE + 1 :], "header is wrong"),
        ("train.tar", TAR[:MIDDLE] + bytes(512) + TAR[MIDDLE + 512 :], "overwritten with zeroes"),
        ("train.tar", TAR[:MIDDLE], "cut off there, or its end was never written"),
        ("train.tar", TAR[: MIDDLE + 100], "cut off there, or its end was never written"),
        ("train.tar", TAR[: MIDDLE + 700], "unexpected end of data"),
        ("train.tar", b"<html>", "is no tar archive"),
        ("train.tar.gz", half_of(gzip.compress(TAR)), "cut off"),
        ("train.tar.gz", gzip.compress(TAR)[:-8] + bytes(8), "damaged: CRC"),
        (
            "train.tar.gz",
            gzip.compress(TAR[:MIDDLE]),
            "cut off there, or its end was never written",
        ),
        ("train.tar.bz2", half_of(bz2.compress(TAR)), "cut off"),
        ("train.tar.xz", damaged(lzma.compress(TAR)), "damaged"),
    ],
)
def test_rows_of_an_archive_that_is_damaged_are_not_lost_in_silence(look, name, body, said):
    """Python takes what is no header for an archive's end; the author is told which archive it is and what to do."""
    with Hub("someone/chats", {name: body}) as hub:
        kind, told = look("sources", address=hub.url, splits={"train": "train"})
    assert kind == "DataRejected"
    assert told.startswith(f"hub:someone/chats@{COMMIT}/train/{name}: ")
    assert said in told
    assert "cannot be read" not in told
    assert told.endswith("Pack its files anew to one archive and upload it whole")


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_an_archive_that_is_whole_gives_all_rows(look, pack):
    """Packed or not, whatever its name says of that."""
    with Hub("someone/chats", {"train.tar": pack(TAR)}) as hub:
        found = look(
            "sources", address=hub.url, splits={"train": "train"}, columns={"messages": "json"}
        )
    assert [row["json"] for row in contents(found["train"][1])] == [row["messages"] for row in BIG]


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (TAR[:100] + b"1" + TAR[101:], "DataRejected"),
        (as_tar({"0.json": b"{nonsense"}), "DataRejected"),
        (TAR[:MIDDLE], None),
    ],
)
def test_an_archive_is_told_by_its_own_name(look, first, kind):
    """The library looks into the first for the columns' types, whichever is read; a share of a job reads its own."""
    with Hub("someone/chats", {"train-0.tar": first, "train-1.tar": TAR}) as hub:
        told = look(
            "last", address=hub.url, splits={"train": "train"}, columns={"messages": "json"}
        )
    if kind is None:
        assert len(contents(told)) == len(BIG)
    else:
        assert told[0] == kind
        assert told[1].startswith(f"hub:someone/chats@{COMMIT}/train/train-0.tar: ")


def test_an_archive_whose_connection_breaks_is_not_taken_for_damaged(look):
    """It is taken up where it broke, or something to try again."""
    rows = {"splits": {"train": "train"}, "columns": {"messages": "json"}}
    assert len(TAR) > 1 << 16
    with Hub("someone/chats", {"train.tar": TAR}) as hub:
        hub.breaking = 1
        assert len(contents(look("sources", address=hub.url, **rows)["train"][1])) == len(BIG)
        hub.breaking = 1000
        kind, _ = look("sources", address=hub.url, **rows)
    assert kind == "Unavailable"


def as_zip(members):
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return body.getvalue()


ZIP = as_zip({"a.jsonl": jsonl(*BIG[:20]), "b.jsonl": jsonl(*BIG[20:])})
INSIDE = ZIP.index(b"b.jsonl") + 200
LOCKED = bytearray(ZIP)
LOCKED[6] |= 1  # the flag of the first file, there and in the table of contents
LOCKED[ZIP.index(b"PK\x01\x02") + 8] |= 1


@pytest.mark.parametrize(
    ("body", "place", "said"),
    [
        (half_of(ZIP), "train-1.zip", "is no zip archive, or a damaged or cut off one"),
        (b"", "train-1.zip", "is no zip archive, or an empty, damaged or cut off one"),
        (ZIP[:INSIDE] + damaged(ZIP[INSIDE : INSIDE + 99]) + ZIP[INSIDE + 99 :], None, "damaged"),
        (bytes(4) + ZIP[4:], None, "damaged"),
        (ZIP[:INSIDE] + ZIP[INSIDE + 999 :], None, "damaged"),
        (bytes(LOCKED), None, "is locked with a password"),
    ],
)
def test_a_zip_archive_that_is_damaged_is_told_as_other_files_are(look, body, place, said):
    """By its name, with what to do; before any row is read if its table of contents is not there."""
    with Hub("someone/chats", {"train-0.zip": ZIP, "train-1.zip": body}) as hub:
        kind, told = look("sources", address=hub.url, splits={"train": "train"})
        problems = look("problems", address=hub.url, splits={"train": "train"})
    assert kind == "DataRejected"
    where = f"hub:someone/chats@{COMMIT}/{place or 'train/train-1.zip'}"
    assert told.startswith(f"{where}: {'is' if place else ''}")
    assert said in told
    assert "cannot be read" not in told
    assert "Pack its files anew" in told
    assert [each[0] for each in problems] == ([where] if place else [])


def test_what_is_wrong_in_a_whole_zip_archive_is_not_taken_for_damage(look):
    """A table that is no table is told as in any other file that the library reads."""
    with Hub("someone/chats", {"train.zip": as_zip({"a.parquet": b"PAR1 no more"})}) as hub:
        kind, told = look("sources", address=hub.url, splits={"train": "train"})
    assert kind == "DataRejected"
    assert "train/train.zip: cannot be read: ArrowInvalid" in told


BROKEN_ZIP = ZIP[:60] + damaged(ZIP[60:90]) + ZIP[90:]


def test_a_zip_archive_is_told_by_its_own_name(look):
    """As with the others, the library looks into the first for the columns' types, whichever is read."""
    with Hub("someone/chats", {"train-0.zip": BROKEN_ZIP, "train-1.zip": ZIP}) as hub:
        kind, told = look("last", address=hub.url, splits={"train": "train"})
    assert kind == "DataRejected"
    assert told.startswith(f"hub:someone/chats@{COMMIT}/train/train-0.zip: is no zip archive, or")


def test_rows_of_a_split_take_the_files_of_no_other(look):
    """The library would look into the first split for the columns' types of any."""
    with Hub("someone/chats", {"train.zip": BROKEN_ZIP, "test.zip": ZIP}) as hub:
        splits = {"train": "test"}
        assert len(contents(look("sources", address=hub.url, splits=splits)["train"][1])) == 40


@pytest.mark.parametrize(
    "card",
    [
        "configs:\n- config_name: 5\n  data_files: '*.jsonl'",
        "configs: [5]",
        "configs:\n- config_name: own\n  data_files: '*.jsonl'\n  data_dir: 5",
        "configs:\n- config_name: own\n  data_files: '*.jsonl'\n  features: 5",
        "dataset_info:\n  splits: 5",
        "dataset_info: [5]",
        "configs:\n- data_files: '*.jsonl'",
        "configs:\n- config_name: a/b\n  data_files: '*.jsonl'",
        "configs:\n- config_name: own\n  data_files: '*.jsonl'\n  newlines_in_values: 5",
        "configs: [",
    ],
)
def test_a_card_that_makes_no_sense_rejects_the_data(look, card):
    """It is a problem of the dataset's, and no error of ours."""
    with Hub("someone/chats", {**CHATS, "README.md": f"---\n{card}\n---\n".encode()}) as hub:
        ((place, said, _),) = look("problems", address=hub.url)
    assert place == "dataset.hub"
    assert said.startswith("the card of 'someone/chats' cannot be read: ")


OVERLAPPING = """---
configs:
- config_name: own
  data_files: ['0.jsonl', '*.jsonl*']
---
"""


@pytest.mark.parametrize(
    ("card", "names"),
    [
        (OVERLAPPING, ["0.jsonl", "1.jsonl.bz2"]),
        (OVERLAPPING, ["0.jsonl.bz2", "1.jsonl", "0.jsonl"]),
        (None, ["train-1-train.jsonl", "train-2-train.jsonl.bz2"]),
        (None, ["a-train.jsonl", "train-train.jsonl.bz2"]),
        (None, ["a-train.jsonl.bz2", "train-train.jsonl"]),
    ],
)
def test_every_row_comes_once_from_files_of_two_kinds_that_two_patterns_name(look, card, names):
    """The library counts a file twice that two patterns name; its rows are neither lost nor taken twice."""
    all_rows = [
        {
            "messages": [
                {"role": "user", "content": f"{name} {n}"},
                {"role": "assistant", "content": "a"},
            ]
        }
        for name in names
        for n in range(3)
    ]
    files = {
        name: bz2.compress(jsonl(*all_rows[3 * n : 3 * n + 3]))
        if name.endswith(".bz2")
        else jsonl(*all_rows[3 * n : 3 * n + 3])
        for n, name in enumerate(names)
    }
    if card:
        files["README.md"] = card.encode()
    with Hub("someone/chats", files) as hub:
        found = look("sources", address=hub.url, splits={"train": "train"})
    identities, rows = found["train"]
    assert len(set(identities)) == len(identities) == len(names)
    asked = [row["messages"][0]["content"] for row in contents(rows)]
    assert sorted(asked) == sorted(row["messages"][0]["content"] for row in all_rows)
    for place, line, _ in rows:
        assert json.loads(line)["messages"][0]["content"].split()[0] in place


@pytest.mark.parametrize("most", ["jsonl", "csv", "parquet"])
def test_files_of_several_formats_are_read_each_as_its_own(look, most):
    """The library reads all as of one format, and gives up all for a row; here a bad row costs itself alone."""
    table = "".join(f"q{n},a\n" for n in range(40))
    bodies = {
        "jsonl": (LINES + b"{nonsense\n", 40, ("line", 41, "not_json")),
        "csv": (
            f"prompt,completion\n{table}q,a,more\n".encode(),
            40,
            ("line", 42, "too_many_cells"),
        ),
        "parquet": (
            as_parquet([*ROWS, {"messages": []}]),
            40,
            ("row", 41, "too_few_messages"),
        ),
    }
    files = {f"0.{form}": body for form, (body, _, _) in bodies.items()}
    files[f"1.{most}"] = bodies[most][0]
    card = b"---\nconfigs:\n- config_name: own\n  data_files: ['0.*', '1.*']\n---\n"
    with Hub("someone/chats", {"README.md": card, **files}) as hub:
        found = look("sources", address=hub.url, splits={"train": "train"})
    identities, rows = found["train"]
    assert sorted(identities) == sorted(f"hub:someone/chats@{COMMIT}/{name}" for name in files)
    for name in files:
        _, good, (unit, number, reason) = bodies[name.partition(".")[2]]
        source = f"hub:someone/chats@{COMMIT}/{name}"
        of_it = [row for row in rows if row[0].startswith(source)]
        assert len([row for row in of_it if row[2] is None]) == good
        assert [(row[0], row[2]) for row in of_it if row[2]] == [
            (f"{source} {unit} {number}", reason)
        ]


def test_what_the_library_reads_it_reads_without_the_files_beside(look):
    """A bad row of one that is read without it does not keep it from the others."""
    files = {"train-0.jsonl": b"{nonsense\n" + LINES, "train-1.jsonl.bz2": bz2.compress(LINES)}
    with Hub("someone/chats", files) as hub:
        found = look("sources", address=hub.url, splits={"train": "train"})
    _, rows = found["train"]
    bad = [(place, reason) for place, _, reason in rows if reason]
    assert bad == [(f"hub:someone/chats@{COMMIT}/train-0.jsonl line 1", "not_json")]
    assert len(rows) == 2 * len(ROWS) + 1


def test_a_separator_of_the_card_is_of_the_tables_beside_other_files(look):
    """They come as the library reads them, the others row by row."""
    table = b"prompt;completion\nq0;a\nq1;a\n"
    card = (CARD % ("*.*", "sep: ';'")).replace("'*.*'", "['*.csv', '*.jsonl']").encode()
    files = {"README.md": card, "0.csv": table, "1.csv": table, "2.jsonl": LINES}
    with Hub("someone/chats", files) as hub:
        found = look("sources", address=hub.url, config="own", splits={"train": "train"})
    identities, rows = found["train"]
    assert [identity.endswith(".jsonl") for identity in identities] == [False, False, True]
    table_rows = [{"prompt": f"q{n}", "completion": "a"} for n in range(2)]
    assert contents(rows) == [*table_rows, *table_rows, *ROWS]


def test_a_file_that_two_patterns_name_is_one_source(look):
    """Whether our own readers read the split or the library does."""
    files = {"README.md": OVERLAPPING.encode(), "0.jsonl": LINES, "1.jsonl": LINES}
    with Hub("someone/chats", files) as hub:
        found = look("sources", address=hub.url, splits={"train": "train"})
    identities, rows = found["train"]
    assert identities == [f"hub:someone/chats@{COMMIT}/{n}.jsonl" for n in range(2)]
    assert contents(rows) == ROWS * 2


def test_what_the_library_cannot_read_here_rejects_the_data(look):
    """Rows about pictures want packages that are not there: the author is told, and no error of ours."""
    rows = [{"file_name": f"{n}.png", **ROWS[n]} for n in range(2)]
    files = {"0.png": b"", "1.png": b"", "metadata.jsonl": jsonl(*rows)}
    with Hub("someone/chats", files) as hub:
        kind, said = look("sources", address=hub.url, splits={"train": "train"})
    assert kind == "DataRejected"
    assert "'Pillow'" in said


@pytest.mark.parametrize(
    "elsewhere",
    [
        "{local}",
        "{server}/datasets/someone/chats/resolve/main/train.jsonl",
        "hf://datasets/someone/chats@main/train.jsonl",
    ],
)
def test_a_card_that_names_files_elsewhere_is_refused(look, tmp_path, elsewhere):
    """Neither this machine's files nor a server's are read because a dataset's author wants it."""
    (tmp_path / "secrets.jsonl").write_bytes(LINES)
    with Hub("someone/chats", {}) as hub:
        path = elsewhere.format(local=tmp_path / "secrets.jsonl", server=hub.url)
        hub.files = {"README.md": (CARD % (path, "description: x")).encode(), "train.jsonl": LINES}
        ((place, said, _),) = look("problems", address=hub.url, splits={"train": "train"})
        kind, _ = look("sources", address=hub.url, splits={"train": "train"})
    assert place == "dataset.hub"
    assert kind == "DataRejected"
    assert "not its own" in said


def test_a_gated_dataset_is_told_as_that(look):
    """Everybody sees that it is there; its files are for those who were let in."""
    with Hub("someone/chats", CHATS, token="hf_right", gated=True) as hub:
        assert look("problems", address=hub.url, token="hf_right") == []
        ((place, said, mend),) = look("problems", address=hub.url, token="hf_wrong")
    assert place == "dataset.hub"
    assert "is gated" in said
    assert "DROPTUNE_HUB_TOKEN" in mend


@pytest.mark.parametrize(("gated", "kind"), [(False, "private"), (True, "gated")])
def test_what_only_the_token_reads_is_not_for_a_job(look, gated, kind):
    """The job is given no secret; that is told before there is one. Whatever anybody may read, a job may, too."""
    with Hub("someone/chats", CHATS, token="hf_right", gated=gated) as hub:
        ((place, said, mend),) = look("in a job", address=hub.url, token="hf_right")
    assert place == "dataset.hub"
    assert said.endswith(f"no token for 'someone/chats', which is {kind}")
    assert "dataset.files" in mend
    assert look("in a job", token="hf_right") == look("in a job") == []


def test_a_private_dataset_needs_the_token_of_the_settings(look):
    """Without it, or with another, it does not exist; the token is told nowhere."""
    with Hub("someone/chats", CHATS, token="hf_right") as hub:
        assert look("problems", address=hub.url, token="hf_right") == []
        found = look("sources", address=hub.url, token="hf_right")
        assert contents(found["train"][1]) == ROWS
        ((place, said, _),) = look("problems", address=hub.url, token="hf_wrong")
        assert place == "dataset.hub"
        assert "DROPTUNE_HUB_TOKEN" in said
        ((_, said, _),) = look("problems", address=hub.url)
        assert "or it is private" in said
        kind, said = look("sources", address=hub.url, token="hf_wrong")
        assert kind == "DataRejected"


def test_a_dataset_that_is_a_program_is_refused_and_never_run(look, tmp_path):
    """Nothing of what its author wrote is executed."""
    program = f"open({str(tmp_path / 'ran')!r}, 'w')\n".encode()
    with Hub("someone/chats", {"chats.py": program, "train.jsonl": LINES}) as hub:
        ((place, said, mend),) = look("problems", address=hub.url)
        kind, _ = look("sources", address=hub.url)
    assert place == "dataset.hub"
    assert "is a program" in said
    assert mend
    assert kind == "DataRejected"
    assert not (tmp_path / "ran").exists()


def test_a_dataset_without_rows_is_told(look):
    """A model card alone is no dataset."""
    with Hub("someone/chats", {"README.md": b"# Hello\n"}) as hub:
        ((place, said, _),) = look("problems", address=hub.url)
    assert place == "dataset.hub"
    assert "no files of rows" in said


def test_a_folder_of_that_name_is_not_taken_for_the_dataset(look, tmp_path):
    """The library would rather read a local folder; the manifest's author means the hub."""
    (tmp_path / "someone" / "chats").mkdir(parents=True)
    (tmp_path / "someone" / "chats" / "train.jsonl").write_bytes(b'{"messages": "other"}\n')
    found = look("sources")
    assert contents(found["train"][1]) == ROWS
    ((_, said, _),) = look("problems", hub="../..")
    assert "'../..'" in said


def test_memory_does_not_grow_with_a_row_group(look):
    """A quarter of a gigabyte in one row group; the library would hold it whole."""
    row = {
        "messages": [
            {"role": "user", "content": "q" * 100},
            {"role": "assistant", "content": "a" * 6000},
        ]
    }
    files = {
        "test.parquet": as_parquet([row] * 10),
        "train.parquet": as_parquet([row] * 40_000, row_group_size=1 << 20, use_dictionary=False),
    }
    with Hub("someone/chats", files) as hub:
        size, grown = look("memory", address=hub.url)
    assert size > 240e6
    assert grown < 150e6


def test_memory_does_not_grow_with_an_archive(look):
    """It is read as it streams, a file in it at a time."""
    row = [{"role": "user", "content": "q" * 100}, {"role": "assistant", "content": "a" * 6000}]
    files = {"test.tar": in_an_archive(*[row] * 10), "train.tar": in_an_archive(*[row] * 10_000)}
    with Hub("someone/chats", files) as hub:
        size, grown = look("memory", address=hub.url, columns={"messages": "json"})
    assert size > 60e6
    assert grown < 40e6
