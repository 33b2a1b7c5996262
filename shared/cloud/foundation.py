"""Foundation models as their registries describe them, in the words of before and after June 2026.

Until 2026-06-16 allow-lists, tasks and retirement dates were tags and properties of a model; since then they are
its system metadata (Azure/azureml-assets, commits 0419839803 and 72891e189a), which the SDK does not show. So
the SDK finds the version, and its description is read by REST. What a publisher wrote as a dictionary comes as
JSON, anything else as Python spells it (`scripts/azureml-assets/azureml/assets/publish_utils.py` there).
"""

from __future__ import annotations

import ast
import json
import logging
import os
import threading
from datetime import date
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from shared.assets import LATEST
from shared.cloud.arm import PROVIDER
from shared.cloud.failures import failing
from shared.cloud.registry import version_option
from shared.cloud.sdk import registry_client
from shared.errors import Missing
from shared.runs.ports import FoundationModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.cloud.arm import Arm

DEFAULTS_TAG: Final = "model_specific_defaults"

_DISCOVERY: Final = "https://eastus.api.azureml.ms/"
_DISCOVERY_VARIABLE: Final = "REGISTRY_DISCOVERY_ENDPOINT_URL"
"""The public cloud's address, and what overrides it: azure-ai-ml reads the same variable."""

_VERSION: Final = "2021-10-01-dataplanepreview"
_MOST_VERSIONS: Final = "100"

logger = logging.getLogger(__name__)


class FoundationModels:
    """The models of all registries.

    Args:
        arm: Asks their data planes.
    """

    def __init__(self, arm: Arm) -> None:
        self._arm = arm
        self._places: dict[str, str] = {}
        self._looking = threading.Lock()

    def get(self, registry: str, name: str, version: str) -> FoundationModel:
        """The model version; `latest` is the newest that is not archived.

        Raises:
            Missing: There is none; says what to do.
        """
        models = registry_client(registry).models
        doing = f"fetching the model {name} from {registry}"
        try:
            with failing(doing):
                found = models.get(name, **version_option(version))
        except Missing as error:
            raise Missing(_absent(registry, name, version)) from error
        except AttributeError as error:  # the SDK, when a listing has no version at all
            raise Missing(_absent(registry, name, version)) from error
        path = f"{self._versions(registry, name)}/{quote(str(found.version))}"
        body = self._arm.ask("GET", path, doing, version=_VERSION).body
        return described(registry, name, body)

    def versions(self, registry: str, name: str) -> Sequence[FoundationModel]:
        """Every version, newest first, archived ones too; none when there is no such model.

        Raises:
            Missing: There is no such registry.
        """
        query = {
            "listViewType": "All",
            "$orderBy": "createdtime desc",
            "$top": _MOST_VERSIONS,
        }
        doing = f"listing the versions of the model {name} in {registry}"
        path = self._versions(registry, name)
        page = self._arm.find(path, doing, version=_VERSION, query=query)
        return [described(registry, name, body) for body in (page or {}).get("value") or []]

    def _versions(self, registry: str, name: str) -> str:
        return f"{self._place(registry)}/models/{quote(name)}/versions"

    def _place(self, registry: str) -> str:
        """The address of a registry's assets; it does not change."""
        with self._looking:
            if registry not in self._places:
                base = os.environ.get(_DISCOVERY_VARIABLE) or _DISCOVERY
                address = (
                    f"{base.rstrip('/')}/registrymanagement/v1.0/registries/{quote(registry)}"
                    "/discovery"
                )
                doing = f"looking for the registry {registry}"
                found = self._arm.ask("GET", address, doing, version="").body
                self._places[registry] = (
                    f"{str(found['primaryRegionResourceProviderUri']).rstrip('/')}"
                    f"/mferp/managementfrontend/subscriptions/{quote(found['subscriptionId'])}"
                    f"/resourceGroups/{quote(found['resourceGroup'])}"
                    f"/providers/{PROVIDER}/registries/{quote(registry)}"
                )
            return self._places[registry]


def _absent(registry: str, name: str, version: str) -> str:
    if version == LATEST:
        return f"the registry '{registry}' has no model '{name}' that is not archived"
    return f"the registry '{registry}' has no version '{version}' of a model '{name}'"


def described(registry: str, name: str, body: Mapping[str, Any]) -> FoundationModel:
    """A model version out of its body on the wire."""
    properties = body.get("properties") or {}
    tags, own = properties.get("tags") or {}, properties.get("properties") or {}
    metadata = properties.get("systemMetadata") or {}
    identity, version = str(body.get("id") or ""), str(body["name"])
    if (
        "/versions/" in identity
    ):  # a listing gives the version as `name`, a single read the model's
        version = identity.rpartition("/versions/")[2]
    whose = f"{name}:{version}"
    computes = _mapping(metadata.get("supportedComputes"))
    ends = _mapping(metadata.get("deprecation"))
    return FoundationModel(
        id=identity or f"azureml://registries/{registry}/models/{name}/versions/{version}",
        name=name,
        version=version,
        defaults=defaults_from(tags.get(DEFAULTS_TAG), whose),
        tasks=_tasks(metadata, tags, own),
        train_sizes=_names(
            computes.get("finetuneComputes"), tags.get("finetune_compute_allow_list")
        ),
        serve_sizes=_names(
            computes.get("inferenceComputes"), tags.get("inference_compute_allow_list")
        ),
        archived=bool(properties.get("isArchived")),
        tuning_ends=_date(
            ends.get("finetuneRetirementDate") or tags.get("FinetuneRetirementDate")
        ),
        serving_ends=_date(
            ends.get("inferenceRetirementDate") or tags.get("InferenceRetirementDate")
        ),
    )


def _tasks(
    metadata: Mapping[str, Any], tags: Mapping[str, Any], properties: Mapping[str, Any]
) -> tuple[str, ...] | None:
    """What a model can be fine-tuned for; `None` when its registry says nothing of its tasks."""
    if metadata.get("tasks"):
        return _names(_mapping(metadata["tasks"]).get("fineTuningTasks"))
    told = properties.get("finetuning-tasks")
    if told:
        return _names(told)
    return () if tags.get("task") else None


def literal(text: Any) -> Any:
    """What a publisher wrote into a text: JSON, else a Python literal, else the text itself.

    >>> literal('["a"]') == literal("['a']") == ["a"]
    True
    """
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _mapping(text: Any) -> Mapping[str, Any]:
    found = literal(text)
    return found if isinstance(found, dict) else {}


def _names(*texts: Any) -> tuple[str, ...]:
    """The first of the lists that has something in it; lists also come separated by commas."""
    for text in texts:
        found = literal(text)
        if isinstance(found, str):
            found = found.split(",")
        if isinstance(found, list | tuple):
            names = tuple(str(name).strip() for name in found if str(name).strip())
            if names:
                return names
    return ()


def _date(text: Any) -> date | None:
    try:
        return date.fromisoformat(str(text)[:10])
    except ValueError:
        return None


def defaults_from(text: str | None, whose: str = "the model") -> Mapping[str, Any]:
    """The parameters that a model's publisher recommends, out of the model's tag.

    What is no mapping is left out, with a warning: the component's own defaults hold.

    >>> defaults_from('{"apply_lora": "true"}') == defaults_from("{'apply_lora': 'true'}")
    True
    """
    if not text:
        return {}
    found = literal(text)
    if isinstance(found, dict):
        return {str(name): value for name, value in found.items()}
    logger.warning("%s: its tag %s is no mapping and is left out", whose, DEFAULTS_TAG)
    return {}
