"""Runs an experiment: a deployment, a load, a fault, and a look at what became of it all."""

from __future__ import annotations

import asyncio

from rag.client import NEVER, AsyncClient
from rag.operations.chaos.census import census
from rag.operations.chaos.deployment import Qdrant
from rag.operations.chaos.experiments import EXPERIMENTS
from rag.operations.chaos.steady import WINDOWS, Report, judged, recovered
from rag.operations.chaos.steady_load import COLLECTION, Load

_TIMEOUT_SECONDS = 60.0


async def conduct(name: str, *, seconds: float, qdrant: Qdrant | None) -> Report:
    """Runs an experiment, whose phases take so many seconds each; returns what was seen.

    The last phase goes on for up to `WINDOWS` times as long, until questions are quick again.

    Raises:
        InputError: It needs a Qdrant server, and none is named.
        ConfigError: Something that it needs is not installed here.
        UpstreamError: A process of the deployment did not start.
        PlumblineError: It does not answer when nothing is broken.
    """
    experiment = EXPERIMENTS[name]
    async with (
        experiment.deploys(qdrant)() as deployment,
        AsyncClient(deployment.url, retries=NEVER, timeout=_TIMEOUT_SECONDS) as client,
        AsyncClient(deployment.url, timeout=_TIMEOUT_SECONDS) as patient,
    ):
        load = Load(client)
        await load.prepare()
        async with load.running():
            await asyncio.sleep(seconds)
            load.phase, under_way = "during", load.asking
            async with experiment.fault(deployment):
                await asyncio.sleep(seconds)
            load.phase = "after"
            for load.window in range(WINDOWS):
                await asyncio.sleep(seconds)
                if recovered(load.samples, load.window):
                    break
        counts = await census(patient, load)
        await patient.delete_collection(COLLECTION)
        return judged(name, experiment, under_way, load.samples, counts)
