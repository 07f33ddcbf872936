"""The experiments: a fault, the deployment that it is for, and what must hold."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Literal

from rag.errors import InputError
from rag.operations.chaos import faults
from rag.operations.chaos.deployment import Deployment, Qdrant, cluster, single

Deploys = Callable[[], AbstractAsyncContextManager[Deployment]]
Fault = Callable[[Deployment], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A fault, and how much of it may be seen.

    Attributes:
        what: a sentence for people.
        fault: is there in a block.
        topology: `single`, or `cluster`, which needs PostgreSQL, Redis and a Qdrant server.
        options: of the topology.
        costs: questions that may fail: those under way when it begins, or none.
        refuses_documents: True if documents may be refused meanwhile.
    """

    what: str
    fault: Fault
    topology: Literal["single", "cluster"] = "cluster"
    options: tuple[str, ...] = ()
    costs: Literal["none", "under way"] = "none"
    refuses_documents: bool = False

    def deploys(self, qdrant: Qdrant | None) -> Deploys:
        """Returns what runs its deployment.

        Raises:
            InputError: It needs a Qdrant server, and none is named.
        """
        options = dict.fromkeys(self.options, True)
        if self.topology == "single":
            return partial(single, **options)
        if qdrant is None:
            raise InputError(
                "This experiment needs a Qdrant server on this machine, one without data that"
                " matters: name it with --qdrant-url http://127.0.0.1:6333."
            )
        return partial(cluster, qdrant, **options)


EXPERIMENTS: dict[str, Experiment] = {
    "kill-worker": Experiment(
        what="one of two workers is killed with documents in hand",
        fault=faults.worker_killed,
    ),
    "kill-engine": Experiment(
        what="one of two servers of the language model is killed in the middle of answers",
        fault=faults.engine_killed,
        topology="single",
        options=("engines",),
        costs="under way",
    ),
    "stop-broker": Experiment(
        what="the broker accepts connections and does not answer",
        fault=faults.broker_stopped,
    ),
    "slow-index": Experiment(
        what=f"each call of the index takes {2 * faults.DELAY_SECONDS:g} s longer",
        fault=faults.index_slow,
    ),
    "fill-disk": Experiment(
        what="the disk of the data folder, a small one in memory, is full",
        fault=faults.disk_full,
        topology="single",
        options=("small",),
        refuses_documents=True,
    ),
    "clock": Experiment(
        what="the clock of one of two workers is an hour ahead",
        fault=faults.clock_ahead,
        options=("clock",),
    ),
    "partition": Experiment(
        what="one of two workers does not reach the catalog, and holds its locks",
        fault=faults.partitioned,
    ),
}
