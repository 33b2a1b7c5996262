"""Who may ask: Droptune's own API keys, sent as OpenAI clients send theirs.

Settings hold only the SHA-256 of each key, so that who reads the settings cannot ask.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final

from shared.errors import Problem, SettingsError
from shared.serving.answers import Answer, failure

if TYPE_CHECKING:
    from collections.abc import Iterable

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def digest(key: str) -> str:
    """What settings hold of `key`: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class ApiKeys:
    """The keys that open the scoring routes."""

    def __init__(
        self, digests: Iterable[str], *, setting: str = "DROPTUNE_API_KEY_DIGESTS"
    ) -> None:
        """Take the digests of all keys; without any, nobody is let in.

        Args:
            digests: SHA-256 digests in hexadecimal digits.
            setting: Where they came from, for the error.

        Raises:
            SettingsError: Some are no SHA-256 digests (they are not repeated: one may be a key).
        """
        known = [digest.strip().lower() for digest in digests]
        problems = [
            Problem(
                f"{setting}[{place}]",
                "is not a SHA-256 digest",
                "Put the 64 hexadecimal digits of the key's SHA-256 there, not the key",
            )
            for place, value in enumerate(known)
            if not _DIGEST.fullmatch(value)
        ]
        if problems:
            raise SettingsError(problems)
        self._digests = tuple(bytes.fromhex(value) for value in known)

    def refusal(self, authorization: str | None) -> Answer | None:
        """`None` for who is let in; for others OpenAI's 401.

        Every digest is compared, each in constant time, so that time tells nothing.

        Args:
            authorization: The header's value, `Bearer <key>`.
        """
        scheme, _, key = (authorization or "").strip().partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            return _unauthorized(
                "You didn't provide an API key. Send it as 'Authorization: Bearer <key>'.", None
            )
        given = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        admitted = False
        for known in self._digests:
            admitted |= hmac.compare_digest(known, given)
        return (
            None if admitted else _unauthorized("Incorrect API key provided.", "invalid_api_key")
        )


def _unauthorized(message: str, code: str | None) -> Answer:
    answer = failure(401, message, code=code)
    return Answer(answer.status, answer.body, {**answer.headers, "WWW-Authenticate": "Bearer"})
