"""Under a steady load through the proxy no request is lost: not in a switch, not with a bad canary.

The proxy, the gateway, its metrics and the scoring processes are real; whatever is tried again is tried again by
the proxy.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from whole_runs import Droptune

from shared.runs.phases import Phase
from shared.runs.record import Run
from shared.serving.api_keys import ApiKeys, digest
from shared.serving.options import Options
from shared.serving.proxy import Proxy
from shared.serving.records import Records

KEY = "a key of Droptune's own"
CLIENTS = 4
CANARY = {"rollout": "canary", "canary": {"shares": [50], "bake": "10m"}, "keep_old": "1m"}


@dataclass
class Load:
    """Clients that ask one after the other, each as soon as it has its answer."""

    proxy: Proxy
    model: str
    answers: Counter[str] = field(default_factory=Counter)
    lost: list[tuple[int, bytes]] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask_on(self) -> None:
        body = json.dumps(
            {"model": self.model, "messages": [{"role": "user", "content": "Hello"}]}
        ).encode()
        while True:
            answer = await self.proxy.chat(f"Bearer {KEY}", body)
            if answer.status == 200:
                said = json.loads(answer.body)["choices"][0]["message"]["content"]
                self.answers[said] += 1
                self.answered.set()
            else:
                self.lost.append((answer.status, answer.body))
            await asyncio.sleep(0.01)

    async def until_answered(self, by: str, times: int = 20) -> None:
        """Wait until a model has answered so often from now on."""
        already = self.answers[by]
        while self.answers[by] < already + times:
            self.answered.clear()
            await self.answered.wait()


@asynccontextmanager
async def load(
    droptune: Droptune, model: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Load]:
    # aiohttp reads SSL_CERT_FILE once, at its import, which was before this test's.
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", ssl.create_default_context())
    records = Records(droptune.world, key=droptune.workspace.key, note=droptune.world.uses.note)
    proxy = Proxy(ApiKeys([digest(KEY)]), records, records, records, Options(fresh=1.0))
    loaded = Load(proxy, model)
    clients = [asyncio.create_task(loaded.ask_on()) for _ in range(CLIENTS)]
    try:
        yield loaded
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await proxy.close()


async def serving(droptune: Droptune, name: str) -> Run:
    run = await asyncio.to_thread(droptune.play, droptune.drop(name))
    assert run.phase is Phase.SERVING, run.why
    return run


async def test_no_request_is_lost_in_a_blue_green_switch(
    droptune: Droptune, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old deployment answers until the new one does, and ends without a request in hand."""
    old = await serving(droptune, "switched")
    async with load(droptune, "switched", monkeypatch) as loaded:
        await loaded.until_answered(by=old.facts.job or "")
        new = await asyncio.to_thread(
            droptune.play, droptune.drop("switched", deploy={"keep_old": "1m"})
        )
        assert new.phase is Phase.SERVING, new.why
        await loaded.until_answered(by=new.facts.job or "")
        droptune.advance(minutes=2)
        await asyncio.to_thread(droptune.settle, old.id, new.id)
        await loaded.until_answered(by=new.facts.job or "")
    assert loaded.lost == []
    assert droptune.run(old.id).phase is Phase.SUPERSEDED
    assert droptune.deployments(new.id) == {new.facts.deployment}


@pytest.mark.parametrize(
    "failure",
    [
        {"status": 424, "model_status": 500},
        {"status": 500, "body": "the gateway lost it"},
        {"status": 429, "body": "Too many requests"},
    ],
    ids=["the model fails", "the gateway fails", "it is too small"],
)
async def test_no_request_is_lost_with_a_canary_that_fails_and_is_taken_back(
    droptune: Droptune, monkeypatch: pytest.MonkeyPatch, failure: dict
) -> None:
    """Half of the traffic goes to a deployment that fails every request, and nobody notices."""
    name = f"ill-{failure['status']}"
    old = await serving(droptune, name)
    async with load(droptune, name, monkeypatch) as loaded:
        new = droptune.drop(name, deploy=CANARY)
        found = await asyncio.to_thread(
            droptune.until, lambda: droptune.run(new), lambda run: run.facts.shares
        )
        await loaded.until_answered(by=found.facts.job or "")
        deployment = f"/{found.facts.deployment}$"
        droptune.control("POST", "scoring-failures", {"deployment": deployment, **failure})
        await loaded.until_answered(by=old.facts.job or "", times=40)
        ended = await asyncio.to_thread(droptune.play, new)
        await loaded.until_answered(by=old.facts.job or "")
    assert loaded.lost == []
    assert (ended.phase, droptune.run(old.id).phase) == (Phase.FAILED, Phase.SERVING)
    assert "of its requests fail" in ended.why
    assert droptune.deployments(old.id) == {old.facts.deployment}


async def test_no_request_is_lost_with_a_canary_that_answers_with_nothing(
    droptune: Droptune, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No count shows an empty answer with status 200; the proxy sees it, and the next smoke test ends it."""
    old = await serving(droptune, "hollow")
    async with load(droptune, "hollow", monkeypatch) as loaded:
        new = droptune.drop("hollow", deploy=CANARY)
        found = await asyncio.to_thread(
            droptune.until, lambda: droptune.run(new), lambda run: run.facts.shares
        )
        await loaded.until_answered(by=found.facts.job or "")
        failure = {"deployment": f"/{found.facts.deployment}$", "status": 200, "body": "{}"}
        droptune.control("POST", "scoring-failures", failure)
        await loaded.until_answered(by=old.facts.job or "", times=40)
        droptune.advance(minutes=11)
        ended = await asyncio.to_thread(droptune.play, new)
        await loaded.until_answered(by=old.facts.job or "")
    assert loaded.lost == []
    assert ended.phase is Phase.FAILED
    assert "the smoke test failed: the answer is empty" in ended.why
