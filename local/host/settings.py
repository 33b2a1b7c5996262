"""App settings: the environment, `local.settings.json`, `%NAME%` in bindings, connections."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from local.host.problems import AppRejected, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Service = Literal["blob", "queue"]

_NAME: Final = re.compile(r"%([^%]+)%")
_TRUE: Final = ("1", "true")
_DEVELOPMENT: Final = "UseDevelopmentStorage=true"
# Azurite's account and ports are public: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
_DEVELOPMENT_STORAGE: Final = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"
    "QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
)


def read_local_settings(file: Path) -> dict[str, str]:
    """The `Values` of a local.settings.json.

    Raises:
        AppRejected: The file cannot be used; every problem is told.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise AppRejected([Problem(str(file), f"it cannot be read: {error}")]) from error
    values = content.get("Values", {}) if isinstance(content, dict) else None
    if not isinstance(values, dict):
        raise AppRejected([Problem(str(file), 'it must be an object with an object "Values"')])
    if content.get("IsEncrypted"):
        raise AppRejected(
            [
                Problem(
                    str(file),
                    "it is encrypted",
                    "Decrypt it: `func settings decrypt`, with Azure Functions Core Tools.",
                )
            ]
        )
    problems = [
        Problem(f"{file} Values.{name}", "app settings are strings", "Put it in quotes.")
        for name, value in values.items()
        if not isinstance(value, str)
    ]
    if problems:
        raise AppRejected(problems)
    return dict(values)


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace each `%NAME%` by the app setting NAME.

    Raises:
        KeyError: There is no such app setting; its argument is the name.
    """
    return _NAME.sub(lambda found: environment[found[1]], text)


def is_disabled(function: str, environment: Mapping[str, str]) -> bool:
    """Whether `AzureWebJobs.<function>.Disabled` says so (also in the form with `__`)."""
    names = (f"AzureWebJobs.{function}.Disabled", f"AzureWebJobs__{function}__Disabled")
    return any(environment.get(name, "").lower() in _TRUE for name in names)


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a storage account is and how to get in.

    Attributes:
        connection_string: With a key or SAS; empty when an identity is used.
        blob_uri: The blob service, for an identity.
        queue_uri: The queue service, for an identity.
        client_id: The user-assigned identity; empty for whatever DefaultAzureCredential finds.
    """

    connection_string: str = ""
    blob_uri: str = ""
    queue_uri: str = ""
    client_id: str = ""


def find_connection(name: str, service: Service, environment: Mapping[str, str]) -> Connection:
    """Find the connection `name` as bindings do: a connection string or `name__…` settings.

    Args:
        name: What the binding says; empty for AzureWebJobsStorage.
        service: What is about to be used there.
        environment: The app settings.

    Raises:
        LookupError: No such settings; the message names those looked for.
    """
    name = name or "AzureWebJobsStorage"
    for prefix in (f"AzureWebJobs{name}", name):
        text = environment.get(prefix, "")
        if text:
            return Connection(
                _DEVELOPMENT_STORAGE if text.strip("; ").lower() == _DEVELOPMENT.lower() else text
            )
        account = environment.get(f"{prefix}__accountName", "")
        uris = {
            kind: environment.get(f"{prefix}__{kind}ServiceUri", "")
            or environment.get(f"{prefix}__serviceUri", "")
            or (f"https://{account}.{kind}.core.windows.net" if account else "")
            for kind in ("blob", "queue")
        }
        if uris[service]:
            client = environment.get(f"{prefix}__clientId", "")
            return Connection("", uris["blob"], uris["queue"], client)
    raise LookupError(
        f"the connection '{name}' is not set: neither {name} (a connection string) "
        f"nor {name}__{service}ServiceUri is an app setting"
    )
