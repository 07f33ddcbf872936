"""Documents that a server has accepted, and the job that ingests them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .document_responses import Accepted, AcceptedDocument, Job

if TYPE_CHECKING:
    from .clients import AsyncClient, Client


class _Accepted:
    """Documents that were accepted.

    Attributes:
        id: the id of the job that ingests them.
        documents: their ids.
        notices: what the sender should know, such as a replacement.
    """

    def __init__(self, accepted: Accepted) -> None:
        self.id = accepted.job_id
        self.documents: list[AcceptedDocument] = accepted.documents
        self.notices = accepted.notices


class Submitted(_Accepted):
    """Documents that were accepted, and the job that ingests them."""

    def __init__(self, client: Client, accepted: Accepted) -> None:
        super().__init__(accepted)
        self._client = client

    def wait(
        self,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Job], None] | None = None,
    ) -> Job:
        """Waits for the job to end; see `Client.wait_for_job`."""
        return self._client.wait_for_job(self.id, timeout=timeout, on_progress=on_progress)


class AsyncSubmitted(_Accepted):
    """Documents that were accepted, and the job that ingests them."""

    def __init__(self, client: AsyncClient, accepted: Accepted) -> None:
        super().__init__(accepted)
        self._client = client

    async def wait(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as of `Client`
        on_progress: Callable[[Job], None] | None = None,
    ) -> Job:
        """Waits for the job to end; see `Client.wait_for_job`."""
        return await self._client.wait_for_job(self.id, timeout=timeout, on_progress=on_progress)
