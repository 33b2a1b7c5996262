"""The one module of the scoring path that talks HTTP: a pool of connections to the endpoints.

aiohttp, because it was measured against the other clients that could be had: it spends the least per request
by far (`benchmarks/scoring_proxy.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.serving.options import Options


@dataclass(frozen=True, slots=True)
class Reached:
    """An endpoint answered, with whatever status. Header names are compared without case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Trouble(Enum):
    """Why an endpoint did not answer."""

    NOT_CONNECTED = "could not be connected to"
    TIMED_OUT = "did not answer in time"
    BROKEN = "broke the connection off before its answer was complete"
    TOO_LONG = "answered at more length than is read"


_TRANSPORT_HEADERS: Final = ("User-Agent", "Accept-Encoding")


class Pool:
    """Connections to endpoints, opened at first use, kept open, on the loop of that first use."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[str, URL] = {}

    async def post(self, uri: str, body: bytes, headers: Mapping[str, str]) -> Reached | Trouble:
        """Ask once. Only after `NOT_CONNECTED` is it certain that nothing was sent.

        Redirects are not followed: the endpoint's key goes to the endpoint alone.
        """
        session = self._session or self._open()
        try:
            url = self._urls.get(uri) or self._parsed(uri)
            async with session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                answer = await self._read(response)
                if answer is None:
                    return Trouble.TOO_LONG
                return Reached(response.status, response.headers, answer)
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError, aiohttp.InvalidURL):
            return Trouble.NOT_CONNECTED
        except TimeoutError:
            return Trouble.TIMED_OUT
        except (aiohttp.ClientError, OSError):
            return Trouble.BROKEN

    async def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        options = self._options
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=options.connections, keepalive_timeout=options.idle_connection
            ),
            timeout=aiohttp.ClientTimeout(
                total=options.total_timeout, connect=options.connect_timeout
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_TRANSPORT_HEADERS,
        )
        return self._session

    def _parsed(self, uri: str) -> URL:
        if len(self._urls) > 1000:  # noqa: PLR2004 - many more than models
            self._urls.clear()
        url = self._urls[uri] = URL(uri)
        return url

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        """The whole body; `None` when it is longer than allowed."""
        limit = self._options.answer_limit
        length = response.content_length
        if length is not None and "Content-Encoding" not in response.headers:
            return await response.read() if length <= limit else None
        chunks = bytearray()
        async for chunk in response.content.iter_any():
            chunks += chunk
            if len(chunks) > limit:
                return None
        return bytes(chunks)
