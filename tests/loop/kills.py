"""What the tests that kill share: killing in each phase, and what must hold at the end."""

from __future__ import annotations

from tests.loop.conftest import KillableStack
from tests.loop.droptune import SMALL, Droptune

KILLED_IN = ["received", "prepared", "training", "trained", "approved", "registered", "deploying"]


def kill_in_each_phase(stack: KillableStack, kill) -> tuple[Droptune, dict]:
    """Kill as soon as the run is first seen in each phase; some phases pass too quickly to be seen."""
    droptune = Droptune(stack.state, stack.environment)
    droptune.upload_example()
    droptune.drop("velora.json", SMALL)
    killed: list[str] = []
    while True:
        run = droptune.wait("velora.json", "failed", "serving", *set(KILLED_IN) - set(killed))
        if run["phase"] in ("serving", "failed"):
            break
        killed.append(run["phase"])
        kill()
    assert run["phase"] == "serving", run["why"]
    assert "training" in killed
    assert len(killed) >= 3, killed
    return droptune, run


def check_nothing_is_twice(stack: KillableStack, sdk, run: dict) -> None:
    client = sdk(stack.environment)
    jobs = [job.name for job in client.jobs.list()]
    assert jobs == [f"{run['id']}-a1"]
    versions = list(client.models.list(name=run["facts"]["model"]))
    assert [version.version for version in versions] == [run["facts"]["model_version"]]
    endpoint = client.online_endpoints.get(run["facts"]["endpoint"])
    assert endpoint.traffic == {run["facts"]["deployment"]: 100}
    deployments = list(client.online_deployments.list(endpoint.name))
    assert [deployment.name for deployment in deployments] == [run["facts"]["deployment"]]


def check_it_answers(droptune: Droptune) -> None:
    with droptune.client(max_retries=10) as client:
        answer = client.chat.completions.create(
            model="velora", messages=[{"role": "user", "content": "Are you open on Sunday?"}]
        )
    assert answer.choices[0].message.content
