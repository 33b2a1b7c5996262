"""`python -m local.azurite install`."""

from __future__ import annotations

import argparse
import sys

from local.azurite.installation import InstallFailed, install


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m local.azurite",
        description="Azurite, the storage emulator of the laptop stack.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "install", help="install the version that the lock file pins, if it is not there"
    )
    parser.parse_args(arguments)
    try:
        done = install()
    except InstallFailed as error:
        print(error, file=sys.stderr)
        return 1
    print("Azurite is installed." if done else "Azurite is installed already.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
