"""Keys and tokens of online endpoints: drawn, kept, shown, renewed."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from local.azureml import identity
from local.azureml.wire import ArmError

if TYPE_CHECKING:
    from local.azureml.plane import Plane

KIND = "online-endpoint-keys"
NAMES = ("primaryKey", "secondaryKey")


def keys(plane: Plane, endpoint_id: str) -> dict[str, str]:
    """`primaryKey` and `secondaryKey` of an endpoint that is there."""
    found = plane.store.get(KIND, endpoint_id)
    assert found is not None
    return {name: str(found.body[name]) for name in NAMES}


def write(plane: Plane, endpoint_id: str, given: dict[str, Any]) -> None:
    """Keep keys of the caller's choice, or new ones."""
    drawn = {name: given.get(name) or secrets.token_urlsafe(32) for name in NAMES}
    plane.store.put(KIND, endpoint_id, drawn)


def renew(plane: Plane, endpoint_id: str, given: dict[str, Any]) -> None:
    """Replace one key.

    azure-ai-ml sends the present key as `keyValue`; that asks for a new one, too.

    Args:
        plane: The control plane.
        endpoint_id: Whose.
        given: `keyType` (Primary or Secondary) and, if the caller chooses the key, `keyValue`.

    Raises:
        ArmError: 400; the type is none.
    """
    field = {"primary": NAMES[0], "secondary": NAMES[1]}.get(str(given.get("keyType")).lower())
    if field is None:
        raise ArmError(
            400, "UserError", f"keyType must be Primary or Secondary: {given.get('keyType')!r}."
        )
    present, wanted = keys(plane, endpoint_id), given.get("keyValue")
    fresh = wanted if wanted and wanted != present[field] else secrets.token_urlsafe(32)
    plane.store.put(KIND, endpoint_id, {**present, field: fresh})


def token(plane: Plane, endpoint_id: str) -> dict[str, Any]:
    """A token for one endpoint, as the `token` call of an `AMLToken` endpoint answers it."""
    value, expires = identity.issue_token(plane, endpoint_id.lower())
    return {
        "accessToken": value,
        "expiryTimeUtc": expires,
        "refreshAfterTimeUtc": expires - identity.LIFETIME_SECONDS // 2,
        "tokenType": "Bearer",
    }
