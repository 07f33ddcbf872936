"""Tasks whose process ended before they were done, for example because a document crashes it.

Each end counts as a failed attempt, and `ATTEMPTS` of them fail the document. All tasks that were
running in the process are counted, so interrupted tasks are done one at a time afterwards: the
harmless ones are then done, and only the harmful one is counted again.
"""

from __future__ import annotations

import sqlalchemy as sa

from rag.catalog.tables import tasks
from rag.records import ATTEMPTS

INTERRUPTED = "The process that ingested it ended before it was done. It is tried again, alone."
"""The error of an interrupted task that waits in the embedded queue."""
GIVEN_UP = (
    f"The process that ingested it ended {ATTEMPTS} times before it was done. It may have too"
    " little memory, or this document ends it: see the process's log, and the system's. Then retry"
    " it."
)
IS_INTERRUPTED = sa.and_(tasks.c.state == "pending", tasks.c.error == INTERRUPTED)
IS_ANOTHER = tasks.c.error.is_distinct_from(INTERRUPTED)
_IS_RUNNING = tasks.c.state == "running"
COUNT_INTERRUPTED = (
    tasks.update().where(_IS_RUNNING).values(attempts=tasks.c.attempts + 1, error=INTERRUPTED)
)
IS_GIVEN_UP = sa.and_(_IS_RUNNING, tasks.c.attempts >= ATTEMPTS)
"""Condition on a task that has used up its attempts; valid after `COUNT_INTERRUPTED`."""
