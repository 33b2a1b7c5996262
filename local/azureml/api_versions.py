"""The `api-version` of a request: which ones there are, and what an older one shows besides.

The list holds the published versions of Microsoft.MachineLearningServices (Azure/azure-rest-api-specs,
`specification/machinelearningservices`). Bodies have the shape of 2025-12-01 whatever version asks;
the previews up to 2024 show some fields more, which the public recordings of azure-ai-ml
(Azure/azure-sdk-assets) have with those versions and with no later one.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

from local.azureml.wire import PROVIDER, REGION, ArmError, NotEmulated

if TYPE_CHECKING:
    from aiohttp import web

EMULATED = (
    *("2022-02-01-preview", "2022-05-01", "2022-06-01-preview", "2022-10-01-preview"),
    *("2022-10-01", "2022-12-01-preview", "2023-02-01-preview", "2023-04-01-preview"),
    *("2023-04-01", "2023-06-01-preview", "2023-08-01-preview", "2023-10-01"),
    *("2024-01-01-preview", "2024-04-01-preview", "2024-04-01", "2024-07-01-preview"),
    *("2024-10-01-preview", "2024-10-01", "2025-01-01-preview", "2025-04-01-preview"),
    *("2025-04-01", "2025-06-01", "2025-07-01-preview", "2025-09-01", "2025-10-01-preview"),
    *("2025-12-01", "2026-01-15-preview", "2026-03-01", "2026-03-15-preview", "2026-05-01"),
)
"""Versions of the provider since the second generation of its API."""
BEFORE = (
    *("2018-03-01-preview", "2018-11-19", "2019-05-01", "2019-06-01", "2019-11-01", "2020-01-01"),
    *("2020-02-18-preview", "2020-03-01", "2020-04-01-preview", "2020-04-01"),
    *("2020-05-01-preview", "2020-05-15-preview", "2020-06-01", "2020-08-01"),
    *("2020-09-01-preview", "2021-01-01", "2021-03-01-preview", "2021-04-01", "2021-07-01"),
    "2022-01-01-preview",
)
"""Versions that Azure takes and that had other shapes."""
_RESOURCES = (
    *("2025-04-01", "2025-03-01", "2024-11-01", "2024-08-01", "2024-07-01", "2024-03-01"),
    *("2023-07-01", "2022-12-01", "2022-09-01", "2022-06-01", "2022-05-01", "2022-01-01"),
    *("2021-04-01", "2021-01-01", "2020-10-01", "2020-06-01", "2020-01-01", "2019-11-01"),
    *("2019-06-01", "2019-05-01", "2018-05-01", "2018-02-01", "2017-05-10", "2016-09-01"),
    *("2016-06-01", "2015-01-01"),
)
"""Versions of Resource Manager's own requests, such as of a subscription."""
_REGISTRY = ("2021-10-01-dataplanepreview", *EMULATED)
_METRICS = ("2018-01-01", "2019-07-01", "2021-05-01", "2023-10-01", "2024-02-01")
_BATCH = ("2023-05-01-preview", "2023-10-01", "2024-02-01")
_LAST_WITH_PREVIEWS = "2024-12-31"
_FORM = re.compile(r"\d{4}-\d{2}-\d{2}(-[a-z]+)?")
_PROVIDER_PATH = re.compile(rf"/providers/{re.escape(PROVIDER)}/(?P<path>.*)$", re.IGNORECASE)
_METRICS_PATH = re.compile(r"/providers/microsoft\.insights/metrics$", re.IGNORECASE)


def check_api_version(request: web.Request) -> None:
    """Hold a request to an `api-version` that there is.

    Raises:
        ArmError: It is missing, malformed or unknown, as Resource Manager says it.
        NotEmulated: Azure has that version and the emulator has not.
    """
    version = request.query.get("api-version")
    if not version:
        raise ArmError(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    if not _FORM.fullmatch(version):
        raise _invalid(version)
    path = request.path
    if path.startswith("/regional/"):
        _check_emulated(version, _REGISTRY, "a registry")
    elif path.endswith("/metrics:getBatch"):
        _check_emulated(version, _BATCH, "Azure Monitor's metrics batch")
    elif _METRICS_PATH.search(path):
        _check_emulated(version, _METRICS, "Azure Monitor's metrics")
    elif matched := _PROVIDER_PATH.search(path):
        _check_provider(request, version, matched["path"])
    elif version not in _RESOURCES:
        raise _invalid(version)


def _invalid(version: str) -> ArmError:
    return ArmError(
        400,
        "InvalidApiVersionParameter",
        f"The api-version '{version}' is invalid. The supported versions are "
        f"'{','.join(_RESOURCES)}'.",
    )


def _check_emulated(version: str, there: tuple[str, ...], what: str) -> None:
    if version not in there:
        raise NotEmulated(f"api-version {version} of {what} (only {', '.join(there)})")


def _check_provider(request: web.Request, version: str, path: str) -> None:
    if version in BEFORE:
        raise NotEmulated(f"api-version {version} (only those since {EMULATED[0]})")
    if version not in EMULATED:
        supported = ", ".join((*BEFORE, *EMULATED))
        raise ArmError(
            400,
            "NoRegisteredProviderFound",
            f"No registered resource provider found for location '{REGION}' and API version "
            f"'{version}' for type '{_resource_type(request.method, path)}'. The supported "
            f"api-versions are '{supported}'. The supported locations are '{REGION}'.",
        )


def _resource_type(method: str, path: str) -> str:
    """`workspaces/onlineEndpoints` for `workspaces/w/onlineEndpoints/e`; an action has none."""
    parts = path.strip("/").split("/")
    if method == "POST" and len(parts) % 2:
        parts.pop()
    return "/".join(parts[::2])


def shows_previews(request: web.Request) -> bool:
    """Whether the request's version is a preview whose bodies have the fields of `PREVIEWS`."""
    version = request.query.get("api-version", "")
    return version.endswith("-preview") and version < _LAST_WITH_PREVIEWS


def in_version(request: web.Request, body: dict[str, Any], *previews: str) -> dict[str, Any]:
    """A body as the request's version shows it.

    Args:
        request: The request.
        body: The resource with everything that any version shows.
        previews: The properties that only previews show; `outputs.*.pathOnCompute` is that field
            of every output.
    """
    if shows_previews(request):
        return body
    shown = copy.deepcopy(body)
    for path in previews:
        _drop(shown["properties"], path.split("."))
    return shown


def _drop(body: Any, path: list[str]) -> None:
    if not isinstance(body, dict):
        return
    first, rest = path[0], path[1:]
    if not rest:
        body.pop(first, None)
        return
    for inner in body.values() if first == "*" else [body.get(first)]:
        _drop(inner, rest)
