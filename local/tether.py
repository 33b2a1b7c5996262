"""Run a command that dies with the process that started it.

    python -S -E local/tether.py PARENT_PID COMMAND [ARGUMENT...]

A killed stack cannot end its children. On Linux the kernel can: `PR_SET_PDEATHSIG` (prctl(2))
survives exec, so this sets it and becomes the command. Doing it between fork and exec in the
parent (`preexec_fn`) is not safe in a program with threads. Elsewhere the command simply runs, and
the next start ends what was left.
The signal is SIGTERM: servers close their own children and files.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before the tie was made
            sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 - it is our own command; no shell on purpose
    except OSError as error:
        sys.exit(f"Cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
