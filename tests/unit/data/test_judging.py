"""Rows are judged alike wherever they are judged, and another process costs nothing but its start."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar

import msgspec
import psutil
import pytest

from shared.data import prepare as preparing
from shared.data import selection
from shared.data.judging import judges as dealing
from shared.data.judging import process as handle
from shared.data.judging.judges import Judges
from shared.data.judging.process import Case
from shared.data.judging.processors import processors
from shared.data.judging.slots import COUNT, LONGEST, Slots, file_of_slots
from shared.data.judging.verdicts import Judge, Refused
from shared.data.lines import Lines, Parsed
from shared.data.options import Options
from shared.data.prepare import prepare
from shared.data.reasons import Reason, Refusal
from shared.data.rows import Example
from shared.errors import DataRejected, Problem
from tests.memory import MemorySink, MemorySource, conversation, conversations, jsonl
from tests.unit.data.rows_of_bytes import MemoryFile

ROOT = Path(__file__).parents[3]
OPTIONS = Options(system="be kind", keep_columns=["id"], columns={}, seed=7)
ROWS = [json.dumps(row).encode() for row in conversations(7)]
ODD = [b"", b" ", b"x", b"\xff", b"[1]", json.dumps(conversation("q", "")).encode(), b'{"id": 1}']


def chunks(count, rows=3):
    """So many chunks of rows and odd lines, numbered through."""
    lines = (ROWS + ODD) * (count * rows // 14 + 1)
    return [
        Lines(1 + rows * number, lines[rows * number : rows * number + rows])
        for number in range(count)
    ]


def here(given, options=OPTIONS):
    judge = Judge(options)
    return [(chunk, judge.verdicts(chunk)) for chunk in given]


def begun(judges):
    """Wait until the other processes are ready."""
    judges._begin_others(0)
    for process in judges._processes:
        process.wait()


@contextmanager
def with_others(processes=1, options=OPTIONS):
    """Judges whose other processes are ready, and do some of the work."""
    with Judges(options, processes=processes, worth=0) as judges:
        begun(judges)
        answers = [noted_answers(process) for process in judges._processes]
        yield judges
        assert any(answers) or not processes, "everything was judged here"


def noted_answers(process):
    """The slots whose answers it gives from now on."""
    noted, take = [], process._take
    process._take = lambda slot: (noted.append(slot), take(slot))
    return noted


@pytest.fixture
def others():
    """Judges with another process that is ready."""
    with Judges(OPTIONS, processes=1, worth=0) as judges:
        begun(judges)
        yield judges


def nobody_here(monkeypatch, judges):
    """Let rows be judged elsewhere or not at all."""
    for process in judges._processes:
        while process._cases:
            process.wait()
    monkeypatch.setattr(judges, "_here", None)


def test_another_process_judges_as_this_one(monkeypatch, others):
    nobody_here(monkeypatch, others)
    given = chunks(COUNT)
    assert list(others.verdicts(given)) == here(given)
    kinds = {type(verdict) for _, verdicts in here(given) for verdict in verdicts}
    assert kinds == {Example, Refused, type(None)}


@pytest.mark.parametrize("processes", [0, 1, 3])
def test_verdicts_come_in_the_order_of_the_rows_however_many_processes_there_are(processes):
    given = chunks(400)
    with with_others(processes) as judges:
        assert list(judges.verdicts(given)) == here(given)


def test_rows_that_have_values_already_and_refused_ones_are_judged_in_their_places():
    given = [
        Lines(1, ROWS[:1]),
        Parsed(2, [conversation("q", "a"), conversation("q")]),
        Lines(4, [b"{"], Refusal(Reason.TOO_LONG, "5 GB")),
        Lines(5, ROWS[1:2]),
    ]
    with with_others() as judges:
        assert list(judges.verdicts(given)) == here(given)


def test_rows_too_long_for_the_shared_memory_are_judged_here():
    given = [
        Lines(1, [json.dumps(conversation("q" * 1_500_000, "a")).encode()]),
        Lines(
            2, [b"x"] * (1 << 19)
        ),  # shorter than the memory, but not with what tells their lengths
        *chunks(10),
    ]
    with with_others() as judges:
        assert list(judges.verdicts(given)) == here(given)


def test_verdicts_too_long_for_the_shared_memory_are_made_here():
    options = Options(system="s" * 200_000)
    given = [Lines(1, ROWS)] * 9
    with with_others(options=options) as judges:
        assert list(judges.verdicts(given)) == here(given, options)


def nested(levels):
    return ROWS[0][:-1] + b', "more": ' + b"[" * levels + b"]" * levels + b"}"


@pytest.mark.parametrize("options", [Options(), OPTIONS])
def test_how_deep_a_row_may_be_is_the_same_in_another_process(monkeypatch, options):
    given = [Lines(1, [nested(levels) for levels in [*range(480, 520), *range(960, 1020)]])]
    ((_, expected),) = here(given, options)
    assert {type(verdict) for verdict in expected} == {Example, Refused}
    with with_others(options=options) as judges:
        nobody_here(monkeypatch, judges)
        assert list(judges.verdicts(given)) == [(given[0], expected)]


@contextmanager
def stopped(process):
    """Let it keep what it has."""
    process.suspend()
    try:
        yield
    finally:
        if process.is_running():
            process.resume()


def the_process(judges):
    (process,) = judges._processes
    return psutil.Process(process._process.pid)


def held_by_another(judges, given, then):
    """The verdicts, when `then` happens while another process has some chunks."""

    def disturbed():
        yield from given[:COUNT]
        then()
        yield from given[COUNT:]

    return list(judges.verdicts(disturbed()))


def test_a_process_that_is_killed_costs_no_row_and_is_told_once(others, caplog):
    given, process = chunks(80), the_process(others)
    with stopped(process):
        found = held_by_another(others, given, process.kill)
    assert found == here(given)
    assert [record.message for record in caplog.records] == [
        "a process that judged rows ended with status -9; others go on"
    ]
    assert list(others.verdicts(given)) == here(given)


def test_a_process_that_died_while_it_had_nothing_to_do_costs_no_row(others):
    process = the_process(others)
    process.kill()
    process.wait()
    assert list(others.verdicts(chunks(9))) == here(chunks(9))


def test_a_process_that_dies_between_two_looks_at_it_costs_no_row(others):
    process, case = the_process(others), Case(chunks(1)[0])
    process.kill()
    process.wait()
    assert others._processes[0].ask(case)
    others._processes[0].wait()
    assert case.verdicts is None
    assert case.process is None


def test_a_process_that_is_silent_is_given_up(monkeypatch, others):
    monkeypatch.setattr(handle, "_PATIENCE", 0.05)
    given, process = chunks(9), the_process(others)
    with stopped(process):
        assert list(others.verdicts(given)) == here(given)
    assert not process.is_running()


def test_where_no_process_can_be_begun_rows_are_judged_here(monkeypatch, caplog):
    def refused(*_args, **_more):
        raise OSError("too many processes")

    monkeypatch.setattr(handle.subprocess, "Popen", refused)
    given = chunks(9)
    with Judges(OPTIONS, processes=2, worth=0) as judges:
        assert list(judges.verdicts(given)) == here(given)
    assert [record.message for record in caplog.records] == [
        "no further process could be begun to judge rows: too many processes"
    ]


def test_few_rows_are_not_worth_another_process(monkeypatch):
    begun = []
    monkeypatch.setattr(dealing, "JudgeProcess", begun.append)
    with Judges(OPTIONS, processes=1) as judges:
        list(judges.verdicts(chunks(50)))
    assert not begun


def test_one_processor_is_worth_no_other_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    with Judges(OPTIONS, worth=0) as judges:
        list(judges.verdicts(chunks(9)))
        assert not judges._processes


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "350000 100000\n"}, 3),
        ({"cpu.max": "25000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu.max": "what\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
    ],
)
def test_a_container_has_the_processors_that_it_is_given_time_for(
    monkeypatch, tmp_path, files, found
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert processors(tmp_path) == found


def test_what_cannot_be_read_is_told_after_the_rows_before_it(others):
    def damaged():
        yield from chunks(6)
        raise DataRejected([Problem("a.jsonl.gz", "is cut off", "Upload it again")])

    found = []
    with pytest.raises(DataRejected, match="cut off"):
        found.extend(others.verdicts(damaged()))  # extend keeps nothing of what fails
    reading = others.verdicts(damaged())
    found = [next(reading) for _ in range(6)]
    assert found == here(chunks(6))
    with pytest.raises(DataRejected, match="cut off"):
        next(reading)


def read_ahead(judges, given):
    """How many chunks were read before a process that stands still was given up over the first."""
    read = []

    def noted():
        for chunk in given:
            read.append(chunk)
            yield chunk

    reading = judges.verdicts(noted())
    with stopped(the_process(judges)):
        next(reading)
    return len(read)


def test_reading_runs_ahead_of_a_slow_process_by_a_few_chunks_only(monkeypatch, others):
    monkeypatch.setattr(handle, "_PATIENCE", 0.05)
    assert COUNT < read_ahead(others, chunks(200)) < 20


def test_reading_runs_ahead_of_a_slow_process_by_a_few_megabytes_only(monkeypatch, others):
    monkeypatch.setattr(handle, "_PATIENCE", 0.05)
    long = json.dumps(conversation("q" * 3_000_000, "a")).encode()
    assert read_ahead(others, [*chunks(1), *[Lines(4, [long])] * 20]) == 4


def test_what_a_lost_process_had_is_judged_before_more_is_read(others):
    """Else what was read would pile up behind it."""
    read, process = [], the_process(others)

    def noted():
        for chunk in chunks(100):
            if len(read) == COUNT:
                process.kill()
                process.wait()
            read.append(chunk)
            yield chunk

    with stopped(process):
        next(others.verdicts(noted()))
    assert len(read) == COUNT + 1


def test_whoever_stops_in_the_middle_may_go_on_with_other_rows(monkeypatch, others):
    for _ in range(3):
        reading = others.verdicts(chunks(30))
        next(reading)
        reading.close()
    nobody_here(monkeypatch, others)
    given = chunks(COUNT)
    assert list(others.verdicts(given)) == here(given)


def test_no_process_is_left_behind():
    with Judges(OPTIONS, processes=2, worth=0) as judges:
        begun(judges)
        processes = [psutil.Process(process._process.pid) for process in judges._processes]
        assert all(process.is_running() for process in processes)
    assert not any(process.is_running() for process in processes)


def test_ctrl_c_does_not_reach_another_process(others):
    assert os.getsid(the_process(others).pid) != os.getsid(0)


def test_another_process_is_waited_for_though_many_files_are_open():
    """Where `select` gives up."""
    with ExitStack() as stack:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1030):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        with with_others() as judges:
            assert list(judges.verdicts(chunks(9))) == here(chunks(9))


@pytest.mark.parametrize("message", [b"\xc1", msgspec.msgpack.encode([[7, "x"]])])
def test_an_answer_that_cannot_be_understood_costs_no_row(monkeypatch, others, message):
    monkeypatch.setattr(others._processes[0]._slots, "get", lambda _: message)
    process = the_process(others)
    assert list(others.verdicts(chunks(9))) == here(chunks(9))
    assert not process.is_running()


def test_a_process_that_runs_other_code_judges_nothing(monkeypatch, caplog):
    monkeypatch.setattr(handle, "VERSION", 0)
    with Judges(OPTIONS, processes=1, worth=0) as judges:
        begun(judges)
        assert not judges._processes[0].ask(Case(chunks(1)[0]))
    assert [record.message for record in caplog.records] == [
        "a process that judged rows ended with status 0; others go on"
    ]


@pytest.mark.parametrize("executable", [None, "", "/nowhere/python"])
def test_where_python_is_not_found_rows_are_judged_here(monkeypatch, caplog, executable):
    monkeypatch.setattr(sys, "executable", executable)
    with Judges(OPTIONS, processes=1, worth=0) as judges:
        assert list(judges.verdicts(chunks(9))) == here(chunks(9))
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_options_too_long_to_be_told_leave_all_rows_here():
    options = Options(system="s" * (1 << 20))
    with Judges(options, processes=1, worth=0) as judges:
        assert list(judges.verdicts(chunks(2))) == here(chunks(2), options)
        assert not judges._processes


def test_modules_are_found_wherever_this_process_finds_them(monkeypatch):
    monkeypatch.setattr(sys, "path", [Path("/nowhere"), *sys.path])
    with with_others() as judges:
        assert list(judges.verdicts(chunks(9))) == here(chunks(9))


def test_what_is_printed_in_another_process_is_no_answer(monkeypatch):
    program = handle._PROGRAM.replace(
        "serve(int",
        "import os; dup2 = os.dup2; os.dup2 = lambda *fds: (dup2(*fds), os.write(1, b'hello')); serve(int",
    )
    monkeypatch.setattr(handle, "_PROGRAM", program)
    with with_others() as judges:
        assert list(judges.verdicts(chunks(9))) == here(chunks(9))


READER = """
import sys
from shared.data.judging.judges import Judges
from shared.data.lines import Lines
from shared.data.options import Options

with Judges(Options(), processes=1, worth=0) as judges:
    list(judges.verdicts([Lines(1, [b""])]))
    print(judges._processes[0]._process.pid, flush=True)
    sys.stdin.read()
"""


def test_a_process_ends_when_the_one_who_reads_is_killed():
    reader = subprocess.Popen(
        [sys.executable, "-c", READER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with reader:
        process = psutil.Process(int(reader.stdout.readline()))
        reader.kill()
    gone, _ = psutil.wait_procs([process], timeout=60)
    assert gone == [process]


def test_a_message_that_does_not_fit_is_told_and_leaves_an_empty_one():
    file = file_of_slots()
    slots, others_view = Slots(file), Slots(file)
    os.close(file)
    largest = (1 << 20) - 4
    for number in range(COUNT):
        assert slots.put(number, bytes([number]) * largest)
    assert [others_view.get(number) for number in range(COUNT)] == [
        bytes([number]) * largest for number in range(COUNT)
    ]
    assert not slots.put(1, b"x" * (largest + 1))
    assert [len(others_view.get(number)) for number in range(COUNT)] == [
        largest,
        0,
        largest,
        largest,
    ]
    slots.close()
    others_view.close()


class ReadyJudges(Judges):
    """Judges that wait for another process at their beginning, and note whether it judged."""

    answers: ClassVar[list] = []

    def __init__(self, options):
        super().__init__(options, processes=1, worth=0)
        begun(self)
        self.answers.append(noted_answers(self._processes[0]))


def prepared(sources, options):
    """All that a preparation writes, the seconds aside, and what it is rejected for."""
    sink, problems = MemorySink(), []
    try:
        prepare(sources, sink, options)
    except DataRejected as error:
        problems = error.problems
    told = json.loads(sink.files.get("report.json", b"{}")) | {"seconds": None}
    return sink.files | {"report.html": None, "report.json": told}, problems


MIXED = jsonl(*conversations(300), *ODD, *conversations(90, start=250), b"", b"{")
SOURCES = {
    "of one file": {"train": [MemorySource(MIXED, block=999)]},
    "with leaks": {
        "train": [MemorySource(MIXED, block=999), MemorySource(MIXED, "data/b.jsonl", block=5000)],
        "test": [MemorySource(jsonl(*conversations(40)), "data/t.jsonl", block=999)],
    },
    "hopeless": {"train": [MemorySource(MIXED + b"{\n" * 9000, block=99)]},
    "hopeless, then damaged": {
        "train": [MemoryFile(gzip.compress(MIXED + b"{\n" * 9000)[:-40], "a.jsonl.gz")]
    },
}


@pytest.mark.parametrize("sources", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize(
    "options", [Options(), Options(percent=50, sampling="first")], ids=["all", "first"]
)
def test_a_dataset_is_prepared_alike_however_many_processes_judge_its_rows(
    monkeypatch, sources, options
):
    monkeypatch.setattr(selection, "PATIENCE", 2048)
    expected = prepared(sources, options)
    monkeypatch.setattr(preparing, "Judges", ReadyJudges)
    monkeypatch.setattr(ReadyJudges, "answers", [])
    assert prepared(sources, options) == expected
    assert all(ReadyJudges.answers) or "train.jsonl" not in expected[0]


def test_verdicts_fit_into_the_shared_memory_however_long_the_system_message_is(monkeypatch):
    """Else each row would be judged twice."""
    longest, verdicts = [], Judges.verdicts

    def noted(judges, chunks):
        for chunk, found in verdicts(judges, chunks):
            longest.append(len(msgspec.msgpack.encode(found)))
            yield chunk, found

    monkeypatch.setattr(Judges, "verdicts", noted)
    source = MemorySource(jsonl(*conversations(3000)), block=1 << 20)
    prepare({"train": [source]}, MemorySink(), Options(system="s" * 2000))
    assert len(longest) > 1
    assert max(longest) < LONGEST


def test_options_reach_the_other_process_whole():
    options = Options(
        shape="alpaca", columns={"instruction": "ask"}, seed=2**64 - 1, keep_columns=["ü"]
    )
    rows = [json.dumps({"ask": "q", "output": "a", "ü": 1}).encode()]
    with with_others(options=options) as judges:
        assert list(judges.verdicts([Lines(1, rows)])) == here([Lines(1, rows)], options)
    assert isinstance(here([Lines(1, rows)], options)[0][1][0], Example)
