"""Every name, derived from the manifest; nothing is ever drawn at random.

Doing a step twice therefore asks Azure for the same thing twice, and whoever finds a resource can tell which
run it belongs to. Azure ML's rules (endpoints and deployments: a letter first, 3 to 32 letters, digits and
single dashes) are kept here for names of any shape.
"""

from __future__ import annotations

import hashlib
import re

ENDPOINT_LIMIT = 32
"""Longest name of an online endpoint or deployment (Azure ML's quota page)."""

TAG = "droptune_run"
"""The ownership tag: everything that Droptune makes carries it, with the run's id as its value."""

_HASH = 10
_SLUG = 30
_ENDPOINT_SLUG = ENDPOINT_LIMIT - 7
_JOB = re.compile(r"^(?P<run>[a-z][a-z0-9-]*-[0-9a-f]{10}-g[0-9]+)-[ad][0-9]+$")


def slug(text: str, limit: int = _SLUG) -> str:
    """`text` in lower-case letters, digits and single dashes, starting with a letter.

    >>> slug("2. UltraChat (5 %).json")
    'm-2-ultrachat-5-json'
    """
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not plain or not plain[0].isalpha():
        plain = f"m-{plain}".strip("-")
    return plain[:limit].strip("-")


def manifest_stem(path: str) -> str:
    """The manifest's file name without folder and ending."""
    return path.rpartition("/")[2].rsplit(".", 1)[0]


def run_id(manifest: str, content: bytes, generation: int) -> str:
    """The id of the run that this content at this path becomes.

    >>> run_id("ultrachat.json", b"{}", 1)
    'ultrachat-a3713b0e8a-g1'
    """
    digest = hashlib.sha256(manifest.encode() + b"\0" + content).hexdigest()[:_HASH]
    return f"{slug(manifest_stem(manifest))}-{digest}-g{generation}"


def _short(run: str) -> str:
    """The part of a run's id that tells it from all others: `a3713b0e8a-g1`."""
    return "-".join(run.split("-")[-2:])


def job_name(run: str, attempt: int) -> str:
    """Azure ML's name of the job of one training attempt."""
    return f"{run}-a{attempt}"


def data_job_name(run: str, attempt: int) -> str:
    """Azure ML's name of the job that prepares the data, of one attempt at it."""
    return f"{run}-d{attempt}"


def run_of_job(job: str) -> str | None:
    """The run that a job belongs to, or `None` for other people's jobs."""
    matched = _JOB.match(job)
    return matched["run"] if matched else None


def asset_name(asset_id: str) -> str:
    """The name in a registry asset's id; empty when there is none.

    >>> asset_name("azureml://registries/azureml/models/Phi-4/versions/8")
    'Phi-4'
    """
    before, found, _ = asset_id.rpartition("/versions/")
    return before.rpartition("/")[2] if found else ""


def deployment_name(run: str) -> str:
    """The name of a run's one deployment, the same each time it wakes."""
    return f"r{_short(run)}"


def model_name(name: str) -> str:
    """The registered model's name, from the manifest's."""
    return slug(name, limit=80)


def model_version(run: str) -> str:
    """The registered model's version: one per run, however often registering is tried."""
    return _short(run)


def endpoint_slug(endpoint: str) -> str:
    """The part of Azure ML's name of an endpoint that follows from its name in people's words.

    What a slug would lose (letters that are not ASCII, a long name's end) is told by a hash, so that no two
    names of different letters meet.

    >>> endpoint_slug("Velora chat")
    'velora-chat'
    >>> endpoint_slug("ベロラ")
    'm-42da'
    """
    whole = slug(endpoint, limit=len(endpoint) + 2)
    told = [sign for sign in endpoint if sign.isalnum()]
    loses = not told or not all(sign.isascii() for sign in told)
    if len(whole) <= _ENDPOINT_SLUG and not loses:
        return whole
    digest = hashlib.sha256(endpoint.encode("utf-8", "surrogatepass")).hexdigest()[:4]
    return f"{slug(endpoint, limit=_ENDPOINT_SLUG - 5)}-{digest}"


def endpoint_name(endpoint: str, place: str) -> str:
    """Azure ML's name of an endpoint; `place` names subscription, resource group and workspace.

    Endpoint names are unique in a region, so a hash of the place is part of the name.
    """
    digest = hashlib.sha256(place.lower().encode()).hexdigest()[:6]
    return f"{endpoint_slug(endpoint)}-{digest}"
