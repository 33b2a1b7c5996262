"""What of a split's stream belongs to which of its files."""

from __future__ import annotations

import errno
import gzip
from types import SimpleNamespace

import pytest

from shared.cloud import hub_files
from shared.cloud.hub import commit_in
from shared.cloud.hub_files import HubFile, HubStream, Repository
from shared.errors import DataRejected, Missing, Unavailable


class Rows:
    """As much of a stream of the hub's library as is asked of it."""

    def __init__(self, *shards: list[int]) -> None:
        self._shards = shards
        self.num_shards = len(shards)
        self.config = SimpleNamespace(data_files={})

    def _split_generators(self, manager: object) -> None:
        """What builders have."""

    def as_streaming_dataset(self, split: str) -> Rows:
        assert split == "train"
        return self

    def shard(self, count: int, index: int) -> Rows:
        assert count == self.num_shards
        return Rows(self._shards[index])

    def __iter__(self):
        return ({"n": number} for shard in self._shards for number in shard)


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (Rows([1, 2], [3], []), [b'{"n":1}\n{"n":2}\n', b'{"n":3}\n', b""]),
        # Not streamed file by file: nothing is lost, and nothing comes twice.
        (Rows([1, 2, 3]), [b'{"n":1}\n{"n":2}\n{"n":3}\n', b"", b""]),
    ],
)
def test_every_row_belongs_to_one_file(monkeypatch, rows, wanted):
    """Whether the library tells the files apart or not."""
    monkeypatch.setattr(hub_files, "builder_of", lambda *_: rows)
    repository = Repository("someone/chats", "c0ffee", "hf_secret")
    together = [HubFile(repository, f"{place}.arrow", 1) for place in range(3)]
    files = [HubStream(repository, None, "train", together, place) for place in range(3)]
    assert [b"".join(file.blocks()) for file in files] == wanted
    assert len({file.identity for file in files}) == 3
    assert "hf_secret" not in repr(repository)
    addresses = [f"hf://datasets/someone/chats@c0ffee/{place}.arrow" for place in range(3)]
    assert rows.config.data_files == {"train": addresses}


def test_each_way_to_read_a_file_has_its_own_identity():
    """Folders that are called as configurations and splits are do not make two sources one."""
    repository = Repository("someone/chats", "c0ffee")

    def stream(config: str | None, split: str, path: str) -> HubStream:
        return HubStream(repository, config, split, [HubFile(repository, path, 1)], 0)

    sources = [
        HubFile(repository, "a/train/0.csv", 1),
        HubFile(repository, "train/0.csv", 1),
        stream("a", "train", "0.csv"),
        stream(None, "a", "train/0.csv"),
        stream(None, "train", "0.csv"),
        stream("a;split=train", "train", "0.csv"),
        stream("a", "train;split=train", "0.csv"),
    ]
    assert len({source.identity for source in sources}) == len(sources)
    assert {commit_in(source.identity) for source in sources} == {"c0ffee"}


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (KeyError("rows"), DataRejected),
        (EOFError("cut off"), DataRejected),
        (gzip.BadGzipFile("no gzip"), DataRejected),
        (FileNotFoundError(errno.ENOENT, "no such file"), DataRejected),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Unavailable),
        (OSError(errno.ENOSPC, "the disk is full"), OSError),
        (MemoryError(), MemoryError),
        (Missing("gone"), Missing),
    ],
)
def test_what_the_library_raises_is_the_datas_fault_the_hubs_or_this_machines(
    monkeypatch, raised, told
):
    """A file is never given up for good because of a connection, or of a disk that is full."""

    def builder_of(*_: object) -> Rows:
        raise raised

    monkeypatch.setattr(hub_files, "builder_of", builder_of)
    repository = Repository("someone/chats", "c0ffee")
    file = HubStream(repository, None, "train", [HubFile(repository, "0.arrow", 1)], 0)
    with pytest.raises(told) as caught:
        list(file.blocks())
    assert type(caught.value) is told
    if told is DataRejected:
        (problem,) = caught.value.problems
        assert problem.place == file.name
        assert type(raised).__name__ in problem.reason
