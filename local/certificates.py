"""A certificate authority of this laptop's own.

The Azure SDKs refuse bearer tokens over plain http and azure-ai-ml builds `https://` blob addresses, so the
local control plane and Azurite speak TLS. The authority is made once, at first start, and trusted through
`REQUESTS_CA_BUNDLE` and `SSL_CERT_FILE` alone; nothing is installed into the system.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the PEM files lie.

    Attributes:
        certificate: The server's certificate chain, valid for `localhost` and `127.0.0.1`.
        key: The server's private key; readable by its owner only.
        bundle: certifi's roots and the local authority: what clients trust.
    """

    certificate: Path
    key: Path
    bundle: Path

    def server_context(self) -> ssl.SSLContext:
        """A TLS context for a server that presents the certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context


def ensure_certificates(folder: Path) -> Certificates:
    """Return the certificates in `folder`, making them if this is the first start."""
    made = Certificates(folder / "server.pem", folder / "server.key", folder / "bundle.pem")
    if not made.bundle.exists():
        import certifi
        import trustme

        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA(organization_name="Droptune on this laptop")
        server = authority.issue_cert("localhost", "127.0.0.1", "::1")
        made.key.touch(mode=0o600)
        server.private_key_pem.write_to_path(str(made.key))
        made.certificate.write_bytes(b"".join(pem.bytes() for pem in server.cert_chain_pems))
        # The bundle comes last: its presence means that all three are whole.
        roots = certifi.contents().encode()
        partial = made.bundle.with_suffix(".partial")
        partial.write_bytes(roots + b"\n" + authority.cert_pem.bytes())
        partial.replace(made.bundle)
    return made
