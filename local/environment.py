"""The variables that point SDKs at the stack, and the Functions host's app settings."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from local.azurite import connection_string

if TYPE_CHECKING:
    from pathlib import Path

    from local.kept import Kept

SUBSCRIPTION: Final = "00000000-0000-0000-0000-000000000001"
RESOURCE_GROUP: Final = "droptune"
WORKSPACE: Final = "droptune-local"
DATASTORE: Final = "droptune_datasets"


def sdk_environment(kept: Kept, bundle: Path) -> dict[str, str]:
    """What points an unmodified Azure SDK at the control plane.

    `requests` reads REQUESTS_CA_BUNDLE, Python's ssl reads SSL_CERT_FILE; azure-identity takes the
    identity endpoint for a managed identity's; azure-ai-ml finds the cloud through
    ARM_CLOUD_METADATA_URL.
    """
    plane = f"https://localhost:{kept.ports['control_plane']}"
    return {
        "ARM_CLOUD_METADATA_URL": f"{plane}/metadata/endpoints?api-version=2019-05-01",
        "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{plane}/",
        "REQUESTS_CA_BUNDLE": str(bundle),
        "SSL_CERT_FILE": str(bundle),
        "IDENTITY_ENDPOINT": f"http://127.0.0.1:{kept.ports['identity']}/msi/token",
        "IDENTITY_HEADER": kept.identity_header,
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "AZURE_RESOURCE_GROUP": RESOURCE_GROUP,
        "AZUREML_WORKSPACE": WORKSPACE,
    }


def storage(kept: Kept) -> str:
    """Azurite's connection string."""
    return connection_string(kept.ports["blob"], kept.ports["queue"])


def client_environment(kept: Kept, bundle: Path) -> dict[str, str]:
    """What `python -m local env` exports: SDKs, storage, and Droptune itself."""
    return {
        **sdk_environment(kept, bundle),
        "AZURE_STORAGE_CONNECTION_STRING": storage(kept),
        "DROPTUNE_URL": f"http://127.0.0.1:{kept.ports['host']}",
        "DROPTUNE_API_KEY": kept.api_key,
    }


def app_settings(kept: Kept, bundle: Path) -> dict[str, str]:
    """The app settings on a laptop; the app differs from Azure in nothing else."""
    return {
        **sdk_environment(kept, bundle),
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "AzureWebJobsStorage": storage(kept),
        "DROPTUNE_STORAGE": storage(kept),
        "RECONCILE_SCHEDULE": "*/5 * * * * *",
        "SWEEP_SCHEDULE": "*/30 * * * * *",
        "CLEANUP_SCHEDULE": "*/5 * * * * *",
        "DROPTUNE_API_KEYS": hashlib.sha256(kept.api_key.encode()).hexdigest(),
        "DROPTUNE_DATASTORE": DATASTORE,
        "DROPTUNE_METRICS_ENDPOINT": f"https://localhost:{kept.ports['control_plane']}",
        "DROPTUNE_REGISTRIES": "azureml",
        # The laptop's clock runs in seconds where Azure's runs in minutes.
        "DROPTUNE_LOOK_AT_JOB": "2s",
        "DROPTUNE_LOOK_AT_ROLLOUT": "1s",
    }
