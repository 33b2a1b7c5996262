"""The Functions host is killed in whatever phase: the run ends as if nothing had happened.

In a file of its own, so that `pytest -n` runs it beside its neighbour.
"""

from __future__ import annotations

import pytest

from tests.loop.conftest import KillableStack
from tests.loop.kills import check_it_answers, check_nothing_is_twice, kill_in_each_phase

pytestmark = pytest.mark.timeout(1800)


def test_the_host_may_be_killed_in_every_phase(killable: KillableStack, sdk):
    """SIGKILL of the Functions host, as often as the run is seen to move."""
    droptune, run = kill_in_each_phase(killable, killable.kill_host)
    check_nothing_is_twice(killable, sdk, run)
    check_it_answers(droptune)
