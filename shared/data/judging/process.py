"""A further process that judges rows, as the one that reads them sees it."""

from __future__ import annotations

import logging
import os
import select
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from shared.data.judging.slots import COUNT, Slots, file_of_slots
from shared.data.judging.verdicts import Verdict

if TYPE_CHECKING:
    from shared.data.lines import Lines, Parsed
    from shared.data.options import Options

logger = logging.getLogger(__name__)

_PATIENCE: Final = 60.0
"""Seconds that it may take for what should take milliseconds."""
_PROGRAM: Final = (
    "import sys; sys.path[:] = sys.argv[2:];"
    " from shared.data.judging.service import serve; serve(int(sys.argv[1]))"
)


@dataclass(slots=True, eq=False)
class Case:
    """A chunk of rows that is being judged.

    Attributes:
        chunk: The rows.
        verdicts: One for each row, once they are there.
        process: Who has it; if nobody has, it is to be judged by the process that asks.
    """

    chunk: Lines | Parsed
    verdicts: list[Verdict] | None = None
    process: JudgeProcess | None = None


class JudgeProcess:
    """Begins a process, which takes cases as soon as it is ready. `end` it.

    If it dies, or is silent for a minute, nobody has its cases any more.

    Args:
        options: How the dataset is prepared.

    Raises:
        OSError: It could not be begun.
    """

    def __init__(self, options: Options) -> None:
        file = file_of_slots()
        try:
            self._slots = Slots(file)
            # Isolated and without `site`: it is told where modules lie, and is ready sooner.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, str(file), *sys.path],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[file],
            )
        finally:
            os.close(file)
        assert self._process.stdin
        assert self._process.stdout
        self._asking, self._answers = self._process.stdin, self._process.stdout
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(list[Verdict]).decode
        self._free: list[int] = []
        self._cases: dict[int, Case] = {}
        self._lost = False
        if self._slots.put(0, self._encode(asdict(options))):
            self._asking.write(b"\0")

    def ask(self, case: Case) -> bool:
        """Hand a case over, if there is room for it."""
        if not self._free or not self._slots.put(self._free[-1], self._encode(case.chunk.lines)):
            return False
        slot = self._free.pop()
        self._cases[slot], case.process = case, self
        with suppress(BrokenPipeError):  # it has ended: its answers tell
            self._asking.write(bytes((slot,)))
        return True

    def collect(self, patience: float = 0) -> None:
        """Take the verdicts that are there; if none are, wait for some for so many seconds."""
        if self._lost:
            return
        ready, _, _ = select.select([self._answers], [], [], patience)
        answers = os.read(self._answers.fileno(), COUNT) if ready else b""
        for slot in answers:
            self._take(slot)
        if not answers and (ready or patience):
            self._lose()

    def wait(self) -> None:
        """Take the verdicts on a case at least, unless the process is lost over it."""
        self.collect(_PATIENCE)

    def end(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._asking.close()
        self._answers.close()
        self._slots.close()

    def _take(self, slot: int) -> None:
        self._free.append(slot)
        case = self._cases.pop(slot, None)
        if case is None:  # it has the options, and is ready
            self._free += range(1, COUNT)
            return
        case.process = None
        if message := self._slots.get(slot):
            case.verdicts = self._decode(message)

    def _lose(self) -> None:
        self._lost = True
        self._process.kill()
        status = self._process.wait()
        logger.warning("a process that judged rows ended with status %d; others go on", status)
        self._free.clear()
        for case in self._cases.values():
            case.process = None
        self._cases.clear()
