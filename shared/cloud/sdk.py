"""The SDK's clients: one for the workspace and one for each registry, shared by all threads.

azure-ai-ml takes two seconds to import and asks for the cloud's metadata when a client is made, so nothing
here happens before it must. The clients do not try again by themselves: the SDK would sleep for as long as a
server asks, and the reconciler does that better.
"""

from __future__ import annotations

import functools
import logging
import threading
import warnings
from typing import TYPE_CHECKING, Any, Final

from shared.cloud.arm import CONNECT_SECONDS, READ_SECONDS
from shared.cloud.failures import failing
from shared.cloud.storage import credential

if TYPE_CHECKING:
    from shared.cloud.arm import Place

_OPTIONS: Final[dict[str, Any]] = {
    "retry_total": 0,
    "connection_timeout": CONNECT_SECONDS,
    "read_timeout": READ_SECONDS,
    "enable_telemetry": False,
    "show_progress": False,
}
_making = threading.RLock()


def workspace_client(place: Place) -> Any:
    """The `MLClient` of the workspace."""
    with _making, failing("reaching the workspace"):
        return _workspace_client(place)


def registry_client(name: str) -> Any:
    """The `MLClient` of the registry.

    Raises:
        Missing: There is no such registry.
    """
    with _making, failing(f"reaching the registry {name}"):
        return _registry_client(name)


@functools.cache
def _workspace_client(place: Place) -> Any:
    _quiet()
    from azure.ai.ml import MLClient

    return MLClient(credential(), place.subscription, place.group, place.workspace, **_OPTIONS)


@functools.cache
def _registry_client(name: str) -> Any:
    _quiet()
    from azure.ai.ml import MLClient

    return MLClient(credential(), registry_name=name, **_OPTIONS)


def _quiet() -> None:
    """Import the SDK without its chatter, which is about things that its callers cannot mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import azure.ai.ml  # noqa: F401
    logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)
    # It logs every 404 as an error, though it raises it as well.
    telemetry = logging.getLogger("azure.ai.ml._telemetry")
    telemetry.propagate = False
    telemetry.addHandler(logging.NullHandler())
