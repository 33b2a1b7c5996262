"""A deployment's request as values."""

from __future__ import annotations

import pytest

from local.azureml.deployment_settings import Probe, container_shape, read, with_defaults
from local.azureml.wire import ArmError, NotEmulated


def test_defaults_are_those_of_the_service():
    """What a request leaves out is filled in, and nothing is null that the SDK looks into."""
    filled = with_defaults({"model": "m", "livenessProbe": None, "scaleSettings": None})
    assert filled["scaleSettings"] == {"scaleType": "Default"}
    assert filled["requestSettings"]["requestTimeout"] == "PT5S"
    assert filled["livenessProbe"]["failureThreshold"] == 30
    wanted = read(filled, None)
    assert (wanted.instances, wanted.request_timeout, wanted.max_concurrent) == (1, 5.0, 1)
    assert wanted.liveness == wanted.readiness == Probe(10, 10, 2, 30)


def test_a_slow_start_is_bounded_by_the_longer_probe():
    """The notebook's initial delay of 600 s gives 900 s, the defaults alone 310 s."""
    assert read(with_defaults({"model": "m"}), 1).startup_budget == 310
    slow = with_defaults({"model": "m", "livenessProbe": {"initialDelay": "PT10M"}})
    assert read(slow, 1).startup_budget == 900


def test_pending_requests_are_bounded_by_twice_what_is_worked_on():
    """2 * max_concurrent_requests_per_instance * instances."""
    settings = {"maxConcurrentRequestsPerInstance": 3}
    wanted = read(with_defaults({"model": "m", "requestSettings": settings}), 2)
    assert wanted.most_pending == 12


def test_every_problem_is_told_at_once():
    """Places and reasons of all that is wrong come in one refusal."""
    filled = with_defaults(
        {
            "requestSettings": {"requestTimeout": "PT3M1S"},
            "livenessProbe": {"period": "ten", "failureThreshold": 0},
        }
    )
    with pytest.raises(ArmError) as refused:
        read(filled, 51)
    text = refused.value.details[0].message
    for place in (
        "Model",
        "Capacity",
        "RequestSettings.RequestTimeout",
        "LivenessProbe.Period",
        "LivenessProbe.FailureThreshold",
    ):
        assert place in text


@pytest.mark.parametrize(
    "properties",
    [
        {"endpointComputeType": "Kubernetes"},
        {"codeConfiguration": {"codeId": "c", "scoringScript": "score.py"}},
        {"environmentId": "azureml://registries/azureml/environments/sklearn-1.5/versions/1"},
        {"scaleSettings": {"scaleType": "TargetUtilization"}},
        {"dataCollector": {"collections": {}}},
    ],
)
def test_what_only_the_real_service_runs_is_501(properties):
    """A deployment that would run something else than it says is refused."""
    with pytest.raises(NotEmulated):
        read(with_defaults({"model": "m", **properties}), 1)


@pytest.mark.parametrize(
    ("environment", "image", "shape"),
    [
        ("", None, "mlflow"),
        ("", "mcr.microsoft.com/azureml/minimal", "mlflow"),
        ("", "mcr.microsoft.com/x/foundation-model-inference:63", "foundation-model-inference"),
        (
            "…/foundation-model-serve/versions/3",
            "foundation-model-inference:63",
            "foundation-model-serve",
        ),
    ],
)
def test_the_environment_comes_before_the_models_image(environment, image, shape):
    """Which server answers."""
    assert container_shape(environment, image) == shape
