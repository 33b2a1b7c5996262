"""Rows judged by several processes at once: Python runs one thread at a time, and judging is most of the work.

Whoever reads the rows judges them, too, and each chunk for which another process has room is judged there meanwhile.
So nobody waits, no processor is idle while there are rows, and what comes out is the same, in the same order, however
many processes there are. One that dies, for want of memory say, costs speed alone.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from shared.data.judging.process import Case, JudgeProcess
from shared.data.judging.processors import processors
from shared.data.judging.verdicts import Judge
from shared.data.lines import Lines
from shared.errors import DroptuneError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from types import TracebackType

    from shared.data.judging.verdicts import Verdict
    from shared.data.lines import Parsed
    from shared.data.options import Options

logger = logging.getLogger(__name__)

_MOST_PROCESSES: Final = 3
"""More would wait for the one that reads."""
_WORTH: Final = 16 << 20
"""Bytes that are judged here before other processes are begun: they take a tenth of a second to be ready."""
_AHEAD: Final = 16
_AHEAD_BYTES: Final = 8 << 20
"""Chunks, and bytes of them, that may be read before there are verdicts on the oldest."""


class Judges:
    """Judges rows, here and in other processes. A context: the processes end with it.

    Args:
        options: How the dataset is prepared.
        processes: How many others at most; as many as there are processors to spare, up to three, unless said.
        worth: Bytes to be judged here before they are begun.

    Attributes:
        columns_among: As of `shared.data.rows.Reader`.
    """

    def __init__(
        self, options: Options, *, processes: int | None = None, worth: int = _WORTH
    ) -> None:
        self._options = options
        self._most = min(processors() - 1, _MOST_PROCESSES) if processes is None else processes
        self._here = Judge(options)
        self._before_others = worth
        self._processes: list[JudgeProcess] = []
        self.columns_among = self._here.columns_among

    def verdicts(
        self, chunks: Iterable[Lines | Parsed]
    ) -> Generator[tuple[Lines | Parsed, list[Verdict]], None, None]:
        """Each chunk with its verdicts, one for each row, in their order.

        Chunks may be read ahead. A `DroptuneError` that reading them raises is raised after the verdicts on all that
        was read before.
        """
        cases: deque[Case] = deque()
        failures: list[DroptuneError] = []
        for chunk in _until_failure(chunks, failures):
            cases.append(self._begun(chunk))
            while cases and (cases[0].process is None or _far(cases)):
                yield self._settled(cases.popleft())
        while cases:
            yield self._settled(cases.popleft())
        for failure in failures:
            raise failure

    def _begun(self, chunk: Lines | Parsed) -> Case:
        """The case of a chunk: another process has it, or there are verdicts."""
        case = Case(chunk)
        if isinstance(chunk, Lines) and chunk.refusal is None and self._most:
            self._begin_others(case.size)
            for process in self._processes:
                process.collect()
            if any(process.ask(case) for process in self._processes):
                return case
        case.verdicts = self._here.verdicts(chunk)
        return case

    def _settled(self, case: Case) -> tuple[Lines | Parsed, list[Verdict]]:
        while case.process is not None:
            case.process.wait()
        if case.verdicts is None:
            case.verdicts = self._here.verdicts(case.chunk)
        return case.chunk, case.verdicts

    def _begin_others(self, size: int) -> None:
        """Begin the other processes, once there are bytes enough."""
        if self._processes:
            return
        self._before_others -= size
        if self._before_others <= 0:
            try:
                for _ in range(self._most):
                    self._processes.append(JudgeProcess(self._options))
            except (OSError, ValueError) as error:
                self._most = len(self._processes)
                logger.warning("no further process could be begun to judge rows: %s", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.end()


def _far(cases: deque[Case]) -> bool:
    """Whether enough was read ahead."""
    return len(cases) > _AHEAD or sum(case.size for case in cases) > _AHEAD_BYTES


def _until_failure(
    chunks: Iterable[Lines | Parsed], failures: list[DroptuneError]
) -> Iterator[Lines | Parsed]:
    """The chunks that could be read; why there are no more, if that is a failure, is kept."""
    try:
        yield from chunks
    except DroptuneError as error:
        failures.append(error)
