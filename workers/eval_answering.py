"""The worker's side of offline runs: asks a service with the run's settings.

The service is opened when the first question of its run arrives. It is closed when none has arrived
for a while, when the run has ended, or when another run needs the room: only one is open at a time,
because two may not fit on a GPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eval.datasets.corpus import Question
from eval.offline.plan import Plan, cached_stages
from eval.offline.plan_json import Json, plan_of
from eval.offline.run import put
from eval.offline.scoring import Scorer, scoring
from eval.offline.stage_cache import SharedStages, code_version
from eval.runs.run_folder import Outcome
from rag.build.service import Service, open_service
from rag.build.stage_wrappers import UNWRAPPED
from rag.errors import ConfigError, RagError
from rag.process.atomic_write import write_atomically
from rag.settings.tree import Settings
from retrieval.indexes.sparse_files import copy_tree
from workers.eval_dispatch import DATA, PLAN, done_file

IDLE_SECONDS = 30.0
"""Seconds without a question after which a run's service is closed."""
LOOK_SECONDS = 1.0
ROOM_SECONDS = 0.1
"""Seconds wrappers checks whether another run's questions have ended."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Run:
    """The open service of one run, with its plan and questions."""

    plan: Plan
    questions: Mapping[str, Question]
    service: Service
    scorer: Scorer | None
    closing: contextlib.AsyncExitStack
    under_way: int = 0
    left: float = field(default_factory=time.monotonic)


class Answering:
    """Answers the questions of offline runs in a worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._version = code_version()  # now: the code on the disk may change later
        self._runs: dict[Path, _Run] = {}
        self._under_way: set[Path] = set()
        self._opening = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Closes services that are no longer used; all of them at the end of the block."""
        closing_idle = asyncio.create_task(self._close_idle())
        try:
            yield
        finally:
            closing_idle.cancel()
            await asyncio.gather(closing_idle, return_exceptions=True)
            await self._close(idle_seconds=0)

    async def answer(self, run: str, question_id: str) -> None:
        """Writes the outcome of a question, or why there is none; once, even if it comes twice."""
        folder = Path(run)
        done = done_file(folder, question_id)
        if done.exists() or done in self._under_way:
            return
        self._under_way.add(done)
        try:
            outcome = await self._outcome_json(folder, question_id)
            await asyncio.to_thread(write_atomically, done, json.dumps(outcome))
        except FileNotFoundError:
            _log.warning(
                "There is no run in %s: it has ended, or this worker does not share the volume.",
                folder,
            )
        finally:
            self._under_way.discard(done)

    async def _outcome_json(self, folder: Path, question_id: str) -> dict[str, Any]:
        try:
            return asdict(await self._put(folder, question_id))
        except RagError as error:
            reason = str(error)
        except Exception as error:
            if not (folder / PLAN).exists():  # the run has ended, which explains any error
                raise FileNotFoundError(folder) from error
            _log.exception("A question of %s could not be answered", folder)
            reason = f"{type(error).__name__}: {error}"
        return {"refused": f"{socket.gethostname()}: {reason}"}

    async def _put(self, folder: Path, question_id: str) -> Outcome:
        async with self._opening:
            run = self._runs.get(folder)
            if run is None:
                plan_json = await asyncio.to_thread(self._read, folder)
                await self._make_room()
                run = self._runs[folder] = await self._open(folder, plan_json)
            run.under_way += 1
        try:
            return await put(run.service, run.plan, run.questions[question_id], run.scorer)
        finally:
            run.under_way -= 1
            run.left = time.monotonic()

    def _read(self, folder: Path) -> Json:
        """Reads the plan of a run, before other services are closed: the run may have ended."""
        plan_json: Json = json.loads((folder / PLAN).read_bytes())
        if plan_json["version"] != self._version:
            raise ConfigError(
                f"The worker is Plumbline {self._version}, the run {plan_json['version']}:"
                " install the same on both, and start the worker again."
            )
        return plan_json

    async def _make_room(self) -> None:
        """Closes the service of another run, once its questions under way have ended."""
        await self._close(idle_seconds=0)
        while self._runs:
            await asyncio.sleep(ROOM_SECONDS)
            await self._close(idle_seconds=0)

    async def _open(self, folder: Path, plan_json: Json) -> _Run:
        """Opens a run's service: 1. copies the documents  2. loads the models."""
        async with contextlib.AsyncExitStack() as stack:
            copy = stack.enter_context(tempfile.TemporaryDirectory(prefix="plumbline-run-"))
            plan = plan_of(plan_json, self._settings, Path(copy))
            wrappers = UNWRAPPED
            if plan_json["has_documents"]:
                await asyncio.to_thread(copy_tree, folder / DATA, plan.settings.data_dir)  # 1.
                stages = SharedStages(folder.parents[1])
                wrappers = cached_stages(stages, plan.scope.collection, plan.settings)
            service = await stack.enter_async_context(open_service(plan.settings, wrappers))  # 2.
            scorer = await stack.enter_async_context(scoring(service, wanted=plan.scores))
            return _Run(
                plan=plan,
                questions={question.id: question for question in plan.corpus.questions},
                service=service,
                scorer=scorer,
                closing=stack.pop_all(),
            )

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            async with self._opening:
                await self._close(idle_seconds=IDLE_SECONDS)

    async def _close(self, *, idle_seconds: float) -> None:
        """Closes runs that have ended, or that had no question for `idle_seconds`."""
        for folder, run in list(self._runs.items()):
            idle = time.monotonic() - run.left >= idle_seconds
            if not run.under_way and (idle or not folder.exists()):
                del self._runs[folder]
                try:
                    await run.closing.aclose()
                except Exception:  # noqa: BLE001 - otherwise no other run would be closed
                    _log.exception("The service of the run in %s could not be closed", folder)
