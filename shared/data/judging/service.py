"""A process that judges rows for another one, until that one has no more or is gone.

It is told by a byte on its standard input which slot of the shared memory holds a chunk's rows, and answers with the
same byte on its standard output once their verdicts lie there instead; an empty message if they are too long for that.
The first message is the options.
"""

from __future__ import annotations

import os
import signal
from typing import Final

import msgspec

from shared.data.judging.slots import COUNT, Slots
from shared.data.judging.verdicts import Judge
from shared.data.lines import Lines
from shared.data.options import Options

_STDIN: Final = 0
_STDOUT: Final = 1


def serve(file: int) -> None:
    """Judge until standard input ends.

    Args:
        file: The descriptor of the shared memory.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks
    encode = msgspec.msgpack.Encoder().encode
    decode = msgspec.msgpack.Decoder(list[bytes]).decode
    slots, judge = Slots(file), None
    while asked := os.read(_STDIN, COUNT):
        for slot in asked:
            if judge is None:
                judge = Judge(Options(**msgspec.msgpack.decode(slots.get(slot))))
            else:
                slots.put(slot, encode(judge.verdicts(Lines(1, decode(slots.get(slot))))))
            os.write(_STDOUT, bytes((slot,)))
