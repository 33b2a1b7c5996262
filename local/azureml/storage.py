"""The workspace's storage account: addresses, tokens, and moving files in and out.

The SDK builds a blob address as `https://{accountName}.blob.{suffix}`. For Azurite, which has no
such host name, the account name that a datastore shows is `127.0.0.1:PORT/devstoreaccount1#`: what
the SDK appends then falls into the address's fragment, which no client sends.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path

    from azure.storage.blob import BlobServiceClient, ContainerClient


@dataclass(frozen=True, slots=True)
class Account:
    """A storage account, from its connection string.

    Attributes:
        name: The account's name.
        key: Its key.
        endpoint: The blob service's address, without a slash at the end.
        shown_name: What a datastore shows as `accountName`.
    """

    name: str
    key: str
    endpoint: str
    shown_name: str


def parse_account(connection_string: str) -> Account:
    """The account of a connection string.

    Raises:
        ValueError: A part is missing; the message names it and never shows the string.
    """
    parts = dict(part.partition("=")[::2] for part in connection_string.split(";") if part)
    missing = [name for name in ("AccountName", "AccountKey") if not parts.get(name)]
    if missing:
        raise ValueError(f"The storage connection string lacks {' and '.join(missing)}.")
    name = parts["AccountName"]
    endpoint = parts.get("BlobEndpoint", "").rstrip("/")
    if not endpoint:
        suffix = parts.get("EndpointSuffix", "core.windows.net")
        return Account(name, parts["AccountKey"], f"https://{name}.blob.{suffix}", name)
    split = urlsplit(endpoint)
    return Account(name, parts["AccountKey"], endpoint, f"{split.netloc}{split.path}#")


class Storage:
    """The account's blobs. Every method blocks: call it off the event loop.

    Args:
        connection_string: The account.
        bundle: The certificates to trust.
    """

    def __init__(self, connection_string: str, bundle: Path) -> None:
        self.account = parse_account(connection_string)
        self._bundle = bundle

    @functools.cached_property
    def _service(self) -> BlobServiceClient:
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient(
            self.account.endpoint,
            credential={"account_name": self.account.name, "account_key": self.account.key},
            connection_verify=str(self._bundle),
        )

    def container(self, name: str) -> ContainerClient:
        """A client of one container, made if it is missing."""
        from azure.core.exceptions import ResourceExistsError

        client = self._service.get_container_client(name)
        with contextlib.suppress(ResourceExistsError):
            client.create_container()
        return client

    def account_sas(self, hours: int = 1) -> str:
        """A signature over blobs and containers of this account; see `account_sas`."""
        return account_sas(self.account.name, self.account.key, hours)

    def download(self, container: str, path: str, target: Path) -> Path:
        """Fetch the blob at `path`, or every blob under it, into `target`.

        Returns:
            The file, or the folder that stands for `path`.

        Raises:
            FileNotFoundError: Nothing is there.
        """
        client, clean = self.container(container), path.strip("/")
        single, names = None, []
        for blob in client.list_blobs(name_starts_with=clean):
            if blob.name == clean:
                single = blob.name
            elif blob.name.startswith(f"{clean}/"):
                names.append(blob.name)
        if single is None and not names:
            raise FileNotFoundError(f"{container}/{clean}")
        target.mkdir(parents=True, exist_ok=True)
        if single is not None:
            return _fetch(client, single, target / single.rsplit("/", 1)[-1])
        for name in names:
            _fetch(client, name, target / name[len(clean) + 1 :])
        return target

    def exists(self, container: str, path: str) -> bool:
        """Whether a blob is at `path` or under it."""
        clean = path.strip("/")
        found = self.container(container).list_blobs(name_starts_with=clean)
        return any(each.name == clean or each.name.startswith(f"{clean}/") for each in found)

    def upload(self, container: str, prefix: str, folder: Path) -> int:
        """Put every file of `folder` under `prefix`; says how many. Doing it again is no harm."""
        client, number = self.container(container), 0
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            with file.open("rb") as stream:
                name = f"{prefix.strip('/')}/{file.relative_to(folder).as_posix()}"
                client.upload_blob(name, stream, overwrite=True)
            number += 1
        return number


def account_sas(account: str, key: str, hours: int = 1) -> str:
    """A signature over blobs and containers of an account, with a question mark in front.

    The permissions are those that the real `listSecrets` gives: `srt=co`, `sp=rcuwdl`.
    """
    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    now = datetime.now(UTC)
    token = generate_account_sas(
        account_name=account,
        account_key=key,
        resource_types=ResourceTypes(container=True, object=True),
        permission=AccountSasPermissions(
            read=True, create=True, update=True, write=True, delete=True, list=True
        ),
        start=now - timedelta(minutes=5),
        expiry=now + timedelta(hours=hours),
    )
    return f"?{token}"


def _fetch(client: ContainerClient, name: str, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    with partial.open("wb") as stream:
        client.download_blob(name).readinto(stream)
    partial.replace(target)
    return target
