"""The managed identity endpoint: how an unmodified `DefaultAzureCredential` gets its token here.

azure-identity takes `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` as the sign of App Service's managed
identity and asks that address over plain http
(learn.microsoft.com/azure/app-service/overview-managed-identity, "REST endpoint reference").
The token is a signed JWT for the resource that was asked for; the control plane takes no other.
"""

from __future__ import annotations

import hmac
import secrets
import time
from typing import TYPE_CHECKING, Any

import jwt
from aiohttp import web

from local.azureml.wire import ArmError

if TYPE_CHECKING:
    from local.azureml.plane import Plane

TENANT = "00000000-0000-0000-0000-000000000002"
PRINCIPAL = "00000000-0000-0000-0000-000000000003"
AML_RESOURCE = "https://ml.azure.com"
LIFETIME_SECONDS = 24 * 3600


def authored(created: str, modified: str) -> dict[str, str]:
    """`systemData` of what a caller made; there is one caller.

    Args:
        created: When it was made, in ISO 8601.
        modified: When it was last changed.
    """
    return {
        "createdAt": created,
        "createdBy": PRINCIPAL,
        "createdByType": "User",
        "lastModifiedAt": modified,
        "lastModifiedBy": PRINCIPAL,
        "lastModifiedByType": "User",
    }


def _secret(plane: Plane, name: str) -> str:
    """A secret of this state folder, drawn at first use."""
    found = plane.store.get("secret", name)
    if found is None:
        found = plane.store.put("secret", name, {"value": secrets.token_hex(32)})
    return str(found.body["value"])


def identity_header(plane: Plane) -> str:
    """The value of `IDENTITY_HEADER`: who has it may have tokens."""
    return plane.settings.identity_header or _secret(plane, "identity-header")


def issue_token(plane: Plane, resource: str) -> tuple[str, int]:
    """A JWT whose audience is `resource`, and when it expires (seconds since 1970)."""
    now = int(time.time())
    claims = {
        "aud": resource,
        "iss": f"https://sts.windows.net/{TENANT}/",
        "iat": now,
        "nbf": now,
        "exp": now + LIFETIME_SECONDS,
        "tid": TENANT,
        "oid": PRINCIPAL,
        "sub": PRINCIPAL,
        "name": "Droptune on this laptop",
    }
    return jwt.encode(
        claims, _secret(plane, "token-key"), algorithm="HS256"
    ), now + LIFETIME_SECONDS


def check_bearer(
    plane: Plane, request: web.Request, *, audience: str | None = None
) -> dict[str, Any]:
    """The claims of the request's bearer token.

    Args:
        plane: The control plane.
        request: Its `Authorization` header carries the token.
        audience: What the token must be for; ARM or Azure ML when it is not given.

    Raises:
        ArmError: 401 with ARM's code: no token, not ours, out of date, or for another resource.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _unauthorized(
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing or invalid.",
        )
    accepted = [plane.url, plane.url + "/", AML_RESOURCE, AML_RESOURCE + "/"]
    if audience is not None:
        accepted = [audience]
    try:
        return jwt.decode(
            token, _secret(plane, "token-key"), algorithms=["HS256"], audience=accepted
        )
    except jwt.InvalidAudienceError:
        raise _unauthorized(
            "InvalidAuthenticationTokenAudience",
            "The access token has been obtained for wrong audience or resource. It should exactly "
            f"match with one of the allowed audiences {', '.join(accepted)}.",
        ) from None
    except jwt.ExpiredSignatureError:
        raise _unauthorized(
            "ExpiredAuthenticationToken", "The access token expiry is in the past."
        ) from None
    except jwt.InvalidTokenError:
        raise _unauthorized("InvalidAuthenticationToken", "The access token is invalid.") from None


def _unauthorized(code: str, message: str) -> ArmError:
    challenge = 'Bearer authorization_uri="https://localhost/", error="invalid_token"'
    return ArmError(401, code, message, headers={"WWW-Authenticate": challenge})


def create_identity_app(plane: Plane) -> web.Application:
    """The plain-http application with `/msi/token` and `/healthz`."""

    async def token(request: web.Request) -> web.Response:
        given = request.headers.get("X-IDENTITY-HEADER", "")
        if not hmac.compare_digest(given.encode(), identity_header(plane).encode()):
            problem = "X-IDENTITY-HEADER is missing or wrong: it must be IDENTITY_HEADER's value."
            return web.json_response({"statusCode": 401, "message": problem}, status=401)
        resource = request.query.get("resource")
        if not resource:
            problem = "The query parameter 'resource' is missing."
            return web.json_response({"statusCode": 400, "message": problem}, status=400)
        value, expires = issue_token(plane, resource)
        return web.json_response(
            {
                "access_token": value,
                "expires_on": str(expires),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": PRINCIPAL,
            }
        )

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ready"})

    app = web.Application()
    app.router.add_get("/msi/token", token)
    app.router.add_get("/healthz", healthz)
    return app
