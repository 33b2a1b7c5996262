"""What an import costs: a function that is only indexed must not pay for Azure's packages."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import shared.cloud

HEAVY = (
    "azure.ai.ml",
    "azure.core",
    "azure.identity",
    "azure.storage",
    "datasets",
    "huggingface_hub",
    "mlflow",
    "pandas",
    "pyarrow",
    "requests",
)


def test_no_module_imports_anything_heavy():
    """Every module of the package, in a process of its own."""
    names = [f"shared.cloud.{found.name}" for found in pkgutil.iter_modules(shared.cloud.__path__)]
    assert len(names) > 10
    program = (
        f"import sys, {', '.join(names)}\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
