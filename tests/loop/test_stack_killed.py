"""Everything is killed in whatever phase: started again, the run ends as if nothing had happened.

In a file of its own, so that `pytest -n` runs it beside its neighbour.
"""

from __future__ import annotations

import pytest

from tests.loop.conftest import KillableStack
from tests.loop.kills import check_it_answers, check_nothing_is_twice, kill_in_each_phase

pytestmark = pytest.mark.timeout(1800)


def test_the_whole_stack_may_be_killed_in_every_phase(killable: KillableStack, sdk):
    """SIGKILL of every process at once, then a new start on the same state."""

    def kill() -> None:
        killable.kill()
        killable.start()

    droptune, run = kill_in_each_phase(killable, kill)
    check_nothing_is_twice(killable, sdk, run)
    check_it_answers(droptune)
