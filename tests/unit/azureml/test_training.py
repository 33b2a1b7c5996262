"""A training process is a child that is ended and taken off the process table."""

from __future__ import annotations

import asyncio
import sys

import psutil

from local.azureml import training


def test_a_process_that_ended_by_itself_is_taken_off_the_process_table():
    """Else its ending would be told as a warning, whenever the garbage collector comes by."""
    process = psutil.Popen([sys.executable, "-c", ""])
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    asyncio.run(training.kill(process))
    assert not psutil.pid_exists(process.pid)
