"""What foreign exceptions become, as a table, and what never gets into a message."""

from __future__ import annotations

import tarfile
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.identity import CredentialUnavailableError
from mlflow.exceptions import MlflowException, RestException

from shared.cloud.failures import LONGEST, failing, of_status, plain, retry_after, translation
from shared.errors import (
    Busy,
    Denied,
    DroptuneError,
    Missing,
    Refused,
    StaleRecord,
    Throttled,
    Unavailable,
)


class Response:
    """As much of a response as azure-core's exceptions read."""

    def __init__(self, status, headers=None):
        self.status_code = status
        self.reason = "because"
        self.headers = headers or {}


def http(status, kind=HttpResponseError, *, code=None, headers=None):
    error = kind("it said no")
    error.status_code = status
    error.response = Response(status, headers)
    if code:
        error.error_code = code
    return error


def wrapped(inner):
    """What a client raises that packs another's exception away."""
    error = RuntimeError("something went wrong")
    error.__cause__ = inner
    return error


def of_requests(status):
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("no", response=response)


TABLE = [
    (http(400), Refused),
    (http(401, ClientAuthenticationError), Denied),
    (http(403), Denied),
    (http(404, ResourceNotFoundError), Missing),
    (http(405), Refused),
    (http(408), Unavailable),
    (http(409), Busy),
    (http(409, ResourceExistsError, code="BlobAlreadyExists"), StaleRecord),
    (http(409, code="LeaseAlreadyPresent"), Busy),
    (http(409, code="LeaseIdMismatchWithLeaseOperation"), StaleRecord),
    (http(410), Missing),
    (http(412, ResourceModifiedError), StaleRecord),
    (http(412, code="LeaseLost"), StaleRecord),
    (http(412, code="LeaseIdMissing"), Busy),
    (http(413), Refused),
    (http(422), Refused),
    (http(429), Throttled),
    (http(500), Unavailable),
    (http(501), Refused),
    (http(502), Unavailable),
    (http(503), Unavailable),
    (http(504), Unavailable),
    (ServiceRequestError("no route"), Unavailable),
    (ServiceResponseError("hung up"), Unavailable),
    (ClientAuthenticationError("no token"), Unavailable),
    (CredentialUnavailableError("the identity endpoint does not answer"), Unavailable),
    (requests.ConnectionError("refused"), Unavailable),
    (requests.ReadTimeout("slow"), Unavailable),
    (of_requests(429), Throttled),
    (of_requests(404), Missing),
    (ConnectionResetError("reset"), Unavailable),
    (TimeoutError("slow"), Unavailable),
    (RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run"}), Missing),
    (RestException({"error_code": "PERMISSION_DENIED", "message": "no"}), Denied),
    (RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}), Refused),
    (MlflowException("API request to x failed with exception HTTPSConnectionPool"), Unavailable),
    (MlflowException("API request to endpoint /x failed with error code 503 != 200"), Unavailable),
    (MlflowException("API request to endpoint /x failed with error code 429 != 200"), Throttled),
    (wrapped(http(404)), Missing),
    (wrapped(ServiceRequestError("no route")), Unavailable),
]


@pytest.mark.parametrize(("foreign", "ours"), TABLE, ids=lambda value: str(value)[:40])
def test_every_foreign_exception_has_one_name_of_ours(foreign, ours):
    """The class alone says whether to try again; the cause is kept, the doing is said."""
    with pytest.raises(DroptuneError) as raised, failing("doing it"):
        raise foreign
    assert type(raised.value) is ours
    assert raised.value.__cause__ is foreign
    assert str(raised.value).startswith("doing it: ")


def test_a_damaged_archive_is_no_broken_connection():
    """httpx calls a connection that broke by the same name: ReadError."""

    class ReadError(Exception):
        """As httpx's."""

    assert translation(tarfile.ReadError("unexpected end of data"), "doing it") is None
    assert isinstance(translation(ReadError("hung up"), "doing it"), Unavailable)


def test_bugs_pass_through_as_they_are():
    """A KeyError of our own is no failure of Azure's."""
    with pytest.raises(KeyError), failing("doing it"):
        raise KeyError("x")
    assert translation(ValueError("x"), "doing it") is None


def test_what_is_ours_already_stays():
    """Nested adapters do not wrap one another's errors."""
    error = Missing("gone")
    with pytest.raises(Missing) as raised, failing("doing it"):
        raise error
    assert raised.value is error


@pytest.mark.filterwarnings("ignore::marshmallow.warnings.RemovedInMarshmallow4Warning")
@pytest.mark.filterwarnings("ignore::marshmallow.warnings.ChangedInMarshmallow4Warning")
def test_the_sdks_own_complaints_are_refusals_or_missing():
    """azure-ai-ml raises before it asks Azure: what is absent is missing, the rest refused."""
    from azure.ai.ml.exceptions import ErrorTarget, ValidationException

    def complaint(text):
        return ValidationException(
            message=text, target=ErrorTarget.MODEL, no_personal_data_message=text
        )

    absent = translation(complaint("Asset x does not exist in registry y."), "fetching x")
    assert type(absent) is Missing
    assert type(translation(complaint("x must be y"), "fetching x")) is Refused


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"Retry-After": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"x-ms-retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "Mon, 05 Jan 2026 08:00:30 GMT"}, 30),
        ({"Retry-After": "Mon, 05 Jan 2026 07:00:00 GMT"}, 0),
        ({"Retry-After": "99999999"}, 3600),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Mon, 05 Jan 99999999999999999999 08:00:30 GMT"}, None),
        ({}, None),
    ],
)
def test_the_pause_that_is_asked_for_is_understood(headers, pause):
    """Seconds, milliseconds, dates; nonsense is no pause, and none is longer than an hour."""
    now = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
    expected = None if pause is None else timedelta(seconds=pause)
    assert retry_after(headers, now) == expected


def test_a_throttled_call_says_for_how_long():
    """The pause travels with the error."""
    error = translation(http(429, headers={"Retry-After": "12"}), "listing")
    assert isinstance(error, Throttled)
    assert error.retry_after == timedelta(seconds=12)
    assert of_status(503, "x", headers={"Retry-After": "3"}).retry_after == timedelta(seconds=3)


@pytest.mark.parametrize(
    "text",
    [
        "GET https://a.blob.core.windows.net/c/b?sv=2024&sig=SECRET%3D failed",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=SECRET==;",
        "SharedAccessSignature=sv=1&sig=SECRET",
        "Authorization: Bearer SECRET.SECRET.SECRET refused",
        '{"primaryKey": "SECRET", "x": 1}',
        "password=SECRET",
        "https://user:SECRET@host/x",
    ],
)
def test_no_secret_gets_into_a_message(text):
    """Signatures, keys, tokens and passwords are left out of whatever a service repeats."""
    assert "SECRET" not in plain(text)


def test_messages_are_short_and_on_one_line():
    """A page of HTML does not become a record's reason."""
    said = plain("a\n\tb " + "x" * 5000)
    assert said.startswith("a b xxx")
    assert len(said) <= LONGEST
