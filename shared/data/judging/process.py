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

from shared.data.judging.slots import COUNT, LONGEST, Slots, file_of_slots
from shared.data.judging.verdicts import Verdict
from shared.data.lines import Lines
from shared.data.options import VERSION

if TYPE_CHECKING:
    from shared.data.lines import Parsed
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
        process: Who has it; if nobody has and there are no verdicts, whoever reads is to judge it.
        size: Bytes of its lines.
    """

    chunk: Lines | Parsed
    verdicts: list[Verdict] | None = None
    process: JudgeProcess | None = None
    size: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.chunk, Lines):
            self.size = sum(map(len, self.chunk.lines))


class JudgeProcess:
    """Begins a process, which takes cases as soon as it is ready. `end` it.

    If it dies, or is silent for a minute, nobody has its cases any more.

    Args:
        options: How the dataset is prepared.

    Raises:
        OSError: It could not be begun.
        ValueError: There is no telling how to begin it.
    """

    def __init__(self, options: Options) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(list[Verdict]).decode
        told = self._encode([VERSION, asdict(options)])
        if not sys.executable or len(told) > LONGEST:
            raise ValueError("Python's own path is unknown, or the options are too long")
        file = file_of_slots()
        try:
            self._slots = Slots(file)
            # Isolated and without `site`: it is told where modules lie, and is ready sooner. In a session of its own,
            # Ctrl-C does not reach it.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, str(file), *map(str, sys.path)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[file],
                start_new_session=True,
            )
        finally:
            os.close(file)
        assert self._process.stdin
        assert self._process.stdout
        self._asking, self._answers = self._process.stdin, self._process.stdout
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)
        self._ready = self._lost = False
        self._free: list[int] = []
        self._cases: dict[int, Case] = {}
        self._slots.put(0, told)
        self._send(0)

    def ask(self, case: Case) -> bool:
        """Hand a case of lines over, if there is room for it."""
        if not self._free or case.size > LONGEST:
            return False
        if not self._slots.put(self._free[-1], self._encode(case.chunk.lines)):
            return False
        slot = self._free.pop()
        self._cases[slot], case.process = case, self
        self._send(slot)
        return True

    def collect(self) -> None:
        """Take the verdicts that are there."""
        self._collect(0)

    def wait(self) -> None:
        """Take the verdicts on a case at least, unless the process is lost over it."""
        self._collect(_PATIENCE)

    def end(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._asking.close()
        self._answers.close()
        self._slots.close()

    def _send(self, slot: int) -> None:
        with suppress(BrokenPipeError):  # it has ended, which the end of its answers tells
            self._asking.write(bytes((slot,)))

    def _collect(self, patience: float) -> None:
        if self._lost:
            return
        told = self._poll.poll(patience * 1000)
        answers = os.read(self._answers.fileno(), COUNT) if told else b""
        for slot in answers:
            if not self._lost:
                self._take(slot)
        if not answers and (told or patience):
            self._lose()

    def _take(self, slot: int) -> None:
        """What stands in a slot is an answer."""
        if not self._ready:
            self._ready = True
            self._free += range(COUNT)
            return
        self._free.append(slot)
        case = self._cases.pop(slot)
        case.process = None
        message = self._slots.get(slot)
        try:
            case.verdicts = self._decode(message) if message else None
        except msgspec.MsgspecError:
            self._lose()

    def _lose(self) -> None:
        self._lost = True
        self._process.kill()
        status = self._process.wait()
        logger.warning("a process that judged rows ended with status %d; others go on", status)
        self._free.clear()
        for case in self._cases.values():
            case.process = None
        self._cases.clear()
