"""What every resource module works with: settings, store, clock, and the workspace's own names."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.azureml.clock import TIMETABLES, Clock, Pace, Timetable
from local.azureml.wire import PROVIDER, REGION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.azureml.state import Store
    from local.certificates import Certificates

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Topic:
    """The Event Grid topic that job events go to."""

    endpoint: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a control plane is set up. Nothing here changes while it runs.

    Attributes:
        state: The folder of everything that must survive.
        certificates: What the HTTPS port presents.
        storage: Connection string of the workspace's storage account (Azurite).
        tracking_uri: The MLflow server; None refuses jobs and tracking with 501.
        train_command: The training process; the job's folder is appended.
        command_python: The Python that command jobs find as `python`; empty: this process's own.
        score_command: The scoring process; `--model DIR --port P --shape S` is appended.
        pace: Which timetable.
        topic: Where job events go; None sends none.
        datastores: Further datastores without credentials, by name: the container of each.
        training_slots: How many jobs train at once.
        subscription, group, workspace: The names on the wire.
        account: The storage account's name.
        identity_header: What the identity endpoint asks of those who want tokens; empty draws one.
    """

    state: Path
    certificates: Certificates
    storage: str = field(repr=False)
    tracking_uri: str | None = None
    train_command: tuple[str, ...] = ()
    command_python: str = ""
    score_command: tuple[str, ...] = ()
    pace: Pace = "seconds"
    topic: Topic | None = None
    datastores: Mapping[str, str] = field(default_factory=dict)
    training_slots: int = 1
    subscription: str = "00000000-0000-0000-0000-000000000001"
    group: str = "droptune"
    workspace: str = "droptune-local"
    identity_header: str = field(default="", repr=False)


@dataclass(slots=True)
class Plane:
    """One running control plane: what `routes(plane)` and `lifespan(plane)` of a module are given.

    Attributes:
        settings: How it was set up.
        store: What it remembers.
        clock: Its time.
        port: The HTTPS port.
        identity_port: The plain port of the identity endpoint.
        parts: Live objects that modules share at run time, by module name.
    """

    settings: Settings
    store: Store
    clock: Clock
    port: int
    identity_port: int
    parts: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """`https://localhost:PORT`, without a slash at the end."""
        return f"https://localhost:{self.port}"

    @property
    def timetable(self) -> Timetable:
        """How long things take."""
        return TIMETABLES[self.settings.pace]

    @property
    def workspace_id(self) -> str:
        """The workspace's ARM id, the prefix of all its resources' ids."""
        names = self.settings
        return (
            f"/subscriptions/{names.subscription}/resourceGroups/{names.group}"
            f"/providers/{PROVIDER}/workspaces/{names.workspace}"
        )

    @property
    def workspace_guid(self) -> str:
        """The workspace's GUID, derived from its ARM id."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, self.workspace_id))

    @property
    def region(self) -> str:
        """The one region there is."""
        return REGION

    def retry_after(self) -> dict[str, str]:
        """The `Retry-After` header of an unfinished operation at this pace, if any."""
        seconds = self.timetable.poll_seconds
        return {} if seconds is None else {"Retry-After": str(seconds)}
