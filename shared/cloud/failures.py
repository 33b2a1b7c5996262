"""Foreign exceptions become ours here, and nowhere else.

Every adapter does its work inside `failing(…)`. What Azure's clients, requests or MLflow raise leaves as
one of `shared.errors`, with the foreign exception as its cause and a message that a person can read: short,
on one line, without keys or signatures. What none of these libraries raised (a bug of ours) passes through
as it is.
"""

from __future__ import annotations

import email.utils
import re
import tarfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from shared.errors import (
    Busy,
    Denied,
    DroptuneError,
    Missing,
    Refused,
    StaleRecord,
    Throttled,
    Transient,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LONGEST: Final = 400
"""Longest message in characters."""

LONGEST_PAUSE: Final = timedelta(hours=1)
"""A `Retry-After` beyond this is not believed."""

_NOT_IMPLEMENTED: Final = 501
_QUERY = re.compile(r"(https?://[^\s?'\"<>]+)\?[^\s'\"<>]*")
_USER = re.compile(r"(https?://)[^\s/@'\"<>]+@")
_SECRET = re.compile(
    r"(?i)\b(sig|signature|accountkey|account_key|sharedaccesskey|primarykey|secondarykey|password|"
    r"client_secret|access_token|refresh_token|sas_?token|api[-_]?key)"
    r"(['\"]?\s*[=:]\s*['\"]?)[^\s'\"&;,}]+"
)
_BEARER = re.compile(r"(?i)\b(bearer|sharedkey|sharedaccesssignature)\s+[A-Za-z0-9._~+/=:-]{8,}")
_OWN_CODES: Final[Mapping[str, type[DroptuneError]]] = {
    "LeaseIdMismatchWithLeaseOperation": StaleRecord,
    "LeaseIdMismatchWithBlobOperation": StaleRecord,
    "LeaseNotPresentWithLeaseOperation": StaleRecord,
    "LeaseNotPresentWithBlobOperation": StaleRecord,
    "LeaseIsBrokenAndCannotBeRenewed": StaleRecord,
    "LeaseLost": StaleRecord,
    "BlobAlreadyExists": StaleRecord,
    "LeaseIdMissing": Busy,
    "InvalidBlockList": Busy,  # somebody else committed the same file in the meantime
}
"""Blob storage's codes that say more than their status
(https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes)."""

_PERMANENT: Final[Mapping[int, type[DroptuneError]]] = {
    401: Denied,
    403: Denied,
    404: Missing,
    410: Missing,
    412: StaleRecord,
}
_TRANSIENT: Final[Mapping[int, type[Transient]]] = {408: Unavailable, 409: Busy, 429: Throttled}


def plain(text: str, limit: int = LONGEST) -> str:
    """`text` on one line, without secrets, at most `limit` characters long.

    >>> plain("GET https://a.blob.core.windows.net/c/b?sv=1&sig=abc failed")
    'GET https://a.blob.core.windows.net/c/b failed'
    """
    line = " ".join(text.split())
    line = _QUERY.sub(r"\1", line)
    line = _USER.sub(r"\1", line)
    line = _SECRET.sub(r"\1\2…", line)
    line = _BEARER.sub(r"\1 …", line)
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def retry_after(
    headers: Mapping[str, str] | None, now: datetime | None = None
) -> timedelta | None:
    """How long the other side asked us to wait: `retry-after` in seconds or as a date, or its `-ms` kin."""
    given = {name.lower(): value for name, value in (headers or {}).items()}
    for name, unit in (
        ("retry-after-ms", 0.001),
        ("x-ms-retry-after-ms", 0.001),
        ("retry-after", 1),
    ):
        text = given.get(name, "").strip()
        if not text:
            continue
        try:
            pause = timedelta(seconds=float(text) * unit)
        except (ValueError, OverflowError):
            try:
                pause = email.utils.parsedate_to_datetime(text) - (now or datetime.now(UTC))
            except (TypeError, ValueError, OverflowError):
                continue
        return min(max(pause, timedelta()), LONGEST_PAUSE)
    return None


def of_status(
    status: int, message: str, *, code: str = "", headers: Mapping[str, str] | None = None
) -> DroptuneError:
    """The error for an HTTP status.

    Args:
        status: 300 to 599.
        message: What was tried, and what was answered.
        code: The service's own code for it; some say more than the status.
        headers: Of the answer.
    """
    said = plain(message)
    if code in _OWN_CODES:
        return _OWN_CODES[code](said)
    if status in _PERMANENT:
        return _PERMANENT[status](said)
    if status in _TRANSIENT or (status >= 500 and status != _NOT_IMPLEMENTED):  # noqa: PLR2004
        kind = _TRANSIENT.get(status, Unavailable)
        return kind(said, retry_after=retry_after(headers))
    return Refused(said)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What an exception tells of the HTTP answer behind it."""

    status: int
    code: str
    text: str
    headers: Mapping[str, str]


def translation(error: BaseException, doing: str) -> DroptuneError | None:
    """`error` in our words, or `None` if it is not one of the libraries'.

    Args:
        error: What was raised.
        doing: What was being done, to begin the message: "reading the run x-g1".
    """
    if isinstance(error, DroptuneError):
        return error
    for cause in _chain(error):
        answer = _answer_of(cause)
        if answer is not None:
            message = f"{doing}: {answer.text}"
            return of_status(answer.status, message, code=answer.code, headers=answer.headers)
    for cause in _chain(error):
        if _is_of_connection(cause):
            return Unavailable(plain(f"{doing}: {str(cause) or type(cause).__name__}"))
    for cause in _chain(error):
        if _comes_from(cause, "azure.", "mlflow.", "azureml."):
            return _without_answer(cause, doing)
    return None


def _without_answer(error: BaseException, doing: str) -> DroptuneError:
    message = plain(f"{doing}: {_text_of(error)}")
    if re.search(r"(?i)does not exist in (registry|workspace)|was not found|not found", message):
        return Missing(message)
    return Refused(message)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those it came from; clients wrap one another's."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        inner = getattr(at, "inner_exception", None)
        at = inner if isinstance(inner, BaseException) else at.__cause__ or at.__context__


def _comes_from(error: BaseException, *packages: str) -> bool:
    return any(
        (kind.__module__ + ".").startswith(packages)
        for kind in type(error).__mro__
        if kind.__module__ != "builtins"
    )


def _answer_of(error: BaseException) -> _Answer | None:
    """The HTTP answer that an exception of azure-core, requests, MLflow or the hub carries."""
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    if not isinstance(status, int) and _comes_from(error, "mlflow."):
        status = _status_of_mlflow(error)
    if not isinstance(status, int) or status < 300:  # noqa: PLR2004
        return None
    headers = dict(getattr(response, "headers", None) or {})
    return _Answer(status, _code_of(error, headers), _text_of(error), headers)


def _status_of_mlflow(error: BaseException) -> int | None:
    """MLflow gives a status to every error; those it raises itself look like the server's own 500."""
    get: Any = getattr(error, "get_http_status_code", None)
    if get is None:
        return None
    said = re.search(r"failed with error code (\d{3})", str(error))
    if said is not None:
        return int(said[1])
    status = get()
    return status if isinstance(status, int) and status != 500 else None  # noqa: PLR2004


def _code_of(error: BaseException, headers: Mapping[str, str]) -> str:
    given = {name.lower(): value for name, value in headers.items()}
    code = getattr(error, "error_code", None) or given.get("x-ms-error-code")
    if code is None:
        code = getattr(getattr(error, "error", None), "code", None)
    return str(getattr(code, "value", code) or "")


def _text_of(error: BaseException) -> str:
    """What the error says, without the request dumps that some clients append."""
    inner = getattr(error, "error", None)  # azure-core: the body's code and message
    message = getattr(inner, "message", None)
    if isinstance(message, str) and message:
        code = getattr(inner, "code", None)
        said = [f"{code}: {message}" if code else message]
        for detail in getattr(inner, "details", None) or []:
            text = getattr(detail, "message", None)
            if text and text not in message:
                said.append(str(text))
        return "; ".join(said)
    text = str(getattr(error, "message", None) or error).strip()
    return text.split("\nRequestId:")[0].split("\nContent:")[0] or type(error).__name__


_CONNECTION: Final = frozenset(
    {
        "ServiceRequestError",  # azure.core: the request did not get out
        "ServiceResponseError",  # azure.core: the answer did not come in
        "ServiceRequestTimeoutError",
        "ServiceResponseTimeoutError",
        "IncompleteReadError",
        "ClientAuthenticationError",  # azure.identity without an answer: no token to be had just now
        "CredentialUnavailableError",
        "ConnectionError",  # builtin, requests
        "ConnectTimeout",
        "ReadTimeout",
        "Timeout",
        "ChunkedEncodingError",
        "SSLError",
        "ProtocolError",  # urllib3
        "MaxRetryError",
        "ConnectError",  # httpx
        "ReadError",
        "RemoteProtocolError",
        "ConnectionResetError",
        "ConnectionRefusedError",
        "ConnectionAbortedError",
        "BrokenPipeError",
        "TimeoutError",
        "gaierror",
        "LocalEntryNotFoundError",  # huggingface_hub: no connection, and nothing cached
        "OfflineModeIsEnabled",
    }
)


def _is_of_connection(error: BaseException) -> bool:
    if isinstance(error, tarfile.TarError):  # its ReadError is of a damaged archive
        return False
    if any(kind.__name__ in _CONNECTION for kind in type(error).__mro__):
        return True
    # MLflow wraps what requests raised in a text.
    return _comes_from(error, "mlflow.") and bool(
        re.search(r"API request to .* failed with (exception|timeout)", str(error))
    )


@contextmanager
def failing(doing: str) -> Iterator[None]:
    """Run the block; what its libraries raise leaves as one of `shared.errors`.

    Args:
        doing: Begins the message: what was being done, with the names that matter.
    """
    try:
        yield
    except DroptuneError:
        raise
    except Exception as error:
        ours = translation(error, doing)
        if ours is None:
            raise
        raise ours from error
