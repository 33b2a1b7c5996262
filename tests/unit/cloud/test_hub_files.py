"""What of a split's stream belongs to which of its files."""

from __future__ import annotations

import pytest

from shared.cloud import hub_files
from shared.cloud.hub_files import HubStream, Repository


class Rows:
    """As much of a stream of the hub's library as is asked of it."""

    def __init__(self, *shards: list[int]) -> None:
        self._shards = shards
        self.num_shards = len(shards)

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
    files = [
        HubStream(repository, None, "train", f"{place}.arrow", 1, place=place, files=3)
        for place in range(3)
    ]
    assert [b"".join(file.blocks()) for file in files] == wanted
    assert len({file.identity for file in files}) == 3
    assert "hf_secret" not in repr(repository)
