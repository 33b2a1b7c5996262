"""A process that judges rows for another one, until that one has no more or is gone.

It is told by a byte on its standard input which slot of the shared memory holds a chunk's rows, and answers with the
same byte on its standard output once their verdicts lie there instead; an empty message if they are too long for that.
The first message is the version of the code that asks, and the options.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

import msgspec

from shared.data.judging.slots import COUNT, Slots
from shared.data.judging.verdicts import Judge
from shared.data.lines import Lines
from shared.data.options import VERSION, Options

_STDIN: Final = 0
_STDOUT: Final = 1
_STDERR: Final = 2


def serve(file: int) -> None:
    """Judge until standard input ends, or at once if the one who asks runs other code.

    Args:
        file: The descriptor of the shared memory.
    """
    answers = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)  # whatever a library prints is no answer
    with suppress(BrokenPipeError):  # the one who asks is gone
        _answer(Slots(file), answers)


def _answer(slots: Slots, answers: int) -> None:
    encode = msgspec.msgpack.Encoder().encode
    decode = msgspec.msgpack.Decoder(list[bytes]).decode
    judge: Judge | None = None
    while asked := os.read(_STDIN, COUNT):
        for slot in asked:
            if judge is None:
                version, options = msgspec.msgpack.decode(slots.get(slot))
                if version != VERSION:
                    return
                judge = Judge(Options(**options))
            else:
                slots.put(slot, encode(judge.verdicts(Lines(1, decode(slots.get(slot))))))
            os.write(answers, bytes((slot,)))
