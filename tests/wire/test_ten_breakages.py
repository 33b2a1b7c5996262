"""The ten ways in which the fine-tuning notebook breaks when it is automated word for word."""

from __future__ import annotations

from whole_runs import PROMPTS, Droptune

from shared.runs import naming
from shared.runs.phases import Phase


def test_9_the_smoke_test_ends_with_the_users_turn(droptune: Droptune) -> None:
    """The notebook sends a whole conversation that ends with the assistant's; MLflow's predictor refuses it."""
    from shared.data.prompts import prompt_of, sample_prompts

    row = {
        "messages": [
            {"role": "user", "content": "Hello?"},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "Open on Saturday?"},
            {"role": "assistant", "content": "Yes."},
        ]
    }
    import json

    line = prompt_of(json.dumps(row).encode())
    assert line is not None
    (prompt,) = sample_prompts([line + b"\n"], 1)
    assert prompt[-1] == {"role": "user", "content": "Open on Saturday?"}
    PROMPTS.insert(0, prompt)
    try:
        run = droptune.play(droptune.drop("user-last", {"serves": {"last": "user"}}))
    finally:
        PROMPTS.remove(prompt)
    assert run.phase is Phase.SERVING, run.why
    assert run.facts.answers[0].question == "Open on Saturday?"


def test_10_an_endpoints_name_is_never_too_long(droptune: Droptune) -> None:
    """A sample's name plus a time stamp is longer than the 32 characters that the SDK takes."""
    name = "multi-lingual-reasoning-chat-completion-1764097200"
    run = droptune.play(droptune.drop(name))
    assert run.phase is Phase.SERVING, run.why
    azure_name = run.facts.endpoint or ""
    assert len(azure_name) <= naming.ENDPOINT_LIMIT < len(name)
    from conftest import make_client

    endpoint = make_client().online_endpoints.get(azure_name)
    assert endpoint.traffic == {run.facts.deployment: 100}
