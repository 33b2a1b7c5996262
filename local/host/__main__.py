"""`python -m local.host`: run a Functions app.

Exit codes: 0 ended on request, 1 the app does not load or the host cannot start, 3 an invocation
exceeded functionTimeout (start the host again; the real host replaces its worker likewise).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

from local.host.problems import AppRejected
from local.host.settings import read_local_settings


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.settings is not None:
            for name, value in read_local_settings(options.settings).items():
                os.environ.setdefault(name, value)  # the environment wins, as in Core Tools
        # Only now: aiohttp reads SSL_CERT_FILE when it is imported.
        from local.host import host

        code = asyncio.run(
            host.run(
                host.Options(
                    app=options.app.resolve(),
                    port=options.port,
                    state=options.state.resolve(),
                    drain=timedelta(seconds=options.drain),
                    open_to_all=options.no_keys,
                    check_only=options.check,
                )
            )
        )
    except AppRejected as rejected:
        print("[host] The app does not load; none of its functions runs:", flush=True)
        for problem in rejected.problems:
            print(f"[host]   {problem}", flush=True)
        code = 1
    except OSError as error:
        print(f"[host] The host cannot start: {error}", flush=True)
        code = 1
    from local.host.host import leave

    leave(code)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.host", description=__doc__)
    parser.add_argument(
        "--app", type=Path, default=Path(), help="folder with function_app.py and host.json"
    )
    parser.add_argument(
        "--port", type=int, default=7071, help="port on 127.0.0.1; 0 for any (default: 7071)"
    )
    parser.add_argument("--state", type=Path, required=True, help="folder for keys and log")
    parser.add_argument(
        "--settings", type=Path, help="a local.settings.json; the environment wins over it"
    )
    parser.add_argument(
        "--drain",
        type=float,
        default=1.2,
        metavar="SECONDS",
        help="how long running functions may go on after SIGTERM (default: 1.2)",
    )
    parser.add_argument(
        "--no-keys", action="store_true", help="ask for no keys on the app's routes, as func start"
    )
    parser.add_argument(
        "--check", action="store_true", help="load and check the app, tell what is in it, end"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
