"""How patient and how large the scoring path is. The app settings fill it; the defaults suit Azure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Bounds of the scoring path; spans are in seconds, sizes in bytes.

    Attributes:
        connections: Most connections to endpoints at a time; further requests wait for one.
        connect_timeout: For a connection to an endpoint, waiting for a free one included.
        total_timeout: For a whole answer. Azure ML's own limit is 180 s, and it should speak first;
            the load balancer in front of Azure Functions gives up after 230 s.
        idle_connection: How long an unused connection is kept.
        request_limit: Longest request that is accepted.
        answer_limit: Longest answer of an endpoint that is read.
        retry_within: Longest `Retry-After` of an endpoint that is waited out, once, for the caller.
        hold: How long a request for a model that is being woken is held before it is answered 503.
        hold_poll: How often to look whether the model woke meanwhile.
        wake_retry_after: When the caller of a model that is asleep shall ask again.
        wake_pause: Least time between two requests to wake the same model.
        wake_timeout: How long the answer waits for the request to wake to be accepted.
        note_every: Least time between two notes that a model is used.
        fresh: How long what is known about a serving model is used without looking.
        resting_fresh: The same for a model that does not serve, and for one that does not exist.
        stale: How long it is still used while a look is under way, or fails.
        doubt_pause: What is younger than this is believed even when the endpoint contradicts.
        find_timeout: For one look at the records.
    """

    connections: int = 500
    connect_timeout: float = 5.0
    total_timeout: float = 185.0
    idle_connection: float = 30.0
    request_limit: int = 10 * 1024 * 1024
    answer_limit: int = 10 * 1024 * 1024
    retry_within: float = 2.0
    hold: float = 0.0
    hold_poll: float = 0.5
    wake_retry_after: float = 30.0
    wake_pause: float = 5.0
    wake_timeout: float = 10.0
    note_every: float = 30.0
    fresh: float = 10.0
    resting_fresh: float = 1.0
    stale: float = 300.0
    doubt_pause: float = 1.0
    find_timeout: float = 10.0
