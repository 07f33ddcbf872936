"""Sends the questions of an offline run to workers, and reads their outcomes.

With one cache, one run at a time is possible. A message to the broker has a folder and the id of a
question. The folder is the run's, within its cache, on the volume that servers and workers share:

    plan.json    the plan of the run, in the form of `eval.offline.plan_json`
    data/        the set's catalog and index, which workers copy: one process opens an index
    done/        a file for each question: its outcome, or why a worker refused it
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from celery import Celery

from eval.datasets.corpus import Question
from eval.offline.collection_copy import copy_collection
from eval.offline.plan import Plan
from eval.offline.plan_json import to_json
from eval.offline.run import Put
from eval.offline.stage_cache import key_of
from eval.runs.run_folder import Outcome, outcome_of
from rag.errors import ConfigError, StorageError, UpstreamError
from rag.process.atomic_write import write_atomically
from rag.process.folder_lock import own
from rag.settings.storage import CeleryQueueSettings
from workers.celery_app import ASK, ASK_QUEUE, celery_app, connected, send, waiting_in

RUNS = "asked"
"""Name of the folder of runs, within a cache."""
PLAN, DATA, DONE = "plan.json", "data", "done"
POLL_SECONDS = 0.05
RECONNECT_SECONDS = 1.0
"""Seconds between tries to reach a broker that has answered before."""
LOST_SECONDS = 60.0
"""Seconds after a question's deadline: without an outcome and a waiting message it is lost."""

_log = logging.getLogger(__name__)


def done_file(folder: Path, question_id: str) -> Path:
    """Returns the file with the outcome of a question."""
    return folder / DONE / f"{key_of(question_id)[:32]}.json"


@contextlib.asynccontextmanager
async def open_dispatcher(
    plan: Plan, cache: Path, settings: CeleryQueueSettings
) -> AsyncIterator[Put]:
    """Yields a function with which workers answer a plan whose documents are in the cache.

    Raises:
        ConfigError: Another run uses the workers, or another process works on the cache.
        StorageError: The disk of the cache is full.
    """
    with _alone(cache) as runs:
        folder = await asyncio.to_thread(_new_folder, runs)
        app = celery_app(settings)
        try:
            await asyncio.to_thread(_prepare, plan, folder)
            patience = plan.settings.limits.query_seconds + LOST_SECONDS
            yield _Dispatcher(app, folder, patience=patience).put
        finally:
            app.close()
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


@contextlib.contextmanager
def _alone(cache: Path) -> Iterator[Path]:
    """Locks the folder of runs during the block: two runs would take turns at each worker."""
    runs = cache.resolve() / RUNS
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(own(runs))
        except ConfigError as error:
            if error.code != "data_folder_in_use":
                raise
            raise ConfigError(
                f"Another run is with the workers, from {runs}: wait until it ends, or name"
                " another --cache for workers of their own.",
                code=error.code,
            ) from None
        yield runs


def _new_folder(runs: Path) -> Path:
    """Makes the folder of a run, and removes the folders that killed processes left."""
    for left in runs.iterdir():
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
    folder = runs / uuid.uuid4().hex
    (folder / DONE).mkdir(parents=True)
    return folder


def _prepare(plan: Plan, folder: Path) -> None:
    if plan.collection is None:
        copy_collection(plan.settings.data_dir, plan.scope, folder / DATA)
    write_atomically(folder / PLAN, json.dumps(to_json(plan)))


class _Dispatcher:
    def __init__(self, app: Celery, folder: Path, *, patience: float) -> None:
        self._app = app
        self._folder = folder
        self._patience = patience
        self._last_outcome = time.monotonic()
        self._reached = False
        self._is_down = False

    async def put(self, question: Question) -> Outcome:
        """Returns the outcome that a worker wrote, the first one if several did.

        Raises:
            UpstreamError: The broker does not answer, or a worker cannot answer the question.
            StorageError: The run's folder was removed.
        """
        done = done_file(self._folder, question.id)
        await self._with_patience(self._send, question.id)
        sent_at = time.monotonic()
        while not done.exists():
            await asyncio.sleep(POLL_SECONDS)
            if not self._folder.exists():
                raise StorageError(
                    f"The folder {self._folder}, in which workers write outcomes, was removed. Run"
                    " the same command again to continue the run."
                )
            if time.monotonic() - sent_at > self._patience:
                self._warn()
                await self._with_patience(self._send_again, question.id)
                sent_at = time.monotonic()
        self._last_outcome = time.monotonic()
        outcome = json.loads(done.read_bytes())
        if "refused" in outcome:
            raise UpstreamError(f"A worker refuses: {outcome['refused']}")
        return outcome_of(outcome)

    async def _with_patience(self, send_question: Callable[[str], None], question_id: str) -> None:
        """Calls `send_question` until the broker answers; raises at once if it never did before."""
        began = time.monotonic()
        while True:
            try:
                await asyncio.to_thread(send_question, question_id)
            except UpstreamError as error:
                if not self._reached or time.monotonic() - began > self._patience:
                    raise
                if not self._is_down:
                    self._is_down = True
                    _log.warning("Questions wait for the broker: %s", error.in_full())
                await asyncio.sleep(RECONNECT_SECONDS)
            else:
                self._reached, self._is_down = True, False
                return

    def _send(self, question_id: str) -> None:
        send(self._app, ASK, str(self._folder), question_id, queue=ASK_QUEUE)

    def _send_again(self, question_id: str) -> None:
        with connected(self._app) as connection:
            waits = waiting_in(connection, ASK_QUEUE)
        if not waits:
            self._send(question_id)

    def _warn(self) -> None:
        """Warns once for all questions that wait."""
        if time.monotonic() - self._last_outcome > self._patience:
            self._last_outcome = time.monotonic()
            _log.warning(
                "Nothing came back for %.0f s: is a `rag worker` running, and does it see %s?",
                self._patience,
                self._folder,
            )
