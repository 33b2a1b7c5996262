"""What every test folder may use: real storage and the certificates that clients trust."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from local.azurite import Azurite
from local.azurite.installation import install
from local.certificates import ensure_certificates
from local.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.certificates import Certificates

TESTS = Path(__file__).parent

LONGEST_FIRST = ("loop", "compute", "wire", "host", "stack")
"""The folders whose tests start processes; a file of these last would leave the other worker idle."""

# Other work on the machine is no failure; whatever else the machine's profile says holds.
settings.register_profile(
    "untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let `pytest -n --dist loadfile` hand out the files that take longest first."""

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(TESTS).parts[0]
        known = folder in LONGEST_FIRST
        return LONGEST_FIRST.index(folder) if known else len(LONGEST_FIRST)

    items.sort(key=rank)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A certificate authority of this test session."""
    return ensure_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def azurite(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[Azurite]:
    """Azurite over HTTPS, one for the session: use containers and queues of your own.

    REQUESTS_CA_BUNDLE and SSL_CERT_FILE name the bundle while it runs, so that unmodified storage
    clients (requests and aiohttp alike) trust it without further options.
    """
    install()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(certificates.bundle))
        patch.setenv("SSL_CERT_FILE", str(certificates.bundle))
        ports = free_ports(["blob", "queue"]).values()
        with Azurite(tmp_path_factory.mktemp("azurite"), certificates, *ports) as running:
            yield running
