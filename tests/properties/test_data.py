"""Whatever rows people drop: what comes out is fit to train on, nothing is lost in silence."""

# What is expected is stated from the component's own rules and the manifest's documentation, not from the code.

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.data.lines import as_line
from shared.data.prepare import Options, prepare
from shared.data.rows import Reader
from shared.errors import DataRejected
from tests.memory import MemorySink, MemorySource

untimed = settings(deadline=None)  # other work on the machine is no failure
SPLITS = ("train", "validation", "test")
DATA_FILES = ("train.jsonl", "validation.jsonl", "test.jsonl", "dropped.jsonl", "prompts.jsonl")

texts = st.sampled_from(["", " ", "a", "b", 'é\n"', "😀", "\u2028", "x" * 50]) | st.text(
    max_size=5
)
messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(
            ["user", "assistant", "user", "assistant", "system", "tool", "gpt", 1]
        ),
        "content": texts | st.none(),
    },
    optional={"name": st.just("n"), "tool_calls": st.none() | st.just([{}])},
)
tools = st.sampled_from([None, [], "[]", [{"name": "f"}], '[{"name": "f"}]', [{}], 7])
good_rows = st.builds(
    lambda number, spaced: json.dumps(
        {
            "messages": [
                {"role": "user", "content": f"q{number}"},
                {"role": "assistant", "content": "a"},
            ]
        },
        separators=(", ", ": ") if spaced else (",", ":"),
    ).encode(),
    st.integers(0, 60),
    st.booleans(),
)


def sharegpt(question, answer, speakers):
    human, model = speakers
    return {
        "conversations": [{"from": human, "value": question}, {"from": model, "value": answer}]
    }


#: A question and an answer in each shape.
shapes = st.sampled_from(
    [
        lambda q, a: {
            "messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]
        },
        lambda q, a: sharegpt(q, a, ("human", "gpt")),
        lambda q, a: sharegpt(q, a, ("user", "chatgpt")),
        lambda q, a: {"instruction": q, "output": a},
        lambda q, a: {"instruction": q, "output": a, "input": ""},
        lambda q, a: {"prompt": q, "completion": a},
        lambda q, a: {"question": q, "answer": a, "messages": None},
    ]
)
shaped_rows = st.builds(
    lambda shape, number, system, columns: json.dumps(
        shape(f"q{number}", "a") | ({"system": system} if system is not None else {}) | columns
    ).encode(),
    shapes,
    st.integers(0, 60),
    st.sampled_from([None, None, "", "s"]),
    st.dictionaries(
        st.sampled_from(["id", "note", "prompt", "answer", "input", "value"]),
        st.integers()
        | st.floats(allow_nan=False)
        | texts
        | st.none()
        | st.lists(texts, max_size=2),
        max_size=2,
    ),
)
odd_columns = st.dictionaries(
    st.sampled_from(
        [
            "messages",
            "conversations",
            "instruction",
            "input",
            "output",
            "prompt",
            "completion",
            "question",
            "answer",
            "system",
            "tools",
        ]
    ),
    texts
    | st.none()
    | st.integers()
    | st.lists(messages, max_size=3)
    | st.lists(
        st.fixed_dictionaries(
            {"from": st.sampled_from(["human", "gpt", "tool", "system", "who", 1]), "value": texts}
        ),
        max_size=4,
    ),
    max_size=4,
).map(lambda row: json.dumps(row).encode())
odd_rows = st.fixed_dictionaries(
    {"messages": st.lists(messages, max_size=5)}, optional={"tools": tools, "id": st.integers()}
).map(lambda row: json.dumps(row).encode())
foreign_rows = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["messages", "role", "content", "tools", "x"]), inner)
    ),
    max_leaves=8,
).map(lambda row: json.dumps(row).encode())
broken_rows = st.binary(max_size=30) | st.builds(
    lambda row, at, flip: row[: at % (len(row) + 1)] + flip + row[(at + 1) % (len(row) + 1) :],
    good_rows,
    st.integers(0, 200),
    st.sampled_from([b"", b"\xff", b"\x00", b"\\ud800", b'"', b"\r", b"NaN", b"}", b"\n"]),
)
rows = st.lists(
    good_rows | shaped_rows | shaped_rows | odd_rows | odd_columns | foreign_rows | broken_rows,
    max_size=25,
)
endings = st.sampled_from([b"\n", b"\r\n", b"\n\n"])
files = st.builds(
    lambda mark, ending, rows, last: mark + ending.join(rows) + (ending if last else b""),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    endings,
    rows,
    st.booleans(),
)
datasets = st.fixed_dictionaries(
    {"train": st.lists(files, min_size=1, max_size=3)},
    optional={
        "validation": st.lists(files, min_size=1, max_size=2),
        "test": st.lists(files, min_size=1, max_size=2),
    },
)
options = st.builds(
    Options,
    shape=st.sampled_from([None, None, None, "messages", "sharegpt", "question-answer"]),
    system=st.sampled_from([None, "be kind"]),
    keep_columns=st.sampled_from([(), (), ("id",), ("note", "id", "prompt")]),
    percent=st.sampled_from([100, 100, 50, 1]),
    sampling=st.sampled_from(["hash", "hash", "first"]),
    max_dropped_fraction=st.sampled_from([0.05, 1.0]),
    min_train_rows=st.sampled_from([1, 10]),
    seed=st.integers(0, 3),
    max_row_bytes=st.just(1024),
)


@untimed
@given(
    (good_rows | shaped_rows | odd_rows | odd_columns | foreign_rows)
    .map(json.loads)
    .filter(lambda row: isinstance(row, dict)),
    options,
)
def test_a_row_of_values_is_judged_as_its_json_is(row, options):
    assert Reader(options).read(row) == Reader(options).read(as_line(row))


def prepared(dataset, options, block=1 << 16, name="f{}".format):
    sink = MemorySink()
    sources = {
        split: [
            MemorySource(content, f"{split}/{name(number)}", block)
            for number, content in enumerate(contents)
        ]
        for split, contents in dataset.items()
    }
    try:
        prepare(sources, sink, options)
    except DataRejected as error:
        assert error.problems  # noqa: PT017 - a rejection is an answer too, if it says why
    return sink


def trainable(line, options):
    """The component's rules and the chat templates', stated anew: as the training job would see this line.

    Returns what makes it the same row as another.
    """
    row = json.loads(line.decode("utf-8", "strict"), parse_constant=lambda name: 1 / 0)
    for column in options.keep_columns:
        assert isinstance(row.pop(column), str)
    assert set(row) in ({"messages"}, {"messages", "tools"})
    turns = row["messages"]
    assert len(turns) >= 2
    for turn in turns:
        assert set(turn) == {"role", "content"}
        assert isinstance(turn["content"], str)
        assert turn["content"].strip()
        turn["content"].encode("utf-8", "strict")
    roles = [turn["role"] for turn in turns]
    if roles[0] == "system":
        roles.pop(0)
    else:
        assert options.system is None
    assert roles[0] == "user"
    assert roles[-1] == "assistant"
    allowed = {("user", "assistant"), ("assistant", "user")}
    if "tools" in row:
        assert isinstance(row["tools"], list)
        assert row["tools"]
        assert all(isinstance(tool, dict) for tool in row["tools"])
        allowed |= {("assistant", "tool"), ("tool", "tool"), ("tool", "assistant")}
    assert set(pairwise(roles)) <= allowed
    return json.dumps(row, sort_keys=True)


@untimed
@given(datasets, options)
def test_every_row_that_comes_out_can_be_trained_on_and_none_twice(dataset, options):
    sink = prepared(dataset, options)
    lines = [line for split in SPLITS for line in sink.read(f"{split}.jsonl").split(b"\n") if line]
    seen = Counter(trainable(line, options) for line in lines)
    assert set(seen.values()) <= {1}, "a duplicate or a leak remains"


@untimed
@given(datasets, options)
def test_no_row_is_lost_in_silence(dataset, options):
    sink = prepared(dataset, options)
    report = json.loads(sink.read("report.json"))
    rows = sum(
        bool(line.strip())
        for contents in dataset.values()
        for content in contents
        for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    )
    written = sum(len(sink.read(f"{split}.jsonl").splitlines()) for split in SPLITS)
    dropped = len(sink.rows("dropped.jsonl"))
    skipped = sum(given["not_selected"] for given in report["inputs"].values())
    assert written + dropped + skipped == rows
    assert written == sum(split["rows"] for split in report["splits"].values())
    assert dropped == sum(report["dropped"].values())
    for split in SPLITS:
        assert len(sink.read(f"{split}.jsonl")) == report["splits"][split]["bytes"]


@untimed
@given(datasets, options)
def test_each_dropped_row_is_found_where_the_list_says(dataset, options):
    sink = prepared(dataset, options)
    for entry in sink.rows("dropped.jsonl"):
        split, number = entry["source"].split("/f")
        content = dataset[split][int(number)].removeprefix(b"\xef\xbb\xbf")
        line = content.split(b"\n")[entry["line"] - 1]
        assert line[:200].decode(errors="replace").rstrip("\r\ufffd") == entry["row"]
        assert entry["detail"] or entry["reason"] == "wrong_types"


@untimed
@given(datasets, options, st.integers(1, 50))
def test_twice_is_the_same_bytes_whatever_the_blocks(dataset, options, block):
    first, second = prepared(dataset, options), prepared(dataset, options, block)
    for name in DATA_FILES:
        assert first.files[name] == second.files[name]


def outcome(sink, options):
    """What came out of a preparation apart from the order of rows: conversations by split, and reasons."""
    written = {
        split: Counter(
            trainable(line, options) for line in sink.read(f"{split}.jsonl").split(b"\n") if line
        )
        for split in SPLITS
    }
    return written, Counter(row["reason"] for row in sink.rows("dropped.jsonl"))


@untimed
@given(datasets, options, st.randoms())
def test_the_order_of_files_does_not_matter(dataset, options, random):
    """Names decide about the order of reading, so the files are given other names, too."""
    first = prepared(dataset, options)
    shuffled = {split: random.sample(given, len(given)) for split, given in dataset.items()}
    second = prepared(shuffled, options)
    assert outcome(first, options) == outcome(second, options)


@untimed
@given(datasets, options.filter(lambda options: options.sampling == "hash"), st.randoms())
def test_the_order_of_rows_does_not_matter_unless_the_first_are_asked_for(
    dataset, options, random
):
    first = prepared(dataset, options)
    shuffled = {}
    for split, contents in dataset.items():
        lines = [
            line
            for content in contents
            for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        ]
        assume(not any(line.startswith(b"\xef\xbb\xbf") for line in lines))
        random.shuffle(lines)
        cut = random.randint(0, len(lines))
        shuffled[split] = [b"\n".join(lines[:cut]), b"\n".join(lines[cut:])]
    second = prepared(shuffled, options)
    assert outcome(first, options) == outcome(second, options)


@untimed
@given(st.lists(st.tuples(shapes, st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=40))
def test_good_rows_of_every_shape_all_come_out_as_the_same_conversations(given):
    content = b"\n".join(
        json.dumps(shape(f"q{question}", f"a{answer}")).encode()
        for shape, question, answer in given
    )
    sink = prepared({"train": [content]}, Options(max_dropped_fraction=1, min_train_rows=1))
    written = [row["messages"] for split in SPLITS for row in sink.rows(f"{split}.jsonl")]
    assert sorted((row[0]["content"], row[1]["content"]) for row in written) == sorted(
        {(f"q{question}", f"a{answer}") for _, question, answer in given}
    )
    assert {row["reason"] for row in sink.rows("dropped.jsonl")} <= {"duplicate"}


@untimed
@given(rows, rows)
def test_what_becomes_of_a_row_does_not_depend_on_the_rows_before(before, rows):
    reader = Reader()
    for row in before:
        reader.read(row)
    assert [reader.read(row) for row in rows] == [Reader().read(row) for row in rows]


@untimed
@given(rows, st.sampled_from([1, 12.5, 33, 50, 66.6, 99]), st.integers(1, 50))
def test_the_first_rows_are_as_many_as_a_slice_of_the_split_has(rows, percent, block):
    """`datasets` rounds `train[:N%]` to the nearest row, halves to the even one."""
    rows = [row.replace(b"\n", b" ") for row in rows]
    taken = Options(sampling="first", percent=percent, max_dropped_fraction=1, min_train_rows=1)
    sliced = [row for row in rows if row.removeprefix(b"\xef\xbb\xbf").strip()]
    assume(not any(row.startswith(b"\xef\xbb\xbf") for row in rows))
    sliced = sliced[: round(percent * len(sliced) / 100)]
    first = prepared({"train": [b"\n".join(rows)]}, taken, block)
    second = prepared(
        {"train": [b"\n".join(sliced)]}, Options(max_dropped_fraction=1, min_train_rows=1)
    )
    for name in ("train.jsonl", "validation.jsonl", "test.jsonl"):
        assert first.read(name) == second.read(name)


@untimed
@given(st.binary(max_size=3000), st.integers(1, 64))
def test_no_bytes_crash_it(content, block):
    prepared({"train": [content]}, Options(max_row_bytes=1024), block)
