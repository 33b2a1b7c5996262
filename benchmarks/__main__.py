"""`make bench`: print every figure that the README quotes, or the one that is named."""

from __future__ import annotations

import argparse
import importlib

BENCHMARKS = {
    "cold_start": "importing the app, against importing the packages it is made of",
    "functions_host": "requests through the local Functions host, against none",
    "data_preparation": "rows to files, against the notebook's way",
    "scoring_proxy": "requests through the proxy, against none and against httpx",
}


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", choices=[[], *BENCHMARKS], help="which; all by default")
    for name in parser.parse_args().name or BENCHMARKS:
        print(f"\n{name}: {BENCHMARKS[name]}")
        importlib.import_module(f"benchmarks.{name}").run()


if __name__ == "__main__":
    main()
