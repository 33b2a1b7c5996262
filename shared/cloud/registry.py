"""The fine-tuning component, as its registry has it."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from typing import Any

from shared.assets import LATEST, parse
from shared.cloud.failures import failing
from shared.cloud.sdk import registry_client
from shared.errors import Missing
from shared.runs.parameters import Component, Input

_fetching = threading.Lock()


@dataclass(frozen=True, slots=True)
class ComponentReference:
    """Where the fine-tuning component comes from.

    Attributes:
        registry: Its registry.
        name: Its name.
        version: A version, or `latest` for the newest.
    """

    registry: str = "azureml"
    name: str = "chat_completion_pipeline"
    version: str = LATEST

    @classmethod
    def of_id(cls, asset_id: str) -> ComponentReference:
        """The reference in `azureml://registries/R/components/N/versions/V`.

        Raises:
            Missing: It is no such id.
        """
        try:
            asset = parse(asset_id, "components")
        except ValueError as error:
            raise Missing(str(error)) from error
        return cls(asset.registry, asset.name, asset.version)


def fetched(reference: ComponentReference) -> Any:
    """The SDK's component; one with a version is fetched once in a process.

    Raises:
        Missing: There is no such component, or no such version.
    """
    if reference.version == LATEST:
        return _fetch(reference)
    with _fetching:
        return _fetch_once(reference)


@functools.lru_cache(maxsize=32)
def _fetch_once(reference: ComponentReference) -> Any:
    return _fetch(reference)


def _fetch(reference: ComponentReference) -> Any:
    which = version_option(reference.version)
    components = registry_client(reference.registry).components
    with failing(f"fetching the component {reference.name} from {reference.registry}"):
        return components.get(reference.name, **which)


def component(reference: ComponentReference) -> Component:
    """The component's exact version, and what it says of its own inputs."""
    found = fetched(reference)
    inputs = {name: input_from(given) for name, given in found.inputs.items()}
    return Component(id=str(found.id), version=str(found.version), inputs=inputs)


def input_from(given: Any) -> Input:
    """An input of the SDK's as ours; `Input.default` is given in the input's own type."""
    kind = str(given.type)
    return Input(
        type=kind,
        default=_typed(getattr(given, "default", None), kind),
        enum=tuple(str(value) for value in getattr(given, "enum", None) or ()),
        minimum=_number(getattr(given, "min", None)),
        maximum=_number(getattr(given, "max", None)),
    )


def _number(value: Any) -> float | None:
    return None if value is None or value == "" else float(value)


def _typed(value: Any, kind: str) -> Any:
    """Specifications give defaults as text at times: `"2e-05"` for a number."""
    if not isinstance(value, str):
        return value
    try:
        if kind == "integer":
            return int(value)
        if kind == "number":
            return float(value)
    except ValueError:
        return value
    if kind == "boolean":
        return value.strip().lower() == "true"
    return value


def version_option(version: str) -> dict[str, str]:
    """How the SDK is told a version, or `latest`."""
    return {"label": LATEST} if version == LATEST else {"version": version}
