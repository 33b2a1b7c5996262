"""The whole stack on this machine: storage, tracking, control plane, Event Grid, Functions host.

    with Stack(Path(".local")) as stack:
        os.environ.update(stack.environment)
        ...

The same from a shell: `python -m local up`, and in another one `eval "$(python -m local env)"`.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from filelock import FileLock, Timeout

from local import containers, environment, kept, topics, tracking_database
from local.azurite import Azurite
from local.certificates import ensure_certificates
from local.ports import is_free
from local.processes import StartFailed, answers
from local.supervision import Service, Supervisor, end_leftovers, supervisor_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

ROOT: Final = Path(__file__).parents[1]
DEFAULT_STATE: Final = ROOT / ".local"
DEMO_STATE: Final = DEFAULT_STATE / "demo"
TRAINING: Final = ROOT / ".venv-train" / "bin"
PACES: Final = ("instant", "seconds", "minutes")

AZURITE, MLFLOW, PLANE = "Azurite", "MLflow server", "control plane"
EVENT_GRID, HOST = "Event Grid", "Functions host"


class NotRunning(Exception):
    """No stack runs on this state folder."""


class Stack:
    """Starts, watches and ends the processes of one stack; a context manager.

    Args:
        state: Everything that must survive lies here; one stack at a time.
        pace: How long Azure's waits last: `instant`, `seconds` or `minutes` as in Azure.
        settings: App settings on top of the laptop's own and of `settings.json` in `state`.
        commands: Other commands for services, by name; for tests.
        tell: Gets one line for each thing worth knowing.
    """

    def __init__(
        self,
        state: Path = DEFAULT_STATE,
        *,
        pace: str = "seconds",
        settings: Mapping[str, str] | None = None,
        commands: Mapping[str, Sequence[str]] | None = None,
        tell: Callable[[str], None] = print,
    ) -> None:
        self.state = state.absolute()
        self.pace = pace
        self._settings = dict(settings or {})
        self._commands = dict(commands or {})
        self._tell = tell
        self._lock = FileLock(self.state / "lock", timeout=0)
        self._supervisor: Supervisor | None = None
        self._kept: kept.Kept | None = None

    @property
    def kept(self) -> kept.Kept:
        """Ports and secrets, kept since the first start."""
        if self._kept is None:
            raise NotRunning("The stack has not been started.")
        return self._kept

    @property
    def bundle(self) -> Path:
        """The certificates that clients of the stack trust."""
        return self.state / "certificates" / "bundle.pem"

    @property
    def environment(self) -> dict[str, str]:
        """What points SDKs, storage clients and Droptune's own clients at the stack."""
        return environment.client_environment(self.kept, self.bundle)

    @property
    def app_settings(self) -> dict[str, str]:
        """What the Functions host gets: the laptop's values, `settings.json`, then `settings`.

        Raises:
            StartFailed: `settings.json` is not an object of strings.
        """
        return {
            **environment.app_settings(self.kept, self.bundle),
            **_read_settings(self.state / "settings.json"),
            **self._settings,
        }

    @property
    def host_key(self) -> str:
        """The Functions host's own key, for the routes that ask for one."""
        return host_key(self.state)

    @property
    def pids(self) -> dict[str, int]:
        """The process of each service that runs now, by the service's name."""
        return self._supervisor.pids if self._supervisor else {}

    @property
    def failure(self) -> BaseException | None:
        """What ended the supervision, if something did."""
        return self._supervisor.failure if self._supervisor else None

    def start(self) -> None:
        """Start everything; returns when all answer but MLflow, which nothing needs before a job runs.

        Raises:
            StartFailed: Something cannot start; nothing is left running.
        """
        self.state.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise StartFailed(
                f"A stack runs already on {self.state}; end that one first."
            ) from None
        try:
            self._start()
        except BaseException:
            self._lock.release()
            raise

    def _start(self) -> None:
        record, mark = self.state / "processes.json", str(self.state)
        if ended := end_leftovers(record, mark):
            self._tell(f"Ended what an earlier stack had left: {', '.join(ended)}")
        try:
            self._kept = kept.load_or_make(self.state)
        except (kept.BrokenState, OSError) as error:
            raise StartFailed(str(error)) from error
        self._check_ports()
        kept.write_private(self.state / "topic.key", self.kept.topic_key)
        self._supervisor = Supervisor(
            self._services(), record=record, mark=mark, folder=ROOT, tell=self._tell
        )
        self._supervisor.start()

    def stop(self) -> None:
        """End everything; returns when no process is left."""
        if self._supervisor is not None:
            self._supervisor.stop()
            self._supervisor = None
        self._lock.release()

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

    def _check_ports(self) -> None:
        taken = {name: port for name, port in self.kept.ports.items() if not is_free(port)}
        if taken:
            listed = ", ".join(f"{port} ({name})" for name, port in taken.items())
            raise StartFailed(
                f"Another program listens on ports that this stack keeps: {listed}. End it, or "
                f"remove {self.state / 'stack.json'} to draw new ports and keys."
            )

    # The services.

    def _services(self) -> list[Service]:
        services = [
            self._azurite(),
            self._mlflow(),
            self._control_plane(),
            self._event_grid(),
            self._host(),
        ]
        missing = [s.command[0] for s in services if not Path(s.command[0]).exists()]
        if missing:
            raise StartFailed(f"Missing: {', '.join(missing)}. Run `make install`.")
        return services

    def _log(self, name: str) -> Path:
        return self.state / "logs" / f"{name.lower().replace(' ', '-')}.log"

    def _command(self, name: str, default: Sequence[str | Path | int]) -> list[str]:
        return [str(part) for part in self._commands.get(name, default)]

    def _asks(self, url: str) -> Callable[[], bool]:
        return lambda: answers(url, authority=self.bundle, timeout=1.0) == 200  # noqa: PLR2004

    def _azurite(self) -> Service:
        certificates = ensure_certificates(self.state / "certificates")
        azurite = Azurite(
            self.state / "azurite", certificates, self.kept.ports["blob"], self.kept.ports["queue"]
        )
        azurite.check_installed()
        return Service(
            name=AZURITE,
            command=self._command(AZURITE, azurite.command),
            log=self._log(AZURITE),
            ready=azurite.is_ready,
            settle=lambda: containers.ensure(azurite.connection_string, self.bundle),
        )

    def _mlflow(self) -> Service:
        folder, port = self.state / "mlflow", self.kept.ports["mlflow"]

        def prepare() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            if tracking_database.discard_unfinished(folder):
                self._tell("MLflow had been killed while it made its database; it begins again")

        command: list[str | Path | int] = [
            *(TRAINING / "mlflow", "server", "--host", "127.0.0.1", "--port", port),
            *("--backend-store-uri", f"sqlite:///{folder / tracking_database.NAME}"),
            *("--artifacts-destination", folder / "artifacts", "--workers", 1),
        ]
        return Service(
            name=MLFLOW,
            command=self._command(MLFLOW, command),
            log=self._log(MLFLOW),
            ready=self._asks(f"http://127.0.0.1:{port}/health"),
            prepare=prepare,
            settle=lambda: tracking_database.note_made(folder),
            awaited=False,  # the slowest to start; the control plane waits for it before a job
            environment={
                "MLFLOW_DISABLE_TELEMETRY": "true",
                # Its job runner, which nothing here uses, would be eight processes more.
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            },
        )

    def _control_plane(self) -> Service:
        ports = self.kept.ports
        command: list[str | Path | int] = [
            *(sys.executable, "-m", "local.azureml", "--state", self.state / "azureml"),
            *("--port", ports["control_plane"], "--identity-port", ports["identity"]),
            *("--certificates", self.state / "certificates"),
            *("--tracking-uri", f"http://127.0.0.1:{ports['mlflow']}"),
            *("--train-python", TRAINING / "python", "--pace", self.pace),
            *("--topic-endpoint", topics.publish_address(self.kept)),
            *("--topic-key-file", self.state / "topic.key"),
            *("--datastore", f"{environment.DATASTORE}=datasets"),
        ]
        return Service(
            name=PLANE,
            command=self._command(PLANE, command),
            log=self._log(PLANE),
            ready=self._asks(f"https://localhost:{ports['control_plane']}/healthz"),
            needs=(AZURITE,),
            environment={
                "AZURE_STORAGE_CONNECTION_STRING": environment.storage(self.kept),
                **self._trust(),
                "IDENTITY_HEADER": self.kept.identity_header,
            },
        )

    def _event_grid(self) -> Service:
        folder, port = self.state / "eventgrid", self.kept.ports["event_grid"]
        config, keys = folder / "topics.json", self.state / "host" / "keys.json"

        def prepare() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                topics.write_configuration(config, self.kept, keys)
            except (OSError, ValueError, KeyError) as error:
                raise StartFailed(f"The Functions host's keys cannot be used: {error}") from error

        command: list[str | Path | int] = [
            *(sys.executable, "-m", "local.eventgrid", "--port", port, "--state", folder),
            *("--config", config, "--pace", self.pace),
        ]
        return Service(
            name=EVENT_GRID,
            command=self._command(EVENT_GRID, command),
            log=self._log(EVENT_GRID),
            ready=self._asks(f"http://127.0.0.1:{port}/healthz"),
            needs=(AZURITE,),
            may_start=keys.exists,  # the host draws its keys at its first start
            prepare=prepare,
            environment={
                "AZURE_STORAGE_CONNECTION_STRING": environment.storage(self.kept),
                **self._trust(),
            },
        )

    def _host(self) -> Service:
        port = self.kept.ports["host"]
        command: list[str | Path | int] = [
            *(sys.executable, "-m", "local.host", "--app", ROOT),
            *("--port", port, "--state", self.state / "host"),
        ]
        return Service(
            name=HOST,
            command=self._command(HOST, command),
            log=self._log(HOST),
            ready=self._asks(f"http://127.0.0.1:{port}/healthz"),
            needs=(AZURITE,),
            environment=self.app_settings,
        )

    def _trust(self) -> dict[str, str]:
        return {"REQUESTS_CA_BUNDLE": str(self.bundle), "SSL_CERT_FILE": str(self.bundle)}


def running_environment(state: Path = DEFAULT_STATE) -> dict[str, str]:
    """What `Stack.environment` is for the stack that runs on `state` in another process.

    Raises:
        NotRunning: None does.
    """
    state = state.absolute()
    found = kept.load(state) if supervisor_runs(state / "processes.json") else None
    if found is None:
        where = "" if state == DEFAULT_STATE else f" --state {shlex.quote(str(state))}"
        raise NotRunning(f"No stack runs on {state}. Start one: python -m local up{where}")
    return environment.client_environment(found, state / "certificates" / "bundle.pem")


def host_key(state: Path = DEFAULT_STATE) -> str:
    """The Functions host's own key, for the routes that ask for one.

    Raises:
        NotRunning: The host has not made its keys.
    """
    try:
        return str(json.loads((state / "host" / "keys.json").read_text())["host"])
    except (OSError, ValueError, KeyError):
        raise NotRunning("The Functions host has made no keys yet.") from None


def _read_settings(file: Path) -> dict[str, str]:
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StartFailed(f"{file}: cannot be read: {error}") from error
    wrong = (
        [name for name, value in found.items() if not isinstance(value, str)]
        if isinstance(found, dict)
        else ["the file"]
    )
    if wrong:
        raise StartFailed(f"{file}: must be an object of strings; mend {', '.join(wrong)}")
    return dict(found)
