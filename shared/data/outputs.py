"""All files of one preparation, open at once, and the counts of what went into them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from shared.data.prompts import MOST_PROMPTS, PROMPTS_FILE, prompt_of
from shared.data.report import ShownMessage, ShownRow
from shared.data.splitting import Carving
from shared.data.tallies import SplitTally
from shared.data.writing import LinesFile, lines_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from shared.data.judging.verdicts import Refused
    from shared.data.options import Options
    from shared.data.ports import Sink
    from shared.data.rows import Example

SPLITS = ("train", "validation", "test")
DROPPED_FILE = "dropped.jsonl"
_SHOWN_EXAMPLES = 3
_SHOWN_MESSAGES = 12
_SHOWN_CHARACTERS = 500


class _Dropped(msgspec.Struct):
    """A line of `dropped.jsonl`; `row` is the beginning of the refused row."""

    source: str
    split: str
    line: int
    reason: str
    detail: str
    row: str


class _Conversation(msgspec.Struct):
    """A written line without its further columns."""

    messages: list[ShownMessage]


class Outputs:
    """Where examples and refused rows go. Made by `outputs_in`.

    Attributes:
        tallies: What each split's file holds so far.
        shown: The first few examples of train, cut short, for the report.
    """

    def __init__(
        self,
        files: dict[str, LinesFile],
        options: Options,
        carved: Sequence[str],
        *,
        settled: bool = False,
    ) -> None:
        self._files = files
        self._carving = carving(options, carved, settled=settled) if carved else None
        self._encode = msgspec.json.Encoder().encode
        self._prompts = 0
        self.tallies = {split: SplitTally(options.token_limit) for split in SPLITS}
        self.shown: list[ShownRow] = []

    def place(self, split: str, examples: Sequence[Example]) -> None:
        """Write examples to their split, or each to the one that the draw of its digest deals it to."""
        if self._carving is None or split != "train":
            self._write(split, examples)
        else:
            self._write_all(self._carving.deal(examples))

    def drop(self, split: str, source: str, number: int, row: Refused) -> None:
        """List a refused row."""
        excerpt = row.excerpt.decode(errors="replace").rstrip("\r\ufffd")
        entry = _Dropped(source, split, number, row.reason.value, row.detail, excerpt)
        self._files["dropped"].add([self._encode(entry)])

    def finish(self) -> None:
        """Write what was held back until all rows were known."""
        if self._carving is not None:
            self._write_all(self._carving.rest())

    def _write_all(self, dealt: Iterable[tuple[str, Sequence[Example]]]) -> None:
        for split, examples in dealt:
            self._write(split, examples)

    def _write(self, split: str, examples: Sequence[Example]) -> None:
        lines = [example.line for example in examples]
        self._files[split].add(lines)
        self.tallies[split].add(examples)
        if split == "test" and self._prompts < MOST_PROMPTS:
            self._keep_prompts(lines)
        elif split == "train" and len(self.shown) < _SHOWN_EXAMPLES:
            self.shown += map(_shown, lines[: _SHOWN_EXAMPLES - len(self.shown)])

    def _keep_prompts(self, lines: Sequence[bytes]) -> None:
        found = (prompt for line in lines if (prompt := prompt_of(line)) is not None)
        kept = list(islice(found, MOST_PROMPTS - self._prompts))
        self._files["prompts"].add(kept)
        self._prompts += len(kept)


def carving(options: Options, carved: Sequence[str], *, settled: bool = False) -> Carving:
    """Deals train's rows out to the splits `carved`."""
    fractions = {"test": options.test_fraction, "validation": options.validation_fraction}
    return Carving({split: fractions[split] for split in sorted(carved)}, settled=settled)


@contextmanager
def outputs_in(sink: Sink, options: Options, carved: Sequence[str]) -> Iterator[Outputs]:
    """Open all files; they become visible when the context ends without an exception.

    Args:
        sink: Where they go.
        options: How the dataset is prepared.
        carved: The splits that train's rows are dealt out to.
    """
    names = {split: f"{split}.jsonl" for split in SPLITS}
    names |= {"dropped": DROPPED_FILE, "prompts": PROMPTS_FILE}
    with ExitStack() as stack:
        files = {key: stack.enter_context(lines_file(sink, name)) for key, name in names.items()}
        outputs = Outputs(files, options, carved)
        yield outputs
        outputs.finish()


def _shown(line: bytes) -> ShownRow:
    row = msgspec.json.decode(line, type=_Conversation)
    first = [
        ShownMessage(message.role, _cut(message.content))
        for message in row.messages[:_SHOWN_MESSAGES]
    ]
    return ShownRow(messages=first, more=len(row.messages) - len(first))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
