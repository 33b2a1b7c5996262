"""How many processors there are for a process to use, whatever the machine has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: Where a container's share of the processors stands: microseconds of each period, and the period's own.
_QUOTAS: Final = (
    ("cpu.max",),  # version 2, https://docs.kernel.org/admin-guide/cgroup-v2.html
    ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),
)


def processors(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """As many as this process may run on and its container has time for; at least one.

    Args:
        groups: Where Linux tells of control groups.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    most = len(affinity(0)) if affinity else os.cpu_count() or 1
    for files in _QUOTAS:
        try:
            quota, period = " ".join((groups / name).read_text() for name in files).split()
            if int(quota) > 0:
                most = min(most, int(quota) // int(period))
        except (OSError, ValueError):
            continue  # no such file, or `max`: there is no bound
    return max(most, 1)
