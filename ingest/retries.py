"""Runs tasks, and retries or ends those that fail."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from ingest import attachments
from ingest.document_trace import DocumentTraces
from ingest.sources.files import Spool
from rag.catalog.catalog import Catalog
from rag.catalog.sql import keys_of
from rag.errors import InputError, RagError, ReadError, UpstreamError, code_of
from rag.records import ATTEMPTS, Task
from rag.telemetry.trace import Trace

LONGEST_BACKOFF = 60.0

_log = logging.getLogger(__name__)


def backoff(attempts: int) -> float:
    """Returns the seconds before the next attempt: twice as long each time, half of it random.

    Randomness keeps tasks that failed together from coming back together ("equal jitter", Brooker
    2015, https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    longest = min(LONGEST_BACKOFF, 2.0**attempts)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret


async def attempt(
    catalog: Catalog,
    task: Task,
    work: Callable[[Task, Trace], Awaitable[None]],
    *,
    wait: bool,
    seconds: float | None,
    traces: DocumentTraces,
) -> bool:
    """Does a task's work under its lock; a failure is recorded in the catalog, not raised.

    A failure that may pass is put off, longer each time, and is final after `ATTEMPTS`. Work that
    takes more than `seconds` fails at once: it would take as long again. A cancelled task is
    pending again.

    Returns:
        True if the work was done; False if it failed, or was no longer wanted.

    Raises:
        BusyError: Another worker has this document, and `wait` is False.
    """
    async with catalog.alone(task.scope, "document", task.document_id, wait=wait):
        if not await catalog.tasks.begin(task):
            return False
        with traces.attempt(task) as trace:
            try:
                await _within(seconds, work(task, trace))
            except asyncio.CancelledError:
                await catalog.tasks.make_pending(task)
                raise
            except Exception as error:  # noqa: BLE001 - a crash is its document's failure
                trace.outcome, trace.root.error = "failed", code_of(error)
                await _record_failure(catalog, task, error, trace)
                return False
            return True


async def _within(seconds: float | None, work: Awaitable[None]) -> None:
    """Does the work.

    Raises:
        InputError: The work took more than `seconds`; it has been cancelled.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            await work
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise InputError(
            f"It was not ingested within {seconds:g} s. If it is so large that it takes longer, set"
            " queue.task_seconds higher, and retry it.",
            code="task_timeout",
        ) from error


async def drop_unwanted(catalog: Catalog, spool: Spool, task: Task) -> None:
    """Drops a task's bytes unless it is still open, or failed and may be retried."""
    attached = [each.document_id for each in attachments.noted(task)]
    needed = await catalog.documents.spooled(task.scope, [task.document_id, *attached])
    spool.of(task.scope.tenant).sweep(keys_of(task.source) - needed)


async def _record_failure(catalog: Catalog, task: Task, error: Exception, trace: Trace) -> None:
    """Records a failure and puts the task off, or ends it; only the log has the error's detail."""
    if isinstance(error, RagError) and error.detail:
        _log.warning("Ingesting %s failed: %s", task.document_id, error.in_full())
    match error:
        case UpstreamError() if task.attempts + 1 < ATTEMPTS:
            trace.outcome = "postponed"
            await catalog.tasks.postpone(task, str(error), seconds=backoff(task.attempts))
        case UpstreamError():
            await catalog.outcomes.fail(task, f"{error} Tried {ATTEMPTS} times.")
        case ReadError() if error.code == "needs_ocr" or "parent" in task.source:
            trace.outcome = "skipped"
            await catalog.outcomes.skip(task, str(error))
        case RagError():
            await catalog.outcomes.fail(task, str(error))
        case _:
            _log.error("Ingesting %s failed", task.document_id, exc_info=error)
            # Without its message, which may quote the document.
            name = type(error).__name__
            await catalog.outcomes.fail(
                task, f"Internal error, please report it: {name}. The server's log has the trace."
            )
