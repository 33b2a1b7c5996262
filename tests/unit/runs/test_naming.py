"""Names are legal whatever people write, and lead back to their run."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from shared.runs import naming

ENDPOINT = re.compile(r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")


@given(st.text(min_size=1), st.binary(), st.integers(1, 99), st.integers(1, 9))
def test_every_name_is_legal_and_the_job_leads_back_to_its_run(path, content, generation, attempt):
    """Azure ML takes each name, and an event about a job finds its run."""
    run = naming.run_id(path, content, generation)
    assert naming.run_of_job(naming.job_name(run, attempt)) == run
    deployment = naming.deployment_name(run)
    assert ENDPOINT.match(deployment)
    assert 3 <= len(deployment) <= naming.ENDPOINT_LIMIT


@given(st.text(), st.text())
def test_every_endpoint_name_is_legal(endpoint, place):
    """3 to 32 letters, digits and dashes, a letter first, whatever the manifest says."""
    name = naming.endpoint_name(endpoint, place)
    assert ENDPOINT.match(name)
    assert 3 <= len(name) <= naming.ENDPOINT_LIMIT
    assert "--" not in name


def test_other_peoples_jobs_are_nobodys_run():
    """Azure ML's drawn names and nearly ours are told apart."""
    for job in ("129a171f-bc8d-4e0a-bd51-8fa2e8b94b35", "blue_sky_1", "chat-1234567890-g1", ""):
        assert naming.run_of_job(job) is None
