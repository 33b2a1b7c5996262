"""One raw row to one valid example, or to the reason why not.

The fast path decodes with types, judges, and encodes anew: an example has one form on disk, so
that equal conversations are equal bytes whatever the shape, spacing, escapes, order of keys or
further columns of their rows; a row that is already in that form comes out byte for byte. Of a key
that is given twice the last counts, as it does for most parsers, and only it is written.

Rows of one dataset mostly have one shape, so the shape of the row before is tried first, with a
decoder that fails if the row could have another one as well. What fails anywhere is looked at a
second time, slowly: to tell its shape, or to say precisely what is wrong (`diagnosis`). What
becomes of a row never depends on the rows before.

What the training component asks for (its preprocessing is public: Azure/azureml-assets,
`assets/training/finetune_acft_hf_nlp`): a column `messages`, lists of at least two, every one
accepted by the model's chat template; `tools`, when the column is there, in every row and not
empty; all other columns are left out.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec

from shared.data.depth import LEVELS, check_depth
from shared.data.diagnosis import diagnose, fault_of, without_shape
from shared.data.kept import KeptColumns
from shared.data.lines import as_line
from shared.data.options import Options
from shared.data.reasons import Reason, Refusal
from shared.data.shapes import (
    LISTS,
    ROWS,
    TELLING,
    Columns,
    Message,
    Row,
    Shape,
    named_shape,
    shapes_of,
)
from shared.data.splitting import digest_with
from shared.data.turns import TurnPatterns, Turns
from shared.data.values import MOST_TOOL_VALUES, more_values_than

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: A row of text in English has about four bytes to a token; longer UTF-8 sequences (three bytes
#: for a Chinese or Japanese character, most of a token each) keep the rule roughly true elsewhere.
BYTES_PER_TOKEN = 4
#: What a chat template adds around one message: the role's marker, the end marker, a line break.
TOKENS_PER_MESSAGE = 4


class Written(msgspec.Struct, gc=False, omit_defaults=True):
    """A row as it is written."""

    messages: list[Message]
    tools: list[dict[str, Any]] | None = None


class Example(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=0):
    """A valid row.

    Attributes:
        line: Its bytes as written, without the line break.
        digest: 16 bytes that stand for it without kept columns: rows that have them in common are the same.
        turns: The pattern of its roles.
        characters: Code points of content.
        tokens: An estimate of its length in tokens, without the model's tokenizer: a quarter of the UTF-8 bytes of
            content (and tools) as JSON writes them, plus four for each message.
    """

    line: bytes
    digest: bytes
    turns: Turns
    characters: int
    tokens: int


class _Unfit(ValueError):
    """The row is to be looked at again."""


class _Form:
    """How rows of one shape are decoded.

    Attributes:
        shape: The shape.
        messages: What the dataset calls the list of messages, if the shape has one.
        decode: Decodes a row of this shape, whatever other columns it has.
        decode_at_first: The same, but fails if the row might have another shape, too.
        convert_at_first: The same, of a row whose columns are values already.
    """

    def __init__(self, shape: Shape, columns: Mapping[str, str], *, named: bool) -> None:
        row = ROWS[shape]
        own: list[Any] = [
            (field.name, field.type) if field.required else (field.name, field.type, field.default)
            for field in msgspec.structs.fields(row)
        ]
        # Null or absent is all that another shape's telling column may be.
        others = [(f"other_{other.name}", None, None) for other in Shape if other is not shape]
        telling = {f"other_{other.name}": column for other, column in TELLING.items()}
        self.shape = shape
        listed = LISTS.get(shape, "messages")
        self.messages = columns.get(listed, listed)
        whole = _renamed(row, own, columns)
        first = whole if named else _renamed(row, own + others, {**telling, **columns})
        self.decode = msgspec.json.Decoder(whole).decode
        self.decode_at_first = msgspec.json.Decoder(first).decode
        self.convert_at_first = partial(msgspec.convert, type=first)


def _renamed(row: type[Row], fields: list[Any], names: Mapping[str, str]) -> type[Row]:
    named = msgspec.defstruct(
        row.__name__, fields, bases=(row,), rename=dict(names), gc=False, kw_only=True
    )
    return cast("type[Row]", named)


class Reader:
    """Judges rows; holds what is worth keeping from row to row: decoders, encoder, known turns."""

    def __init__(self, options: Options | None = None) -> None:
        options = options or Options()
        self._columns = options.columns
        named = named_shape(options.shape, options.columns)
        shapes = [named] if named else list(Shape)
        self._forms = {
            shape: _Form(shape, options.columns, named=named is not None) for shape in shapes
        }
        self._form = self._forms[shapes[0]]
        self._given = Columns(options.columns, shapes)
        self._system = options.system
        self._keep_columns = options.keep_columns
        self._kept = KeptColumns(options.keep_columns) if options.keep_columns else None
        self._decode_tools = msgspec.json.Decoder(list[dict[str, Any]]).decode
        self._encode = msgspec.json.Encoder().encode
        self._digest = digest_with(options.seed)
        self._patterns = TurnPatterns()
        added = len(self._encode(self._system)) if self._system else 0
        self._flat = 2 * LEVELS - added

    def columns_among(self, table: Sequence[str]) -> list[str]:
        """Of a table's columns those that `read` looks at; what becomes of a row does not depend on the others."""
        read = {*self._given.among(table), *self._keep_columns}
        return [name for name in table if name in read]

    def read(self, given: bytes | dict[str, Any]) -> Example | Refusal | None:
        """Judge one row; None for a blank line. Never raises, whatever the bytes.

        Args:
            given: The row as JSON; or the value of each column by its name, of JSON's own types alone.
        """
        if given == b"":  # far cheaper than to find out by decoding it
            return None
        form = self._form
        try:
            row = (
                form.decode_at_first(self._bounded(given))
                if isinstance(given, bytes)
                else form.convert_at_first(given)
            )
            verdict = self._judge(given, row, form)
            if isinstance(verdict, Refusal):
                _check_depth_of(given)
            return verdict  # noqa: TRY300 - the fast path
        except (ValueError, RecursionError):  # all that msgspec raises is a ValueError
            line = as_line(given)
            if line.isspace():
                return None
            return self._second_look(line)

    def _bounded(self, line: bytes) -> bytes:
        """The row's JSON, of which no key makes more objects than there is room for.

        Raises:
            ValueError: Its tools would, or it is no JSON object.
            RecursionError: It is nested too deeply.
        """
        if len(line) <= MOST_TOOL_VALUES or not more_values_than(MOST_TOOL_VALUES, line):
            return line
        given = self._given.of(line)  # of keys that are given twice the last alone
        if self._too_many_tools(given):
            raise _Unfit
        return self._encode(given)

    def _too_many_tools(self, given: Mapping[str, msgspec.Raw]) -> Refusal | None:
        name = self._columns.get("tools", "tools")
        if name in given and more_values_than(MOST_TOOL_VALUES, bytes(given[name])):
            return _too_many(name)
        return None

    def _second_look(self, line: bytes) -> Example | Refusal:
        try:
            check_depth(line)
            return self._look_again(line)
        except RecursionError:
            return Refusal(Reason.TOO_DEEP, f"more than {LEVELS} levels")

    def _look_again(self, line: bytes) -> Example | Refusal:
        shapes = list(self._forms)
        try:
            given = self._given.of(line)
        except ValueError as error:
            return fault_of(line) or Refusal(Reason.NOT_JSON, str(error))
        if refusal := self._too_many_tools(given):
            return refusal
        fitting = shapes_of(given, self._columns, shapes)
        if not fitting:
            return fault_of(line) or without_shape(line, shapes, self._columns)
        if len(fitting) > 1:
            both = Refusal(Reason.AMBIGUOUS_SHAPE, "it fits " + " and ".join(fitting))
            return fault_of(line) or both
        form = self._forms[fitting[0]]
        try:
            verdict = self._judge(line, form.decode(self._bounded(line)), form)
        except ValueError:
            return fault_of(line) or diagnose(given, form.shape, self._columns)
        self._form = form
        return verdict

    def _judge(self, given: bytes | dict[str, Any], row: Row, form: _Form) -> Example | Refusal:
        messages = row.conversation()
        pattern, characters = "", 0
        for message in messages:
            content = message.content
            if not content or content.isspace():
                raise _Unfit
            pattern += message.role
            characters += len(content)
        tools = None if row.tools is None else self._settled(row.tools, given)
        if isinstance(tools, Refusal):
            return tools
        turns = self._patterns.judge(pattern, messages, tools=tools is not None)
        if isinstance(turns, Refusal):
            return _placed(turns, form)
        if row.system is not None or self._system is not None:
            system = self._system_before(messages[0], row.system)
            if isinstance(system, Refusal):
                return _placed(system, form)
            if system is not None:
                messages.insert(0, Message("system", system))
                characters += len(system)
                turns = self._patterns.judge("system" + pattern, messages, tools=tools is not None)
                assert isinstance(turns, Turns)  # what may be trained on may have a system message
        if turns.trimmed:
            characters -= sum(len(message.content) for message in messages[turns.kept :])
            del messages[turns.kept :]
        return self._example(given, Written(messages, tools), turns, characters)

    def _example(
        self, given: bytes | dict[str, Any], row: Written, turns: Turns, characters: int
    ) -> Example:
        conversation = line = self._encode(row)
        if self._kept is not None:
            line = conversation[:-1] + self._kept.of(as_line(given)) + b"}"
        size = len(conversation) - turns.overhead
        # Beside the contents, which are texts, there are no more levels than there is room for twice as many brackets.
        if row.tools is not None or len(given) - size > self._flat:
            _check_depth_of(given)
        tokens = size // BYTES_PER_TOKEN + TOKENS_PER_MESSAGE * turns.kept
        return Example(line, self._digest(conversation), turns, characters, tokens)

    def _system_before(self, first: Message, column: str | None) -> str | Refusal | None:
        """The system message to be put before the first message, if there is one to be put."""
        given = column if column and not column.isspace() else None
        if first.role != "system":
            return given or self._system
        if given is None or given == first.content:
            return None
        name = self._columns.get("system", "system")
        return Refusal(Reason.SYSTEM_NOT_FIRST, f"messages[0] is system, and {name} gives another")

    def _settled(
        self, tools: list[dict[str, Any]] | str, given: bytes | dict[str, Any]
    ) -> list[dict[str, Any]] | Refusal | None:
        """Tools in one form: a list that is not empty, or nothing.

        Some datasets write the list as a JSON text. The component drops rows whose tools are
        empty.
        """
        # Of a row that is JSON they were counted before they were decoded.
        uncounted = b""
        if isinstance(tools, str):
            uncounted = tools.encode()
        elif not isinstance(given, bytes):
            uncounted = self._encode(tools)
        if more_values_than(MOST_TOOL_VALUES, uncounted):
            return _too_many(self._columns.get("tools", "tools"))
        if isinstance(tools, str):
            text = tools.strip()
            check_depth(uncounted)
            tools = self._decode_tools(text) if text not in ("", "null") else []
        return tools if any(tools) else None


def _check_depth_of(given: bytes | dict[str, Any]) -> None:
    """Raise `RecursionError` if a row is too deep. A table's columns are as deep as their types say."""
    if isinstance(given, bytes):
        check_depth(given)


def _too_many(column: str) -> Refusal:
    return Refusal(Reason.TOO_LONG, f"{column} holds more than {MOST_TOOL_VALUES:,} values")


def _placed(refusal: Refusal, form: _Form) -> Refusal:
    """The refusal with the messages called as the dataset calls them."""
    if form.messages == "messages":
        return refusal
    return refusal._replace(detail=refusal.detail.replace("messages[", f"{form.messages}["))
