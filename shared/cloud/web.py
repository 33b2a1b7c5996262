"""Requests to servers that a manifest names: https alone, listed hosts alone, public addresses alone.

Every hop of a redirect is held to the same three rules, and the connection goes to the very address that was checked:
a name that resolves to something else a moment later gains nothing. Proxies in the environment are not used.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

from shared.cloud.addresses import is_public
from shared.cloud.storage import CONNECT_SECONDS, READ_SECONDS
from shared.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_PORT: Final = 443
_MOST_HOPS: Final = 5
_LONGEST_HEAD: Final = 1 << 20
"""Most bytes before an answer's body, with any number of interim answers (100 Continue) before it."""
_GRACE_SECONDS: Final = 60.0
_SLOWEST: Final = 16 << 10
"""Bytes in a second of waiting; a server that sends fewer, after the grace, is given up for now."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PRINTABLE: Final = re.compile(r"[!-~]+")


class NotAllowed(Exception):
    """This address may not be asked; the message says why, to follow the address."""

    def __init__(self, reason: str, mend: str = "") -> None:
        super().__init__(reason)
        self.mend = mend


@dataclass(frozen=True, slots=True)
class Target:
    """Where one request goes.

    Attributes:
        host: In lower case.
        port: 443 unless the address says another.
        path: With the query, as it is sent.
    """

    host: str
    port: int
    path: str


def shown(url: str) -> str:
    """An address without user, query and fragment, where secrets are.

    >>> shown("https://me:pw@example.org/a.jsonl?sig=x#y")
    'https://example.org/a.jsonl'
    """
    return re.sub(r"^(\w+://)[^/?#]*@", r"\1", re.split(r"[?#]", url, maxsplit=1)[0])


def target_of(url: str, hosts: frozenset[str]) -> Target:
    """The target of an address, if it is one that may be asked.

    Args:
        url: As the manifest or a redirect gives it.
        hosts: `HOST` for port 443, or `HOST:PORT`, in lower case.

    Raises:
        NotAllowed: It is not.
    """
    if not _PRINTABLE.fullmatch(url):
        raise NotAllowed("holds spaces or letters beyond ASCII", "Escape them with % codes")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port or _PORT
    except ValueError as error:
        raise NotAllowed(f"is no address: {error}") from error
    if parts.scheme != "https":
        raise NotAllowed("is not https", "Give an https address")
    if parts.username is not None or parts.password is not None:
        raise NotAllowed("holds a user or password", "Upload the file to the container 'data'")
    if (host if port == _PORT else f"{host}:{port}") not in hosts:
        raise NotAllowed(
            f"is on the host '{host}', which is not on the list",
            "Upload the file to the container 'data', or have the host added to DROPTUNE_DATA_HOSTS",
        )
    return Target(host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


@dataclass(frozen=True, slots=True)
class Web:
    """What asks servers.

    Attributes:
        hosts: Those that may be asked, as for `target_of`.
        permits: Whether an address may be connected to.
    """

    hosts: frozenset[str]
    permits: Callable[[str], bool] = field(default=is_public)

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        """Ask, following redirects; the answer may be of any status, and is read within the context.

        Raises:
            NotAllowed: The address, or one that it redirects to, may not be asked, or its certificate is not to
                be trusted.
            Unavailable: The server could not be reached, or did not answer in time.
        """
        asked = url
        for _ in range(_MOST_HOPS + 1):
            target = target_of(asked, self.hosts)
            connection = self._connected(target)
            try:
                connection.request("GET", target.path, headers=dict(headers))
                # An answer that ends with its connection has taken that over, and closes it.
                with connection.getresponse() as answer:
                    location = answer.headers.get("Location")
                    if answer.status not in _REDIRECTS or location is None:
                        yield answer
                        return
            except ssl.SSLCertVerificationError as error:
                raise NotAllowed(
                    f"has a certificate that is not trusted: {error.verify_message}"
                ) from error
            finally:
                connection.close()
            asked = _led_to(asked, location)
            try:
                target_of(asked, self.hosts)
            except NotAllowed as error:
                raise NotAllowed(
                    f"redirects to {shown(asked)}, which {error}", error.mend
                ) from error
        raise NotAllowed(f"redirects more than {_MOST_HOPS} times")

    def _connected(self, target: Target) -> _Connection:
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unavailable(f"looking for the host {target.host}: {error}") from error
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        if refused := [address for address in addresses if not self.permits(address)]:
            raise NotAllowed(
                f"is at {refused[0]}, which is no address of the public internet",
                "Upload the file to the container 'data'",
            )
        return _Connection(target, addresses)


def _led_to(asked: str, location: str) -> str:
    """The address that a redirect from another leads to."""
    try:
        return urljoin(asked, location)
    except ValueError as error:
        raise NotAllowed(f"redirects to what is no address: {error}") from error


class _Incoming(io.RawIOBase):
    """What a server sends: as long as it does not keep us waiting all in all, and comes to its point.

    A byte every few seconds never runs into a socket's own time limit.
    """

    def __init__(self, sock: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._clock = clock
        self._waited = 0.0
        self._received = 0
        self._most: int | None = _LONGEST_HEAD

    def readable(self) -> bool:
        return True

    def begin_body(self) -> None:
        """From here on its length is known, and bounded elsewhere."""
        self._most = None

    def readinto(self, buffer: Any) -> int:
        left = _GRACE_SECONDS + self._received / _SLOWEST - self._waited
        if left <= 0:
            raise TimeoutError(f"slower than {_SLOWEST >> 10} KiB in a second")
        if self._most is not None and self._received > self._most:
            raise http.client.HTTPException("an answer whose head has no end")
        self._sock.settimeout(min(left, READ_SECONDS))
        began = self._clock()
        count = self._raw.readinto(buffer) or 0
        self._waited += self._clock() - began
        self._received += count
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer that is read through `_Incoming`."""

    def __init__(self, sock: socket.socket, *given: Any, **named: Any) -> None:
        super().__init__(sock, *given, **named)
        self.fp.close()
        self._incoming = _Incoming(sock)
        self.fp = io.BufferedReader(self._incoming)

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        self._incoming.begin_body()


class _Connection(http.client.HTTPSConnection):
    """Connects to addresses that are known already, and asks them for the host's certificate."""

    response_class = _Answer

    def __init__(self, target: Target, addresses: list[str]) -> None:
        self._addresses = addresses
        self._trust = ssl.create_default_context()
        super().__init__(target.host, target.port, timeout=READ_SECONDS, context=self._trust)

    def connect(self) -> None:
        """Try the addresses in order.

        Raises:
            OSError: None of them can be reached.
        """
        failure: OSError | None = None
        for address in self._addresses:
            try:
                plain = socket.create_connection((address, self.port), CONNECT_SECONDS)
            except OSError as error:
                failure = error
                continue
            plain.settimeout(READ_SECONDS)
            self.sock = self._trust.wrap_socket(plain, server_hostname=self.host)
            return
        raise failure or ConnectionError(f"{self.host} has no address")
