"""Foundation models and the fine-tuning component, as their registries have them."""

from __future__ import annotations

import ast
import functools
import json
import logging
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shared.cloud.failures import failing
from shared.cloud.sdk import registry_client
from shared.errors import Missing
from shared.runs.parameters import Component, Input
from shared.runs.ports import FoundationModel

if TYPE_CHECKING:
    from collections.abc import Mapping

LATEST: Final = "latest"
DEFAULTS_TAG: Final = "model_specific_defaults"

_ASSET = re.compile(
    r"^azureml://registries/(?P<registry>[^/]+)/(?P<kind>[^/]+)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)$"
)
_fetching = threading.Lock()
logger = logging.getLogger(__name__)


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
        matched = _ASSET.match(asset_id)
        if matched is None:
            raise Missing(f"'{asset_id}' is not the id of a component in a registry")
        return cls(matched["registry"], matched["name"], matched["version"])


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
    which = _version_option(reference.version)
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


def foundation_model(registry: str, name: str, version: str) -> FoundationModel:
    """The model version; `latest` is the newest that is not archived.

    Raises:
        Missing: There is none; says what to do.
    """
    models = registry_client(registry).models
    doing = f"fetching the model {name} from {registry}"
    try:
        with failing(doing):
            found = models.get(name, **_version_option(version))
    except Missing as error:
        raise Missing(_absent(registry, name, version)) from error
    except AttributeError as error:  # the SDK, when a listing has no version at all
        raise Missing(_absent(registry, name, version)) from error
    return FoundationModel(
        id=str(found.id),
        name=str(found.name),
        version=str(found.version),
        defaults=defaults_from((found.tags or {}).get(DEFAULTS_TAG), f"{name}:{found.version}"),
    )


def _absent(registry: str, name: str, version: str) -> str:
    if version == LATEST:
        return (
            f"the registry '{registry}' has no model '{name}' that is not archived; choose another "
            "model, or name a version that you know"
        )
    return (
        f"the registry '{registry}' has no version '{version}' of a model '{name}'; "
        "check both, or leave the version at 'latest'"
    )


def _version_option(version: str) -> dict[str, str]:
    return {"label": LATEST} if version == LATEST else {"version": version}


def defaults_from(text: str | None, whose: str = "the model") -> Mapping[str, Any]:
    """The parameters that a model's publisher recommends, out of the model's tag.

    The registry's publishing scripts write dictionaries as JSON and anything else as Python spells it
    (`scripts/azureml-assets/azureml/assets/publish_utils.py` in Azure/azureml-assets), so both are read. What
    is neither is left out, with a warning: the component's own defaults hold.

    >>> defaults_from('{"apply_lora": "true"}') == defaults_from("{'apply_lora': 'true'}")
    True
    """
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found = None
    if isinstance(found, dict):
        return {str(name): value for name, value in found.items()}
    logger.warning("%s: its tag %s is no mapping and is left out", whose, DEFAULTS_TAG)
    return {}
