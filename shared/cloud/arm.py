"""Plain REST to Azure Resource Manager, and to the services that take its tokens.

Used where the SDK would do more than is wanted: its long-running operations start a thread that polls for as
long as the operation takes (20 minutes for a deployment), while a step here must begin the operation and be
gone; its lists cost four times the plain call; and the clean-up and the proxy would pay two seconds for its
import. azure-core does the talking, azure-identity the tokens, as underneath the SDK.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from shared.cloud.failures import failing, of_status
from shared.cloud.storage import credential
from shared.errors import Denied, Missing, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from azure.core import PipelineClient

PUBLIC_CLOUD: Final = "https://management.azure.com"
PROVIDER: Final = "Microsoft.MachineLearningServices"
VERSION: Final = "2024-10-01"
"""Of the workspace, its endpoints, deployments and the region's VM sizes; stable."""

CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 20
_RETRIES: Final = 1
_LONGEST_RETRY_AFTER: Final = 2.0


@dataclass(frozen=True, slots=True)
class Place:
    """A workspace.

    Attributes:
        subscription: Its subscription's id.
        group: Its resource group.
        workspace: Its name.
    """

    subscription: str
    group: str
    workspace: str

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.subscription}/{self.group}/{self.workspace}"

    @property
    def path(self) -> str:
        """Its ARM id."""
        return (
            f"/subscriptions/{quote(self.subscription)}/resourceGroups/{quote(self.group)}"
            f"/providers/{PROVIDER}/workspaces/{quote(self.workspace)}"
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said.

    Attributes:
        status: HTTP status, below 400.
        headers: Lower-case names.
        body: The JSON, or an empty mapping when there is none.
    """

    status: int
    headers: Mapping[str, str]
    body: Any


class Arm:
    """ARM of one cloud.

    Args:
        metadata_url: `ARM_CLOUD_METADATA_URL`, as azure-ai-ml reads it; empty for the public cloud. The cloud
            is the one whose `resourceManager` is part of that address.
    """

    def __init__(self, metadata_url: str = "") -> None:
        self._metadata_url = metadata_url
        self._base: str | None = None
        self._clients: dict[str, PipelineClient[Any, Any]] = {}
        self._making = threading.Lock()

    @property
    def base(self) -> str:
        """ARM's address, without a slash at the end.

        Raises:
            Unavailable: The cloud's metadata cannot be had.
        """
        if self._base is None:
            self._base = self._base_from_metadata() if self._metadata_url else PUBLIC_CLOUD
        return self._base

    def ask(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        body: Any = None,
        version: str = VERSION,
        query: Mapping[str, str] | None = None,
        scope: str | None = None,
    ) -> Answer:
        """One request.

        Args:
            method: The HTTP method.
            path: Below ARM's address, or an absolute address.
            doing: Begins the message of what is raised.
            body: Sent as JSON unless it is `None`.
            version: The `api-version`; empty when the address has it already.
            query: Further parameters.
            scope: The token's; ARM's own by default.

        Raises:
            DroptuneError: One of `shared.errors`, by the status of the answer.
        """
        with failing(doing):
            return _ask(
                self._client(scope or f"{self.base}/.default"),
                method,
                path if path.startswith("https://") else self.base + path,
                doing,
                body=body,
                query={**({"api-version": version} if version else {}), **(query or {})},
            )

    def find(self, path: str, doing: str, **options: Any) -> Any:
        """The JSON at `path`, or `None` on 404; raises what `ask` raises otherwise."""
        try:
            return self.ask("GET", path, doing, **options).body
        except Missing:
            return None

    def each(self, path: str, doing: str, **options: Any) -> Iterator[Any]:
        """Every row of a list, a page at a time."""
        page = self.ask("GET", path, doing, **options).body
        while True:
            yield from page.get("value") or []
            following = page.get("nextLink")
            if not following:
                return
            if urlsplit(following).netloc != urlsplit(self.base).netloc:
                raise Refused(f"{doing}: the next page is on another host")
            page = self.ask("GET", following, doing, version="").body

    def close(self) -> None:
        """Close the connections that are kept open for further requests."""
        with self._making:
            while self._clients:
                self._clients.popitem()[1].close()

    def _client(self, scope: str) -> PipelineClient[Any, Any]:
        """The client for a token's scope; for none, one without tokens."""
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy

        with self._making:
            if scope not in self._clients:
                bearer = [BearerTokenCredentialPolicy(credential(), scope)] if scope else []
                self._clients[scope] = pipeline(*bearer)
            return self._clients[scope]

    def _base_from_metadata(self) -> str:
        """The address of the cloud that the metadata's own address belongs to, as azure-ai-ml picks it."""
        doing = "reading the cloud's metadata"
        with failing(doing):
            clouds = _ask(self._client(""), "GET", self._metadata_url, doing).body
        for cloud in clouds if isinstance(clouds, list) else [clouds]:
            base = str(cloud.get("resourceManager") or "")
            if base and base in self._metadata_url:
                return base.rstrip("/")
        raise Denied(f"{doing}: no cloud in it has its resourceManager at {self._metadata_url}")


def pipeline(*policies: Any, read_seconds: float = READ_SECONDS) -> PipelineClient[Any, Any]:
    """An HTTP client with our time-outs, and one short further try where that is safe."""
    from azure.core import PipelineClient
    from azure.core.pipeline.policies import RetryPolicy, UserAgentPolicy
    from azure.core.pipeline.transport import RequestsTransport

    class BriefRetries(RetryPolicy):  # type: ignore[type-arg]
        """Never sleeps for as long as a server may ask: the reconciler does that, without a thread."""

        def is_retry(self, settings: Any, response: Any) -> bool:
            asked = self.get_retry_after(response)
            if asked is not None and asked > _LONGEST_RETRY_AFTER:
                return False
            return super().is_retry(settings, response)

    return PipelineClient(
        "https://unused.invalid",
        policies=[
            UserAgentPolicy("droptune"),
            BriefRetries(retry_total=_RETRIES, retry_backoff_factor=0.5, retry_backoff_max=1),
            *policies,
        ],
        transport=RequestsTransport(connection_timeout=CONNECT_SECONDS, read_timeout=read_seconds),
    )


def _ask(
    client: PipelineClient[Any, Any],
    method: str,
    url: str,
    doing: str,
    *,
    body: Any = None,
    query: Mapping[str, str] | None = None,
) -> Answer:
    from azure.core.rest import HttpRequest

    request = HttpRequest(method, url, params=dict(query or {}), json=body)
    response = client.send_request(request)
    return read(response, doing)


def read(response: Any, doing: str) -> Answer:
    """A response as an answer.

    Raises:
        DroptuneError: By its status.
    """
    headers = {name.lower(): value for name, value in response.headers.items()}
    text = response.text()
    if response.status_code >= 400:  # noqa: PLR2004
        code, said = refusal(text)
        raise of_status(
            response.status_code,
            f"{doing}: {said or f'HTTP {response.status_code}'}",
            code=code,
            headers=headers,
        )
    try:
        found = msgspec.json.decode(text) if text.strip() else {}
    except msgspec.DecodeError as error:
        raise Unavailable(f"{doing}: the answer is not JSON") from error
    return Answer(response.status_code, headers, found)


def refusal(text: str) -> tuple[str, str]:
    """ARM's error code, and code, message and details in a sentence; the text itself if it is no JSON."""
    try:
        body = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return "", text
    if not isinstance(body, dict):
        return "", text
    inner = body.get("error")
    error = inner if isinstance(inner, dict) else body
    code, said = str(error.get("code") or ""), spelled(error)
    return code, said or text


def spelled(error: Mapping[str, Any]) -> str:
    """An ARM error as `Code: message; detail; detail`, each thing said once."""
    said = []
    if error.get("message"):
        said.append(
            f"{error['code']}: {error['message']}" if error.get("code") else error["message"]
        )
    for detail in error.get("details") or []:
        text = _inner(str((detail or {}).get("message") or ""))
        if text and not any(text in each for each in said):
            said.append(text)
    return "; ".join(said)


def _inner(text: str) -> str:
    """The back end of online endpoints packs its reasons as JSON into a message: take them out."""
    try:
        body = msgspec.json.decode(text)
        reasons = body["errors"]
    except (msgspec.DecodeError, TypeError, KeyError):
        return text
    if not isinstance(reasons, dict):
        return text
    return "; ".join(
        f"{field}: {' '.join(map(str, said))}" if field else " ".join(map(str, said))
        for field, said in reasons.items()
        if isinstance(said, list)
    )
