"""Ports that nobody else listens on."""

from __future__ import annotations

import random
import socket

# Above the well-known ports and below what operating systems hand out for outgoing connections
# (Linux from 32768, macOS and Windows from 49152): a port kept for the next start stays free.
KEPT_RANGE = range(20_000, 30_000)


def free_port() -> int:
    """A port on 127.0.0.1 that was free a moment ago; for what starts now and stops soon."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_ports(names: list[str]) -> dict[str, int]:
    """A different free port for each name, out of `KEPT_RANGE`; for addresses that are kept.

    Raises:
        OSError: When not enough ports are free there.
    """
    found: dict[str, int] = {}
    candidates = random.sample(KEPT_RANGE, len(KEPT_RANGE))
    for name in names:
        while candidates:
            port = candidates.pop()
            if is_free(port):
                found[name] = port
                break
        else:
            raise OSError(f"No free port is left between {KEPT_RANGE[0]} and {KEPT_RANGE[-1]}.")
    return found


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of 127.0.0.1 right now."""
    with socket.socket() as probe:
        # As servers do: connections of a server that just ended must not count (TIME_WAIT).
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
