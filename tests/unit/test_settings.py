"""The app settings."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest

from shared import settings
from shared.errors import SettingsError

GOOD = {
    "AZURE_SUBSCRIPTION_ID": "s",
    "AZURE_RESOURCE_GROUP": "g",
    "AZUREML_WORKSPACE": "w",
    "DROPTUNE_STORAGE": "UseDevelopmentStorage=true",
}


def test_every_problem_is_told_at_once():
    """Who sets up an app mends its settings in one go."""
    with pytest.raises(SettingsError) as caught:
        settings.read({"DROPTUNE_MAX_NODES": "0", "DROPTUNE_LOOK_AT_JOB": "soon"})
    assert {problem.place for problem in caught.value.problems} == {
        "AZURE_SUBSCRIPTION_ID",
        "AZURE_RESOURCE_GROUP",
        "AZUREML_WORKSPACE",
        "DROPTUNE_STORAGE",
        "DROPTUNE_MAX_NODES",
        "DROPTUNE_LOOK_AT_JOB",
    }


def test_a_key_in_place_of_its_digest_is_refused_without_repeating_it():
    """No secret gets into a log by way of an error."""
    with pytest.raises(SettingsError) as caught:
        settings.read(GOOD | {"DROPTUNE_API_KEYS": "my-secret-key"})
    assert "my-secret-key" not in str(caught.value)


def test_defaults_bound_what_may_be_spent():
    """Without any setting, one node, one instance and two runs are the most."""
    read = settings.read(GOOD | {"DROPTUNE_API_KEYS": hashlib.sha256(b"k").hexdigest()})
    assert (read.max_nodes, read.max_instances, read.max_runs) == (1, 1, 2)
    assert read.look_at_job == timedelta(minutes=1)


def test_identity_needs_both_addresses():
    """With identity, blob and queue services are named one by one."""
    environment = GOOD | {"DROPTUNE_STORAGE": "", "DROPTUNE_STORAGE__blobServiceUri": "https://b"}
    with pytest.raises(SettingsError, match="queueServiceUri"):
        settings.read(environment)
    environment["DROPTUNE_STORAGE__queueServiceUri"] = "https://q"
    assert settings.read(environment).blob_uri == "https://b"


def test_hosts_of_data_are_bare_names_and_none_by_default():
    """What is no host would never match one, in silence."""
    assert settings.read(GOOD).data_hosts == frozenset()
    read = settings.read(
        GOOD | {"DROPTUNE_DATA_HOSTS": "Data.Example.org, b.example.org:8443,c:443"}
    )
    assert read.data_hosts == {"data.example.org", "b.example.org:8443", "c"}
    for wrong in ("https://a.org", "a.org/x", "*.a.org", "me@a.org", "a.org:", "-a.org"):
        with pytest.raises(SettingsError, match="is no host"):
            settings.read(GOOD | {"DROPTUNE_DATA_HOSTS": wrong})


def test_the_hub_token_is_not_shown():
    """Settings may end in a log; a token may not."""
    read = settings.read(GOOD | {"DROPTUNE_HUB_TOKEN": "hf_secret"})
    assert read.hub_token == "hf_secret"
    assert "hf_secret" not in repr(read)
