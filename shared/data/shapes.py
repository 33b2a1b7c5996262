"""The shapes that rows may have: a closed set, told apart by their columns.

Each row tells its own shape, so that neither the order of rows nor what else is in a file decides
about it; a row that fits no shape, or two, is refused. Where the manifest names the shape, only
that shape's columns are looked at. A column of null counts as absent: table formats give every
row every column.

Besides its own columns a row of any shape may give `tools` (a list, or a JSON text of one) and
`system` (a text that is put first as the system message).
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from shared.data.depth import check_depth

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


class Shape(StrEnum):
    """A shape's name in the manifest."""

    MESSAGES = "messages"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    PROMPT_COMPLETION = "prompt-completion"
    QUESTION_ANSWER = "question-answer"


class Message(msgspec.Struct, gc=False, omit_defaults=True):
    """A message as it is decoded and written; the last two are there to be refused if not null."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: None = None
    function_call: None = None


class Turn(msgspec.Struct, gc=False):
    """A message as ShareGPT has it."""

    speaker: Literal[
        "human",
        "user",
        "gpt",
        "assistant",
        "chatgpt",
        "bing",
        "bard",
        "model",
        "system",
        "tool",
        "function",
        "observation",
    ] = msgspec.field(name="from")
    value: str


#: Who speaks in ShareGPT, by the names that exporters and training tools give them.
SPEAKERS: Final = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}

_ABSENT: Final = msgspec.Raw()
_messages_in = msgspec.json.Decoder(list[Message]).decode
_turns_in = msgspec.json.Decoder(list[Turn]).decode


class Row(msgspec.Struct, gc=False, kw_only=True):
    """A row as decoded, of one of the shapes below; columns that no shape has are skipped."""

    tools: list[dict[str, Any]] | str | None = None
    system: str | None = None

    def conversation(self) -> list[Message]:
        """Its messages, not yet judged.

        Raises:
            msgspec.DecodeError: They are a text that holds no list of messages.
            RecursionError: They are a text that is nested too deeply.
        """
        raise NotImplementedError


class MessagesRow(Row, gc=False, kw_only=True):
    """`messages`: already a conversation, or the JSON text of one."""

    messages: list[Message] | str

    def conversation(self) -> list[Message]:
        """The messages."""
        given = self.messages
        if isinstance(given, str):
            check_depth(given.encode())
            return _messages_in(given)
        return given


class ShareGptRow(Row, gc=False, kw_only=True):
    """`conversations`: turns of `from` and `value`, or the JSON text of them."""

    conversations: list[Turn] | str

    def conversation(self) -> list[Message]:
        """The turns under the roles that chat templates know."""
        given = self.conversations
        if isinstance(given, str):
            check_depth(given.encode())
            given = _turns_in(given)
        return [Message(SPEAKERS[turn.speaker], turn.value) for turn in given]  # type: ignore[arg-type]


class AlpacaRow(Row, gc=False, kw_only=True):
    """`instruction`, `input` (which may be blank or absent) and `output`."""

    instruction: str
    input: str | None = None
    output: str

    def conversation(self) -> list[Message]:
        """The instruction, a blank line and the input as the question."""
        asked = self.instruction
        # A blank instruction is to be refused, not mended by an input.
        if asked and self.input and not (self.input.isspace() or asked.isspace()):
            asked = f"{asked}\n\n{self.input}"
        return [Message("user", asked), Message("assistant", self.output)]


class PromptRow(Row, gc=False, kw_only=True):
    """`prompt` and `completion`."""

    prompt: str
    completion: str

    def conversation(self) -> list[Message]:
        """One question, one answer."""
        return [Message("user", self.prompt), Message("assistant", self.completion)]


class QuestionRow(Row, gc=False, kw_only=True):
    """`question` and `answer`."""

    question: str
    answer: str

    def conversation(self) -> list[Message]:
        """One question, one answer."""
        return [Message("user", self.question), Message("assistant", self.answer)]


ROWS: Final[Mapping[Shape, type[Row]]] = {
    Shape.MESSAGES: MessagesRow,
    Shape.SHAREGPT: ShareGptRow,
    Shape.ALPACA: AlpacaRow,
    Shape.PROMPT_COMPLETION: PromptRow,
    Shape.QUESTION_ANSWER: QuestionRow,
}
"""How each shape is decoded; a required field is a column without which the row is not of the shape."""

#: One column of each shape which rows of other shapes rarely have: while it is absent, so is the shape.
TELLING: Final = {
    Shape.MESSAGES: "messages",
    Shape.SHAREGPT: "conversations",
    Shape.ALPACA: "output",
    Shape.PROMPT_COMPLETION: "completion",
    Shape.QUESTION_ANSWER: "question",
}

#: The column that holds a list of messages, in the shapes that have one.
LISTS: Final = {Shape.MESSAGES: "messages", Shape.SHAREGPT: "conversations"}


#: The columns that a row of each shape must have, and those that it may have, these among them.
REQUIRED: Final[Mapping[Shape, Sequence[str]]] = {
    shape: [field.name for field in msgspec.structs.fields(row) if field.required]
    for shape, row in ROWS.items()
}
COLUMNS: Final[Mapping[Shape, Sequence[str]]] = {
    shape: list(dict.fromkeys([*REQUIRED[shape], *row.__struct_fields__]))
    for shape, row in ROWS.items()
}


def named_shape(shape: str | None, columns: Mapping[str, str]) -> Shape | None:
    """The one shape that the manifest names, by itself or by what its mapping of columns is about.

    Args:
        shape: A shape's name, or None.
        columns: By our name of a column the dataset's name of it.

    Returns:
        The shape, or None where each row is to tell it.

    Raises:
        ValueError: There is no such shape, or the mapping does not suit it; the message says why.
    """
    candidates = [Shape(shape)] if shape else list(Shape)
    suiting = [one for one in candidates if columns.keys() <= set(COLUMNS[one])]
    if not suiting:
        raise ValueError("must be keyed by the columns of one shape: " + _known(candidates))
    read = {name for one in suiting for name in COLUMNS[one]}
    meanings = Counter(columns.get(name, name) for name in read)
    if twice := sorted(name for name, count in meanings.items() if count > 1):
        raise ValueError(f"gives more than one meaning to {', '.join(twice)}")
    return suiting[0] if len(suiting) == 1 else None


def _known(shapes: Collection[Shape]) -> str:
    return "; ".join(f"{shape} has {', '.join(COLUMNS[shape])}" for shape in shapes)


def shapes_of(
    given: Mapping[str, msgspec.Raw], columns: Mapping[str, str], among: Collection[Shape]
) -> list[Shape]:
    """Those of the shapes whose columns a row has.

    Args:
        given: The row's columns and their JSON.
        columns: By our name of a column the dataset's name of it.
        among: The shapes that it may have.
    """
    filled = [name for name, value in given.items() if bytes(value) != b"null"]
    # Without a shape that is filled, one whose columns are there, but null, tells the fault better.
    for present in (filled, given):
        fitting = [
            shape
            for shape in among
            if all(columns.get(name, name) in present for name in REQUIRED[shape])
        ]
        if fitting:
            return fitting
    return []


class Columns:
    """Finds the columns that count in a row of whatever shape, without looking into them.

    Args:
        columns: By our name of a column the dataset's name of it.
        among: The shapes that a row may have.
    """

    def __init__(self, columns: Mapping[str, str], among: Collection[Shape]) -> None:
        read = dict.fromkeys(name for shape in among for name in COLUMNS[shape])
        self._names = [columns.get(name, name) for name in read]
        self._needs = [{columns.get(name, name) for name in REQUIRED[shape]} for shape in among]
        absent: list[Any] = [(name, msgspec.Raw, _ABSENT) for name in read]
        row = msgspec.defstruct("Columns", absent, rename=dict(columns))
        self._decode = msgspec.json.Decoder(row).decode

    def among(self, table: Collection[str]) -> list[str]:
        """Of a table's columns those that count: all of them if they make no shape, to tell that."""
        if any(shape_needs <= set(table) for shape_needs in self._needs):
            return [name for name in table if name in self._names]
        return list(table)

    def of(self, line: bytes) -> dict[str, msgspec.Raw]:
        """The JSON of each column that is there, by the dataset's names.

        Raises:
            ValueError: The line is no JSON object.
            RecursionError: It is nested too deeply.
        """
        values = msgspec.structs.astuple(self._decode(line))
        found = zip(self._names, values, strict=True)
        return {name: value for name, value in found if value is not _ABSENT}
