"""`drop`: upload a manifest, after the data files that it names."""

from __future__ import annotations

import sys
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from rich.console import Console

from local.cli.commands import command
from local.cli.droptune import Droptune
from local.cli.status import show_problems
from shared.cloud.globs import is_glob, matcher, prefix_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PATIENCE = 60.0
"""Seconds to wait for the manifest to become a run."""


class BadDrop(Exception):
    """Something cannot be uploaded; the message lists every reason."""


def drop(state: Path, manifest: Path, further: list[Path]) -> int:
    """Upload `manifest` and its data, and tell which run it became; returns the exit code.

    Raises:
        NotRunning: No stack runs, or it does not answer.
    """
    console = Console(highlight=False, soft_wrap=True)
    droptune = Droptune(state)
    try:
        files = _files(manifest, further)
    except BadDrop as error:
        print(error, file=sys.stderr)
        return 1
    before = {run["id"]: run.get("since") for run in droptune.runs(manifest=manifest.name)}
    for container, name, file in files:
        _upload(droptune.environment, container, name, file)
        console.print(f"{file} → {container}/{name}")
    return _tell(console, droptune, manifest.name, before, state)


def _tell(
    console: Console,
    droptune: Droptune,
    manifest: str,
    before: Mapping[str, str | None],
    state: Path,
) -> int:
    """Wait until the manifest has become a run, and print it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        runs = droptune.runs(manifest=manifest)
        fresh = [run for run in runs if before.get(run["id"], "") != run.get("since")]
        if fresh:
            run = max(fresh, key=lambda one: str(one.get("since")))
            if run["phase"] == "rejected":
                return _tell_rejected(console, droptune, run)
            why = f": {run['why']}" if run.get("why") else ""
            console.print(f"run {run['id']} is {run['phase']}{why}", markup=False)
            console.print(f"Follow it: {command(state, 'status', run['id'])}", markup=False)
            return 0
        time.sleep(0.5)  # nothing tells a client when a run is made
    if before:
        console.print(f"The manifest is unchanged: run {', '.join(before)} stands.")
        return 0
    print(
        f"No run was made of {manifest} within {PATIENCE:g} s; `{command(state, 'status')}` shows "
        f"when there is one, and the logs under {state / 'logs'} what keeps it.",
        file=sys.stderr,
    )
    return 1


def _tell_rejected(console: Console, droptune: Droptune, run: dict[str, Any]) -> int:
    """Print why, one problem a line if there are several."""
    problems = (droptune.run(run["id"]) or {}).get("problems", [])
    why = run.get("why", "") if len(problems) < 2 else f"{len(problems)} problems"  # noqa: PLR2004
    console.print(f"run {run['id']} is rejected: {why}", markup=False)
    if len(problems) > 1:
        show_problems(console, problems)
    return 1


def _files(manifest: Path, further: Iterable[Path]) -> list[tuple[str, str, Path]]:
    """What to upload, the manifest last: container, blob name, file.

    Raises:
        BadDrop: A file is not there. A manifest that cannot be parsed is uploaded all the same:
            Droptune says what is wrong with it.
    """
    problems = [] if manifest.is_file() else [f"{manifest}: there is no such file"]
    found: dict[str, Path] = {}
    for file in further:
        if not file.is_file():
            problems.append(f"{file}: there is no such file")
        found[_blob_name(file)] = file
    if problems:
        raise BadDrop("\n".join(problems))
    for name in _named_files(manifest):
        for path, file in _matching(manifest.parent, name):
            found.setdefault(path, file)
    uploads = [("data", name, file) for name, file in found.items()]
    return [*uploads, ("manifests", manifest.name, manifest)]


def _blob_name(file: Path) -> str:
    """Where a file from the command line goes: its path if relative and below, else its name."""
    path = PurePosixPath(file.as_posix())
    return file.name if path.is_absolute() or ".." in path.parts else str(path)


def _matching(folder: Path, name: str) -> list[tuple[str, Path]]:
    """The files in `folder` that a path or pattern of a manifest stands for, with their blob names."""
    if not is_glob(name):
        return [(name, folder / name)] if (folder / name).is_file() else []
    start = folder / prefix_of(name).rpartition("/")[0]
    files = [(file.relative_to(folder).as_posix(), file) for file in sorted(start.rglob("*"))]
    matches = matcher(name)
    return [(path, file) for path, file in files if matches(path) and file.is_file()]


def _named_files(manifest: Path) -> list[str]:
    """The paths and patterns that the manifest names in the container `data`; not addresses."""
    import yaml

    try:
        body = yaml.safe_load(manifest.read_text())  # JSON is YAML
    except (OSError, ValueError, yaml.YAMLError):
        return []
    if not isinstance(body, dict):
        return []
    dataset, finetune = body.get("dataset"), body.get("finetune")
    files = dataset.get("files") if isinstance(dataset, dict) else None
    deepspeed = finetune.get("deepspeed") if isinstance(finetune, dict) else None
    given = [*_strings(files), *([deepspeed] if isinstance(deepspeed, str) else [])]
    return [
        name
        for name in given
        if "://" not in name
        and not PurePosixPath(name).is_absolute()
        and ".." not in PurePosixPath(name).parts
    ]


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [text for part in value for text in _strings(part)] if isinstance(value, list) else []


def _upload(environment: Mapping[str, str], container: str, name: str, file: Path) -> None:
    from azure.storage.blob import BlobClient, ContentSettings

    kinds = {".json": "application/json", ".yaml": "application/yaml", ".yml": "application/yaml"}
    kind = kinds.get(file.suffix.lower(), "application/octet-stream")
    with (
        BlobClient.from_connection_string(
            environment["AZURE_STORAGE_CONNECTION_STRING"],
            container,
            name,
            connection_verify=environment["REQUESTS_CA_BUNDLE"],
        ) as blob,
        file.open("rb") as content,
    ):
        blob.upload_blob(content, overwrite=True, content_settings=ContentSettings(kind))
