"""What the core needs of the world, in its own words.

`shared.cloud` fills these for Azure; the tests fill them in memory. Adapters translate every foreign
exception into `shared.errors`; in particular a lost race is `StaleRecord`, and what may be tried again is
`Transient`.
"""

from shared.runs.ports.azure_ml import (
    DataJobRequest,
    Deployment,
    DeploymentRequest,
    Endpoint,
    FoundationModel,
    Job,
    JobRequest,
    JobState,
    ModelRequest,
    Provisioning,
    Standing,
)
from shared.runs.ports.preparation import Configs, DataPlan, Message, Preparation, PreparedData
from shared.runs.ports.stores import (
    Dropped,
    EndpointStore,
    HeldEndpoint,
    Look,
    Looks,
    Manifests,
    Mark,
    RunStore,
    Uses,
)
from shared.runs.ports.workspace import Workspace
from shared.runs.ports.world import World

__all__ = [
    "Configs",
    "DataJobRequest",
    "DataPlan",
    "Deployment",
    "DeploymentRequest",
    "Dropped",
    "Endpoint",
    "EndpointStore",
    "FoundationModel",
    "HeldEndpoint",
    "Job",
    "JobRequest",
    "JobState",
    "Look",
    "Looks",
    "Manifests",
    "Mark",
    "Message",
    "ModelRequest",
    "Preparation",
    "PreparedData",
    "Provisioning",
    "RunStore",
    "Standing",
    "Uses",
    "Workspace",
    "World",
]
