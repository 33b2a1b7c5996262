"""The job's environment has what its code imports, in the versions that the app has."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from shared import sizes
from shared.cloud import data_jobs

ROOT = Path(__file__).parents[3]


def imports_of(module: str) -> set[str]:
    """What a module imports anywhere but for type checking; modules of `from x import y` as both."""
    path = ROOT / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found: set[str] = set()

    class Visitor(ast.NodeVisitor):
        def visit_If(self, node: ast.If) -> None:
            if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
                self.generic_visit(node)

        def visit_Import(self, node: ast.Import) -> None:
            found.update(name.name for name in node.names)

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            found.update([node.module or "", *(f"{node.module}.{n.name}" for n in node.names)])

    Visitor().visit(ast.parse(file.read_text()))
    return found


def is_ours(name: str) -> bool:
    path = ROOT / Path(*name.split("."))
    return name.startswith("shared") and (path.is_dir() or path.with_suffix(".py").exists())


def reached() -> tuple[set[str], set[str]]:
    """Our modules and the foreign ones that the job's entry leads to."""
    ours, foreign, waiting = set(), set(), ["shared.cloud.data_job"]
    while waiting:
        module = waiting.pop()
        if module in ours:
            continue
        ours.add(module)
        for name in imports_of(module):
            if is_ours(name):
                waiting.append(name)
            elif not name.startswith("shared"):
                foreign.add(name)
    return ours, foreign


def test_every_package_that_the_job_imports_is_required():
    """Whoever reads a new format adds its package to the job's environment."""
    distributions = packages_distributions()
    required = {line.partition("==")[0] for line in data_jobs.REQUIREMENTS}
    _, foreign = reached()
    for name in foreign:
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top == "azure":
            continue
        assert {each.lower().replace("_", "-") for each in distributions[top]} & required, name
    assert {"azure.identity", "azure.storage.blob"} <= foreign
    assert not [name for name in foreign if name.startswith("azure.ai")]


def test_every_module_that_the_job_imports_is_taken_along():
    """And the job does not reach for what submits it."""
    ours, _ = reached()
    parts = {part.removesuffix(".py") for part in data_jobs.PARTS}
    assert {name.split(".")[1] for name in ours if "." in name} <= parts
    assert "shared.cloud.sdk" not in ours


def test_the_versions_are_the_apps():
    """Both are pinned; they must not drift apart."""
    pinned = {
        line.split()[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if line
    }
    assert set(data_jobs.REQUIREMENTS) <= pinned


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0 B", 0),
        ("500 MB", 500 * 10**6),
        ("2 GB", 2 * 10**9),
        ("1.5tb", 1_500_000_000_000),
        ("64 MiB", 1 << 26),
    ],
)
def test_sizes_are_read_as_people_write_them(text, size):
    """With a unit, in any case."""
    assert sizes.parse(text) == size


@pytest.mark.parametrize("text", ["", "2", "2 gigs", "-1 GB", "1,5 GB", "GB"])
def test_what_is_no_size_is_refused(text):
    """With the form that is wanted."""
    with pytest.raises(ValueError, match="number with a unit"):
        sizes.parse(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (2 * 10**9, "2 GB"),
        (2_345_000_000, "2.3 GB"),
        (10**13, "10 TB"),
    ],
)
def test_sizes_are_told_in_the_largest_unit(size, text):
    """To a tenth."""
    assert sizes.spell(size) == text
