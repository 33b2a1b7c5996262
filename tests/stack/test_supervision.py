"""Services are kept running, and none outlives its supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from local import processes, supervision
from local.ports import KEPT_RANGE, free_port, free_ports, is_free
from local.processes import StartFailed, answers
from local.supervision import Service, Supervisor, end_leftovers, supervisor_runs
from tests.ended import has_ended

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def service(folder, name="one", *extra, port=None, needs=(), **options):
    port = port or free_port()
    url = f"http://127.0.0.1:{port}/healthz"
    made = Service(
        name=name,
        command=[sys.executable, str(HERE / "stand_in.py"), str(port), *extra],
        log=folder / f"{name}.log",
        ready=lambda: answers(url, timeout=1.0) == 200,
        needs=needs,
        **options,
    )
    return made, port


def supervisor(folder, services, told=None):
    return Supervisor(
        services, record=folder / "processes.json", mark=str(folder), folder=ROOT, grace=1.0,
        tell=(told if told is not None else []).append,
    )  # fmt: skip


def eventually(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid):
    try:
        return has_ended(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return True


def test_services_start_in_order_of_need_and_end_together(tmp_path):
    """What needs another starts after it answers; stop leaves neither, nor their children."""
    order = []
    first, port = service(tmp_path, "first", "--child", settle=lambda: order.append("settled"))
    second, _ = service(
        tmp_path, "second", needs=("first",), prepare=lambda: order.append("prepared")
    )
    running = supervisor(tmp_path, [second, first])
    running.start()
    pids = set(running.pids.values())
    children = {p.pid for pid in pids for p in psutil.Process(pid).children(recursive=True)}
    assert order == ["settled", "prepared"]
    assert len(children) == 1
    running.stop()
    assert all(gone(pid) for pid in pids | children)
    assert is_free(port)
    assert not (tmp_path / "processes.json").exists()


def test_a_service_that_dies_is_started_again_and_told_in_a_line(tmp_path):
    """The same command on the same port; the line says how it ended and where its log is."""
    told = []
    one, port = service(tmp_path)
    running = supervisor(tmp_path, [one], told)
    running.start()
    try:
        before = running.pids["one"]
        os.kill(before, signal.SIGKILL)
        eventually(lambda: any("answers again" in line for line in told))
        assert running.pids["one"] != before
        assert answers(f"http://127.0.0.1:{port}/healthz") == 200
    finally:
        running.stop()
    assert "one ended, killed by signal 9; starting it again in 0.5 s" in told[0]
    assert "\n" not in told[0]


def test_restarts_are_spaced_further_and_further_apart(tmp_path, monkeypatch):
    """A service that keeps dying is not started in a tight loop."""
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(supervision, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(supervision, "HEALTHY_AFTER", 3600.0)  # however slowly it is asked to die
    told = []
    one, port = service(tmp_path)
    running = supervisor(tmp_path, [one], told)
    running.start()
    try:
        for expected in ("0.05 s", "0.1 s", "0.2 s", "0.2 s"):
            eventually(lambda: "one" in running.pids and answers(f"http://127.0.0.1:{port}/x"))
            answers(f"http://127.0.0.1:{port}/die")
            eventually(lambda want=expected: any(f"in {want}" in line for line in told))
            told.clear()
    finally:
        running.stop()


def test_a_service_that_cannot_start_ends_everything_and_shows_its_log(tmp_path):
    """One error, with the service's last words; what had started is gone."""
    good, port = service(tmp_path, "good")
    bad = Service(
        name="bad",
        command=[sys.executable, "-c", "import sys; print('no such luck'); sys.exit(7)"],
        log=tmp_path / "bad.log",
        ready=lambda: False,
        needs=("good",),
    )
    with pytest.raises(StartFailed, match=r"(?s)bad ended at once, status 7.*no such luck"):
        supervisor(tmp_path, [good, bad]).start()
    assert is_free(port)


def test_a_service_that_never_answers_is_given_up(tmp_path):
    """Patience has an end."""
    mute, _ = service(tmp_path, patience=0.3)
    never = Service(**{**_fields(mute), "ready": lambda: False})
    with pytest.raises(StartFailed, match=r"did not answer within 0\.3 s"):
        supervisor(tmp_path, [never]).start()


def test_a_service_that_is_not_awaited_holds_up_nobody_and_is_watched_all_the_same(tmp_path):
    """The start is over before it answers; once it does and dies, it is started again."""
    told, opened = [], tmp_path / "open"
    one, port = service(tmp_path, settle=lambda: told.append("settled"), awaited=False)
    shy = Service(**{**_fields(one), "ready": lambda: opened.exists() and one.ready()})
    running = supervisor(tmp_path, [shy], told)
    running.start()
    try:
        assert told == []
        opened.touch()
        eventually(lambda: told == ["settled"])
        eventually(lambda: answers(f"http://127.0.0.1:{port}/x") == 200)
        os.kill(running.pids["one"], signal.SIGKILL)
        eventually(lambda: "one answers again" in told)
    finally:
        running.stop()
    assert told.count("settled") == 1


def _fields(one):
    return {name: getattr(one, name) for name in Service.__slots__}


@contextmanager
def _killed(process):
    try:
        yield
    finally:
        process.kill()


HELD = """
import sys, time
from pathlib import Path
sys.path[:0] = [{root!r}]
from tests.stack.test_supervision import service, supervisor
folder = Path({folder!r})
made, _ = service(folder, "one", "--child", port={port})
supervisor(folder, [made]).start()
print("up", flush=True)
time.sleep(600)
"""


def test_children_end_with_a_killed_supervisor_or_at_the_next_start(tmp_path):
    """SIGKILL leaves at most what the next start ends first."""
    port = free_port()
    code = HELD.format(root=str(ROOT), folder=str(tmp_path), port=port)
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    with holder, _killed(holder):
        assert holder.stdout.readline() == b"up\n"
        record = tmp_path / "processes.json"
        assert supervisor_runs(record)
        pid = json.loads(record.read_text())["services"][0]["pid"]
    assert not supervisor_runs(record)
    if sys.platform == "linux":
        eventually(lambda: gone(pid))
    left = supervision.marked(str(tmp_path))
    assert left, "the stubborn child ignores SIGTERM and has a group of its own"
    one, _ = service(tmp_path, port=port)
    running = supervisor(tmp_path, [one])
    running.start()
    running.stop()
    assert not supervision.marked(str(tmp_path))


def test_leftovers_are_ended_and_strangers_with_their_pid_are_not(tmp_path):
    """A pid counts only together with its start."""
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(sleeper) as left, subprocess.Popen(sleeper) as stranger:
        since = processes.started(psutil.Process(left.pid))
        entries = [
            {"name": "left", "pid": left.pid, "started": since},
            {"name": "stranger", "pid": stranger.pid, "started": since - 3600},
        ]
        record = tmp_path / "processes.json"
        supervisor = {"name": "supervisor", "pid": 1, "started": 0.0}
        record.write_text(json.dumps({"supervisor": supervisor, "services": entries}))
        try:
            assert end_leftovers(record, str(tmp_path)) == ["left"]
            left.wait(60)
            assert stranger.poll() is None
        finally:
            left.kill()
            stranger.kill()
    assert not record.exists()


def test_a_corrected_clock_makes_no_stranger_of_a_process(monkeypatch, tmp_path):
    """Linux derives the boot time anew, and with it every creation time: by a second, or by hours."""
    own, booted = psutil.Process(), psutil.boot_time()
    record = tmp_path / "processes.json"
    started = processes.started(own)
    supervisor = {"name": "supervisor", "pid": own.pid, "started": started}
    record.write_text(json.dumps({"supervisor": supervisor, "services": []}))
    for step in (-7200.0, -1.0, 1.0, 7200.0):
        monkeypatch.setattr("psutil._psplatform.boot_time", lambda step=step: booted + step)
        assert supervisor_runs(record)


def test_kept_ports_differ_and_lie_where_no_outgoing_connection_takes_them():
    """Kept ports stay free between two starts."""
    ports = free_ports([f"{number}" for number in range(20)])
    assert len(set(ports.values())) == 20
    assert all(port in KEPT_RANGE for port in ports.values())
