"""`python -m shared.cloud.data_job FINGERPRINT JOB`: what a job that prepares data runs on each of its nodes.

Azure ML starts the same command on every node and tells each its number (`RANK`) and how many there are
(`WORLD_SIZE`), as for PyTorch; nothing of PyTorch is used. The nodes know of each other by the files that they
leave: each waits until all have done a pass, for as long as the job may take at most, and no node's death leaves
anything that looks finished. A node that is started again goes on from what it left.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from itertools import islice
from typing import TYPE_CHECKING, Final

from shared.cloud.data_plans import folder_of, read_plan, refuse
from shared.cloud.datasets import CloudPreparation, options_of
from shared.cloud.storage import StorageConnection
from shared.cloud.web import Web
from shared.data.prepare import fingerprint, finished, prepare
from shared.data.sharding import ShardedPreparation
from shared.data.shares import in_order
from shared.errors import DataRejected, DroptuneError, Missing, Refused, Transient
from shared.sizes import spell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shared.data.selection import Progress
    from shared.data.shares import Share

ADDRESS: Final = "DROPTUNE_STORAGE__blobServiceUri"
DATASTORE: Final = "DROPTUNE_DATASTORE"
HOSTS: Final = "DROPTUNE_DATA_HOSTS"
AT_MOST: Final = "DROPTUNE_AT_MOST_SECONDS"
"""The environment that the job is given; its identity is the compute's."""

_LOOK_SECONDS: Final = 2.0
_TELL_SECONDS: Final = 15.0
_TRIES: Final = 5

logger = logging.getLogger("droptune")


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Do this node's part; 0 when there is nothing left for it to do."""
    key, job = arguments
    rank = int(environment.get("RANK") or 0)
    nodes = int(environment.get("WORLD_SIZE") or 1)
    preparation = CloudPreparation(
        StorageConnection(blob_uri=environment[ADDRESS]),
        environment[DATASTORE],
        Web(frozenset(filter(None, environment.get(HOSTS, "").split(",")))),
    )
    at_most = float(environment[AT_MOST])
    try:
        Node(preparation, key, job, rank=rank, nodes=nodes, at_most=at_most).run()
    except Transient as error:
        # In the words by which a failure of the infrastructure is told from others, and repeated.
        logger.error("the service is temporarily unavailable: %s", error)  # noqa: TRY400
        return 1
    except DroptuneError as error:
        logger.error("%s", error)  # noqa: TRY400 - it says what is wrong; a trace would hide it
        return 1
    return 0


class Node:
    """One node of a job.

    Args:
        preparation: Where sources and results lie.
        key: The fingerprint of what is to be prepared.
        job: The job's name.
        rank: This node's number, from 0.
        nodes: How many there are.
        at_most: How long to wait for the others, in seconds.
    """

    def __init__(
        self,
        preparation: CloudPreparation,
        key: str,
        job: str,
        *,
        rank: int,
        nodes: int,
        at_most: float,
    ) -> None:
        self._preparation = preparation
        self._sink = preparation.sink(key)
        self._key = key
        self._job = job
        self._rank = rank
        self._nodes = nodes
        self._deadline = time.monotonic() + at_most
        self._next_line = 0.0

    def run(self) -> None:
        """Do this node's part.

        Raises:
            Refused: The data changed since the job was submitted, or it has fewer nodes than its plan.
            DataRejected: The sources cannot be read; it is written down for the run to find.
            Transient: The storage did not answer for long, or a node was waited for in vain.
        """
        if self._is_finished():
            logger.info("%s is prepared already", self._key)
            return
        try:
            self._prepare()
        except DataRejected as error:
            if self._is_finished():
                logger.info("the rows are not fit to train on: %s", error)
                return
            refuse(self._sink, self._job, error.problems)
            raise

    def _is_finished(self) -> bool:
        return finished(self._sink, self._key) is not None

    def _prepare(self) -> None:
        plan = read_plan(self._sink, self._job)
        from shared.runs.manifest import Dataset

        dataset = Dataset.model_validate(plan.dataset)
        sources, options = (
            self._preparation.sources(dataset),
            options_of(dataset, plan.max_seq_length),
        )
        if fingerprint(sources, options) != self._key:
            raise Refused("the data changed since the job was submitted")
        if self._nodes < len(plan.shares):
            raise Refused(f"the job has {self._nodes} nodes; its plan needs {len(plan.shares)}")
        if self._rank >= len(plan.shares):
            logger.info("there is no share for node %d", self._rank)
            return
        if len(plan.shares) == 1:
            self._persist(lambda: prepare(sources, self._sink, options, on_progress=self._tell))
            self._sink.remove(folder_of(self._job))
            return
        order = iter(in_order(sources))
        shares: list[Share] = [tuple(islice(order, count)) for count in plan.shares]
        work = ShardedPreparation(
            sources,
            shares,
            self._sink,
            options,
            key=self._key,
            folder=folder_of(self._job),
            on_progress=self._tell,
        )
        logger.info(
            "node %d of %d reads %d sources", self._rank, len(shares), len(shares[self._rank])
        )
        self._persist(lambda: work.read(self._rank))
        self._await("read", work.has_read, work.nodes)
        self._persist(lambda: work.write(self._rank))
        if self._rank == 0:
            self._await("written", work.has_written, work.nodes)
            self._persist(work.join)

    def _persist(self, work: Callable[[], object]) -> None:
        """Do it again when the storage fails: a pass can be done twice."""
        for number in range(1, _TRIES + 1):
            try:
                work()
            except Transient as error:
                if number == _TRIES or time.monotonic() > self._deadline:
                    raise
                logger.warning("%s; trying again", error)
                time.sleep(_LOOK_SECONDS * number)
            else:
                return

    def _await(self, what: str, is_done: Callable[[int], bool], nodes: int) -> None:
        """Return once every node has done this, or somebody has finished it all.

        Raises:
            Missing: It took too long.
        """
        missing = set(range(nodes))
        while missing := {rank for rank in missing if not is_done(rank)}:
            if self._is_finished():
                return
            if time.monotonic() > self._deadline:
                raise Missing(f"nodes {sorted(missing)} have not {what} their share in time")
            time.sleep(_LOOK_SECONDS)  # nodes know of each other by the storage alone
        logger.info("all nodes have %s their share", what)

    def _tell(self, progress: Progress) -> None:
        now = time.monotonic()
        if now >= self._next_line:
            self._next_line = now + _TELL_SECONDS
            logger.info(
                "%s: %s, %s rows, %s, %s refused",
                progress.split,
                progress.source,
                f"{progress.rows:,}",
                spell(progress.bytes),
                f"{progress.dropped:,}",
            )


if __name__ == "__main__":
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(name)s %(message)s"
    )
    for chatty in ("azure", "urllib3", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    sys.exit(main(sys.argv[1:], os.environ))
