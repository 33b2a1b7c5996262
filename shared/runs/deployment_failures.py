"""Why a deployment failed, by code and message, and what may be tried.

The same cause comes under several codes: a lack of quota as `BadRequest` with the reason packed into JSON
(https://github.com/MicrosoftLearning/mslearn-azure-ml/issues/30), a failing probe as `BadArgument`
(https://github.com/Azure/azureml-examples/issues/3983) or as `ResourceNotReady`
(https://github.com/Azure/mlops-v2/issues/120). So a kind is known by its message first, and by its code where
the message says nothing. The codes are those of
https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence


class Remedy(StrEnum):
    """What may be tried after a failure."""

    AGAIN = "the same again"
    ELSEWHERE = "the next VM size"
    ROOM = "the next VM size, or room made for it"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Kind:
    """One way in which a deployment fails.

    Attributes:
        name: What the record calls it.
        what: What happened.
        codes: Azure's codes that mean it, whatever the message.
        says: A pattern of messages that mean it, whatever the code.
        remedy: What Droptune tries.
        mend: What the person should do when that does not help.
    """

    name: str
    what: str
    codes: frozenset[str]
    says: re.Pattern[str] | None
    remedy: Remedy
    mend: str

    @property
    def does(self) -> str:
        """What Droptune does about it."""
        return f"keeps its words and its log, deletes the deployment, {_DOES[self.remedy]}"


_DOES: Final = {
    Remedy.AGAIN: "makes it again, up to `DROPTUNE_MAX_ATTEMPTS` failures; then fails the run",
    Remedy.ELSEWHERE: "tries the next of `deploy.instance_types`; without one, fails the run",
    Remedy.ROOM: "tries the next of `deploy.instance_types`; without one, has the old deployment go first "
    "if `deploy.short_of_quota` allows it; else fails the run",
    Remedy.NOTHING: "fails the run",
}


def _kind(name: str, what: str, codes: str, says: str, remedy: Remedy, mend: str) -> Kind:  # noqa: PLR0917
    pattern = re.compile(says, re.IGNORECASE | re.DOTALL) if says else None
    return Kind(name, what, frozenset(codes.split()), pattern, remedy, mend)


KINDS: Final[Sequence[Kind]] = (
    _kind(
        "deployment-endpoint-quota",
        "the subscription may have no more endpoints, or the endpoint no more deployments",
        "",
        r"endpoint quota reached|number of (endpoints|deployments).{0,40}(limit|exceed)"
        r"|has \d+ deployments: that is the most",
        Remedy.NOTHING,
        "Delete endpoints or deployments that nobody uses, or ask for a higher limit.",
    ),
    _kind(
        "deployment-no-capacity",
        "the region has no free machine of the size, whatever the quota says",
        "",
        r"lack of .{0,30}capacity|(insufficient|not enough|no) capacity|capacity .{0,40}not available"
        r"|AllocationFailed|SkuNotAvailable",
        Remedy.ELSEWHERE,
        "Name further sizes in `deploy.instance_types`, or try again when the region has machines.",
    ),
    _kind(
        "deployment-role-assignments",
        "the subscription may have no more role assignments, of which an endpoint needs some",
        "",
        r"role assignment",
        Remedy.NOTHING,
        "Delete role assignments that nobody needs: the subscription has no more room for the endpoint's.",
    ),
    _kind(
        "deployment-vm-size",
        "the region, or online endpoints, do not have the size",
        "",
        r"VM size .{0,80}(not supported|is invalid|not available|does not exist)"
        r"|unsupported (vm|instance)|instance ?type .{0,60}not (supported|available)",
        Remedy.ELSEWHERE,
        "Choose a size that the region has and online endpoints take.",
    ),
    _kind(
        "deployment-quota",
        "the VM family's quota in cores is too small, or in use",
        "OutOfQuota",
        r"not enough quota|quota.{0,60}(exceed|insufficient|not enough|reached)"
        r"|(exceed|insufficient|out of).{0,40}quota|SubscriptionQuotaExceeded",
        Remedy.ROOM,
        "Ask for quota of the family, name further sizes in `deploy.instance_types`, or set "
        "`deploy.short_of_quota` to `direct`.",
    ),
    _kind(
        "deployment-out-of-memory",
        "the model does not fit into the memory of the machine or its GPU",
        "",
        r"out of memory|OutOfMemory|OOMKilled|exit(ed with)? code:? 137",
        Remedy.ELSEWHERE,
        "Serve on a size with more memory: name it in `deploy.instance_type`.",
    ),
    _kind(
        "deployment-image-build",
        "the container's image could not be built, or not in time",
        "ImageBuildFailure EnvironmentBuildFailure",
        r"image build|environment image|building the (image|environment)|failed to build|conda",
        Remedy.NOTHING,
        "Read the build log in the workspace; a workspace in a network needs a compute to build images on, and "
        "access to its registry of images.",
    ),
    _kind(
        "deployment-download",
        "the container could not fetch the model or its image",
        "ModelDownloadFailed",
        r"(download|pull|fetch)\w* .{0,60}(fail|error|denied|unauthori)"
        r"|(fail|unable|error)\w* .{0,40}(download|pull)|storage.?initializer|model .{0,80}not found",
        Remedy.AGAIN,
        "Let the endpoint's identity read the workspace's storage and registry of images.",
    ),
    _kind(
        "deployment-probe",
        "the container does not answer its probes in time",
        "",
        r"(liveness|readiness|startup) probe|initial ?delay|health check|took too long to (start|initial)",
        Remedy.NOTHING,
        "Read the log; a large model may need a longer `deploy.startup` or a larger size.",
    ),
    _kind(
        "deployment-crash",
        "the container starts and ends by itself",
        "ResourceNotReady",
        r"container .{0,40}(crash|exit|terminat)|crash.?loop|has crashed|exited with code",
        Remedy.NOTHING,
        "Read the log that the record keeps: the model's server ended by itself.",
    ),
    _kind(
        "deployment-throttled",
        "too many requests to Azure",
        "TooManyRequests Throttled RequestThrottled",
        r"too many requests|throttl|rate limit",
        Remedy.AGAIN,
        "Wait; if it goes on, have fewer runs at a time.",
    ),
    _kind(
        "deployment-cancelled",
        "another operation with a higher priority took its place",
        "OperationCanceled OperationCancelled Canceled",
        r"operation .{0,60}cancel",
        Remedy.AGAIN,
        "See who or what changes the endpoint at the same time.",
    ),
    _kind(
        "deployment-network",
        "the workspace's managed network is not there yet",
        "WorkspaceManagedNetworkNotReady",
        r"managed (virtual )?network .{0,40}not (ready|provisioned)",
        Remedy.AGAIN,
        "Provision the workspace's managed network (`az ml workspace provision-network`).",
    ),
    _kind(
        "deployment-secrets",
        "secrets could not be put into the container",
        "SecretsInjectionError",
        r"secret.{0,30}inject",
        Remedy.NOTHING,
        "Let the endpoint's identity read the connections and key vaults that the deployment names.",
    ),
    _kind(
        "deployment-denied",
        "an identity may not do what the deployment needs",
        "AuthorizationFailed Unauthorized Forbidden",
        r"authoriz\w+ (failed|error)|does not have (permission|authorization)|(authentication|access) denied",
        Remedy.NOTHING,
        "Give the identity that is named the role that is named.",
    ),
    _kind(
        "deployment-service",
        "Azure's own trouble",
        "InternalServerError InternalError ServiceUnavailable",
        r"internal ?server ?error|unexpected (internal )?error|try again later",
        Remedy.AGAIN,
        "Try again later, with the request's id at hand for Azure's support.",
    ),
    _kind(
        "deployment-not-found",
        "a part that the deployment needs is gone",
        "ResourceNotFound",
        "",
        Remedy.NOTHING,
        "See which of the endpoint's parts is gone: model, registry of images, container.",
    ),
    _kind(
        "deployment-bad-argument",
        "Azure will not do what was asked, for a reason of no other kind",
        "BadArgument BadRequest UserError",
        "",
        Remedy.NOTHING,
        "Mend what Azure's words name; the same again would fail again.",
    ),
)
"""Every known kind, the most telling first."""

UNKNOWN: Final = _kind(
    "deployment-unknown",
    "something that has not been seen before",
    "",
    "",
    Remedy.NOTHING,
    "Read Azure's words and the log in the record.",
)
"""A failure that no kind describes."""

_OF_THE_CONTAINER: Final = frozenset(
    {"deployment-crash", "deployment-probe", "deployment-bad-argument", "deployment-unknown"}
)
_WORD: Final = re.compile(r"\b[A-Z][A-Za-z]+\b")


def classify(said: str, log: str = "") -> Kind:
    """The kind of a failure.

    Args:
        said: Azure's words, with its codes: `ResourceNotReady: User container has crashed`.
        log: The end of the container's log, which knows better why it crashed.
    """
    kind = _by_words(said)
    memory = named("deployment-out-of-memory")
    assert memory.says is not None
    if kind.name in _OF_THE_CONTAINER and memory.says.search(log):
        return memory
    return kind


def _by_words(said: str) -> Kind:
    for kind in KINDS:
        if kind.says is not None and kind.says.search(said):
            return kind
    # Several codes may be named, the outermost first; it says the least.
    for code in reversed(_WORD.findall(said)):
        for kind in KINDS:
            if code in kind.codes:
                return kind
    return UNKNOWN


def named(name: str) -> Kind:
    """The kind of that name; `UNKNOWN` for a name that is none (any more)."""
    return next((kind for kind in KINDS if kind.name == name), UNKNOWN)
