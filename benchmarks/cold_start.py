"""What a cold start costs: importing the app, against importing the packages it is made of.

Each import is timed in a process of its own, a few times in turn, and the fastest is kept: noise only ever
adds. The ratio is of one run on one machine.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

PACKAGES = (
    "azure.functions",
    "azure.ai.ml",
    "azure.identity",
    "azure.storage.blob",
    "azure.eventgrid",
    "datasets",
    "pandas",
    "mlflow",
)
"""The packages that the app is designed around, as an eager app would import them."""

_TIMED = (
    "import sys, time; started = time.perf_counter(); {imports}; "
    "print(time.perf_counter() - started, len(sys.modules))"
)


@dataclass(frozen=True, slots=True)
class Cold:
    """Seconds and number of modules of an import in a new process."""

    seconds: float
    modules: int


def cold(imports: str, rounds: int) -> Cold:
    """The fastest of `rounds` imports, each in a process of its own."""
    timings = []
    for _ in range(rounds):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _TIMED.format(imports=imports)],
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
            text=True,
        )
        seconds, modules = done.stdout.split()[-2:]
        timings.append(Cold(float(seconds), int(modules)))
    return min(timings, key=lambda timing: timing.seconds)


def run(rounds: int = 5) -> None:
    """Print both imports and their ratio."""
    eager = cold("import " + ", ".join(PACKAGES), rounds)
    app = cold("import function_app", rounds)
    print(f"import the eight packages   {eager.seconds:6.2f} s  {eager.modules:6,} modules")
    print(f"import function_app         {app.seconds:6.2f} s  {app.modules:6,} modules")
    print(f"ratio                       {eager.seconds / app.seconds:6.1f}")


if __name__ == "__main__":
    run()
