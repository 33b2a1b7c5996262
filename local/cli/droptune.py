"""Droptune's HTTP routes, asked as a person with the host's key would."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

from local.stack import NotRunning, host_key, running_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Droptune:
    """The runs of the stack that runs on a state folder.

    Raises:
        NotRunning: No stack does.
    """

    def __init__(self, state: Path) -> None:
        self.environment = running_environment(state)
        self._url = self.environment["DROPTUNE_URL"]
        self._key = host_key(state)

    def runs(self, **query: str) -> list[dict[str, Any]]:
        """What `GET /api/runs` lists.

        Raises:
            NotRunning: The host does not answer.
        """
        found = self._get("/api/runs", query) or {}
        return list(found.get("runs", []))

    def run(self, identity: str) -> dict[str, Any] | None:
        """The whole record of a run; None when there is none with this id.

        Raises:
            NotRunning: The host does not answer.
        """
        return self._get(f"/api/runs/{urllib.parse.quote(identity, safe='')}", {})

    def _get(self, path: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        asked = f"?{urllib.parse.urlencode(query)}" if query else ""
        request = urllib.request.Request(  # noqa: S310 - the stack's own http address
            f"{self._url}{path}{asked}", headers={"x-functions-key": self._key}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                body: dict[str, Any] = json.load(answer)
                return body
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:  # noqa: PLR2004
                    return None
                raise NotRunning(
                    f"Droptune answered {error.code} to {path}; the host's log says why."
                ) from None
        except (OSError, ValueError) as error:
            raise NotRunning(f"Droptune does not answer: {error}") from None
