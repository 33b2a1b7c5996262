"""The app settings: environment variables on a laptop, app settings in Azure.

Read once, checked whole, frozen. A laptop differs from Azure in these values alone. `SETTINGS` is also what
docs/OPERATIONS.md and local.settings.sample.json are held to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from shared import assets, durations, sizes
from shared.errors import Problem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

_DIGEST = re.compile(r"^[0-9a-f]{64}$")
_HOST = re.compile(r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?$")

GPU_SIZES = (
    "Standard_NC24ads_A100_v4,Standard_NC48ads_A100_v4,Standard_NC96ads_A100_v4,"
    "Standard_NC40ads_H100_v5"
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One app setting: its default (`None`: required) and what it is for, in one sentence."""

    default: str | None
    purpose: str


SETTINGS: Final[Mapping[str, Setting]] = {
    "AZURE_SUBSCRIPTION_ID": Setting(None, "The subscription of the workspace."),
    "AZURE_RESOURCE_GROUP": Setting(None, "The resource group of the workspace."),
    "AZUREML_WORKSPACE": Setting(None, "The Azure Machine Learning workspace."),
    "AzureWebJobsStorage": Setting(
        "", "The storage of the Functions host itself: a connection string, or `__…Uri` settings."
    ),
    "DROPTUNE_STORAGE": Setting(
        "",
        "Where manifests, data and records lie: a connection string, or the two settings below.",
    ),
    "DROPTUNE_STORAGE__blobServiceUri": Setting("", "Blob service address, with identity."),
    "DROPTUNE_STORAGE__queueServiceUri": Setting("", "Queue service address, with identity."),
    "RECONCILE_SCHEDULE": Setting("0 */5 * * * *", "When overdue runs are looked at (NCRONTAB)."),
    "SWEEP_SCHEDULE": Setting("0 30 * * * *", "When missed manifests are looked for (NCRONTAB)."),
    "CLEANUP_SCHEDULE": Setting(
        "0 */10 * * * *", "When idle endpoints are looked for (NCRONTAB)."
    ),
    "DROPTUNE_API_KEYS": Setting(
        "", "SHA-256 digests (hex) of the API keys that may ask for answers, comma-separated."
    ),
    "DROPTUNE_DATASTORE": Setting(
        "droptune_datasets", "The workspace's datastore over the container `datasets`."
    ),
    "DROPTUNE_DATA_HOSTS": Setting(
        "", "Hosts that a manifest's https files may come from, comma-separated; none by default."
    ),
    "DROPTUNE_HUB_TOKEN": Setting(
        "", "A token for private and gated datasets of the Hugging Face hub, with read access."
    ),
    "DROPTUNE_METRICS_ENDPOINT": Setting(
        "", "Azure Monitor's metrics endpoint; by default that of the workspace's region."
    ),
    "DROPTUNE_REGISTRIES": Setting("azureml", "Registries that models may come from."),
    "DROPTUNE_FALLBACK_MODELS": Setting(
        "azureml://registries/azureml/models/Phi-4/labels/latest",
        "Asset ids of models that may stand in for one that is gone, where the manifest allows it.",
    ),
    "DROPTUNE_INSTANCE_TYPES": Setting(GPU_SIZES, "VM sizes that may be trained or served on."),
    "DROPTUNE_MAX_NODES": Setting("1", "Most nodes of a training job."),
    "DROPTUNE_MAX_INSTANCES": Setting("1", "Most instances of a deployment."),
    "DROPTUNE_MAX_RUNS": Setting("2", "Most runs that train at the same time."),
    "DROPTUNE_MAX_ATTEMPTS": Setting("3", "Most training attempts of one run."),
    "DROPTUNE_LONGEST_QUEUED": Setting(
        "1d", "How long a run may wait for quota, or its job for machines, before it fails."
    ),
    "DROPTUNE_LONGEST_UNRESPONSIVE": Setting(
        "1h", "How long a job may not respond before it is cancelled and tried again."
    ),
    "DROPTUNE_MAX_TOKENS": Setting(
        "", "Most tokens that one training may take, by estimate; any number by default."
    ),
    "DROPTUNE_LOOK_AT_JOB": Setting("1m", "How often to look at a job that trains."),
    "DROPTUNE_LOOK_AT_ROLLOUT": Setting("30s", "How often to look at a rollout."),
    "DROPTUNE_PREPARE_IN_FUNCTION_UP_TO": Setting(
        "2 GB", "Data up to this size is prepared in a function; more is prepared by a job."
    ),
    "DROPTUNE_PREPARE_CLUSTER": Setting(
        "", "The CPU cluster of such jobs; by default they run on serverless compute."
    ),
    "DROPTUNE_PREPARE_SIZE": Setting(
        "Standard_DS3_v2", "The VM size of such jobs on serverless compute."
    ),
    "DROPTUNE_PREPARE_NODES": Setting("4", "Most nodes of such a job."),
    "DROPTUNE_PREPARE_FOR_AT_MOST": Setting(
        "1d", "How long such a job may take once it has machines."
    ),
    "DROPTUNE_PREPARE_ENVIRONMENT": Setting(
        "",
        "The Azure ML environment of such jobs, `azureml:NAME:VERSION`; by default one is made.",
    ),
    "DROPTUNE_HOLD_WHILE_WAKING": Setting(
        "0s", "How long a request may be held while its model wakes, before it is told to retry."
    ),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings as checked values; the names say which (see `SETTINGS`)."""

    subscription: str
    resource_group: str
    workspace: str
    storage: str
    blob_uri: str
    queue_uri: str
    api_key_digests: frozenset[str]
    datastore: str
    data_hosts: frozenset[str]
    hub_token: str = field(repr=False)
    metrics_endpoint: str
    registries: tuple[str, ...]
    fallback_models: tuple[assets.AssetId, ...]
    instance_types: tuple[str, ...]
    max_nodes: int
    max_instances: int
    max_runs: int
    max_attempts: int
    longest_queued: timedelta
    longest_unresponsive: timedelta
    max_tokens: int | None
    look_at_job: timedelta
    look_at_rollout: timedelta
    prepare_in_function_up_to: int
    prepare_cluster: str
    prepare_size: str
    prepare_nodes: int
    prepare_for_at_most: timedelta
    prepare_environment: str
    hold_while_waking: timedelta


class _Reader:
    """Takes settings one by one and keeps every problem for the end."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.problems: list[Problem] = []

    def text(self, name: str) -> str:
        value = self.environment.get(name, "").strip() or SETTINGS[name].default
        if value is None:
            self.problems.append(Problem(name, "is not set", SETTINGS[name].purpose))
        return value or ""

    def listed(self, name: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.text(name).split(",") if part.strip())

    def models(self, name: str) -> tuple[assets.AssetId, ...]:
        found = []
        for text in self.listed(name):
            try:
                found.append(assets.parse(text, "models"))
            except ValueError as error:
                self.problems.append(Problem(name, str(error)))
        return tuple(found)

    def number(self, name: str) -> int:
        text = self.text(name)
        if text.isdigit() and int(text) >= 1:
            return int(text)
        self.problems.append(Problem(name, f"is '{text}'", "Set a whole number of at least 1"))
        return 1

    def bound(self, name: str) -> int | None:
        return self.number(name) if self.text(name) else None

    def span(self, name: str) -> timedelta:
        try:
            return durations.parse(self.text(name))
        except ValueError as error:
            self.problems.append(Problem(name, str(error)))
            return durations.parse("1m")

    def size(self, name: str) -> int:
        try:
            return sizes.parse(self.text(name))
        except ValueError as error:
            self.problems.append(Problem(name, str(error)))
            return 0

    def hosts(self, name: str) -> frozenset[str]:
        found = frozenset(host.lower().removesuffix(":443") for host in self.listed(name))
        self.problems += [
            Problem(name, f"'{host}' is no host", "Set bare names: data.example.org")
            for host in sorted(found)
            if not _HOST.match(host)
        ]
        return found

    def digests(self, name: str) -> frozenset[str]:
        found = frozenset(digest.lower() for digest in self.listed(name))
        if not all(map(_DIGEST.match, found)):
            # The value is not repeated: somebody may have put the key itself there.
            mend = "Set the SHA-256 of each key: printf %s KEY | sha256sum"
            self.problems.append(Problem(name, "holds something that is no SHA-256 digest", mend))
        return found


def read(environment: Mapping[str, str]) -> Settings:
    """The settings in `environment`.

    Raises:
        SettingsError: With every problem at once.
    """
    reader = _Reader(environment)
    blob = reader.text("DROPTUNE_STORAGE__blobServiceUri")
    queue = reader.text("DROPTUNE_STORAGE__queueServiceUri")
    storage = reader.text("DROPTUNE_STORAGE")
    if not storage and not (blob and queue):
        missing = "DROPTUNE_STORAGE__queueServiceUri" if blob else "DROPTUNE_STORAGE"
        reader.problems.append(Problem(missing, "is not set", SETTINGS[missing].purpose))
    settings = Settings(
        subscription=reader.text("AZURE_SUBSCRIPTION_ID"),
        resource_group=reader.text("AZURE_RESOURCE_GROUP"),
        workspace=reader.text("AZUREML_WORKSPACE"),
        storage=storage,
        blob_uri=blob,
        queue_uri=queue,
        api_key_digests=reader.digests("DROPTUNE_API_KEYS"),
        datastore=reader.text("DROPTUNE_DATASTORE"),
        data_hosts=reader.hosts("DROPTUNE_DATA_HOSTS"),
        hub_token=reader.text("DROPTUNE_HUB_TOKEN"),
        metrics_endpoint=reader.text("DROPTUNE_METRICS_ENDPOINT"),
        registries=reader.listed("DROPTUNE_REGISTRIES"),
        fallback_models=reader.models("DROPTUNE_FALLBACK_MODELS"),
        instance_types=reader.listed("DROPTUNE_INSTANCE_TYPES"),
        max_nodes=reader.number("DROPTUNE_MAX_NODES"),
        max_instances=reader.number("DROPTUNE_MAX_INSTANCES"),
        max_runs=reader.number("DROPTUNE_MAX_RUNS"),
        max_attempts=reader.number("DROPTUNE_MAX_ATTEMPTS"),
        longest_queued=reader.span("DROPTUNE_LONGEST_QUEUED"),
        longest_unresponsive=reader.span("DROPTUNE_LONGEST_UNRESPONSIVE"),
        max_tokens=reader.bound("DROPTUNE_MAX_TOKENS"),
        look_at_job=reader.span("DROPTUNE_LOOK_AT_JOB"),
        look_at_rollout=reader.span("DROPTUNE_LOOK_AT_ROLLOUT"),
        prepare_in_function_up_to=reader.size("DROPTUNE_PREPARE_IN_FUNCTION_UP_TO"),
        prepare_cluster=reader.text("DROPTUNE_PREPARE_CLUSTER"),
        prepare_size=reader.text("DROPTUNE_PREPARE_SIZE"),
        prepare_nodes=reader.number("DROPTUNE_PREPARE_NODES"),
        prepare_for_at_most=reader.span("DROPTUNE_PREPARE_FOR_AT_MOST"),
        prepare_environment=reader.text("DROPTUNE_PREPARE_ENVIRONMENT"),
        hold_while_waking=reader.span("DROPTUNE_HOLD_WHILE_WAKING"),
    )
    if reader.problems:
        raise SettingsError(reader.problems)
    return settings
